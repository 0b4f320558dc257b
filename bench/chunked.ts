/** Counts a body that comes in chunks (RFC 9112, section 7.1) without keeping it. */

export interface ChunkedCount {
  /** Takes what came; false when it is no such body, or more than one. */
  take: (piece: Uint8Array) => boolean
  /** Bytes of the body so far, without what is around them. */
  bodyBytes: () => number
  /** Whether all of it is there, trailers too. */
  isWhole: () => boolean
}

const LF = 10
const CRLF_BYTES = 2
/** Of a line with a size or a trailer. */
const LINE_LIMIT_BYTES = 8192

export function createChunkedCount(): ChunkedCount {
  let bodyBytes = 0
  /** Of the present chunk, with the CRLF after it. */
  let missing = 0
  let line = ''
  let state: 'size' | 'data' | 'trailers' | 'whole' = 'size'

  function endLine(): boolean {
    const text = line.replace(/\r$/, '')
    line = ''
    if (state === 'trailers') {
      if (text === '') state = 'whole'
      return true
    }
    const digits = /^[0-9a-f]{1,8}(?=$|[ \t]*;)/i.exec(text)?.[0]
    if (digits === undefined) return false
    const bytes = Number.parseInt(digits, 16)
    bodyBytes += bytes
    missing = bytes + CRLF_BYTES
    state = bytes === 0 ? 'trailers' : 'data'
    return true
  }

  return {
    take(piece) {
      for (let at = 0; at < piece.length; ) {
        if (state === 'whole') return false
        if (state === 'data') {
          const taken = Math.min(missing, piece.length - at)
          at += taken
          missing -= taken
          if (missing === 0) state = 'size'
          continue
        }
        const lf = piece.indexOf(LF, at)
        const to = lf < 0 ? piece.length : lf
        line += Buffer.from(piece.buffer, piece.byteOffset + at, to - at).toString('latin1')
        if (line.length > LINE_LIMIT_BYTES) return false
        at = to + 1
        if (lf >= 0 && !endLine()) return false
      }
      return true
    },
    bodyBytes: () => bodyBytes,
    isWhole: () => state === 'whole'
  }
}
