/** What passes between the gateway and a child: a length (32 bits), one byte of kind, and JSON. */

/** The database is open. */
export const READY = 1
/** Everything is done but the COMMIT, which begins now. */
export const COMMITTING = 2
export const ANSWER = 3
/** From the gateway. */
export const JOB = 4

/** What a child that has taken too much memory ends itself with; Node leaves this one alone, so it needs no thread that is free. */
export const OUT_OF_MEMORY_SIGNAL = 'SIGUSR2'

const HEAD_BYTES = 5

export function frame(kind: number, json = ''): Buffer {
  const sizeBytes = Buffer.byteLength(json)
  const bytes = Buffer.allocUnsafe(HEAD_BYTES + sizeBytes)
  bytes.writeUInt32LE(sizeBytes, 0)
  bytes.writeUInt8(kind, 4)
  bytes.write(json, HEAD_BYTES)
  return bytes
}

export interface FrameReader {
  push: (piece: Buffer) => void
}

/** Cuts a stream of pieces into frames. */
export function createFrameReader(onFrame: (kind: number, json: string) => void): FrameReader {
  let pieces: Buffer[] = []
  let haveBytes = 0
  let wantBytes = HEAD_BYTES
  return {
    push(piece) {
      pieces.push(piece)
      haveBytes += piece.byteLength
      while (haveBytes >= wantBytes) {
        // Joined only when there is something to cut: a long answer comes in many pieces.
        const joined: Buffer = pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces)
        const endBytes = HEAD_BYTES + joined.readUInt32LE(0)
        pieces = [joined]
        wantBytes = endBytes
        if (haveBytes < endBytes) return
        const rest = joined.subarray(endBytes)
        pieces = rest.byteLength > 0 ? [rest] : []
        haveBytes = rest.byteLength
        wantBytes = HEAD_BYTES
        onFrame(joined.readUInt8(4), joined.toString('utf8', HEAD_BYTES, endBytes))
      }
    }
  }
}
