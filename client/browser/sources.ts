/** What can be stored from a page, and what is read there, as streams of bytes. */
import { CidHasher } from '../../node/portable.ts'
import { BlobAlteredError, BlobTooLargeError } from '../errors.ts'

/** Bytes; a file of a person is a Blob. */
export type BlobSource = Uint8Array | Blob | ReadableStream<Uint8Array>

/** Bytes handed on at once from an array: what is hashed in one go while the page waits. */
const PIECE_BYTES = 64 * 1024

/** A source in pieces; `sizeBytes` null where only its end tells, `type` empty where it says none. */
export function piecesOf(source: BlobSource): {
  pieces: AsyncIterable<Uint8Array>
  sizeBytes: number | null
  type: string
} {
  if (source instanceof Uint8Array) return { pieces: cutUp(source), sizeBytes: source.byteLength, type: '' }
  if (source instanceof Blob) return { pieces: read(source.stream()), sizeBytes: source.size, type: source.type }
  return { pieces: read(source), sizeBytes: null, type: '' }
}

async function* cutUp(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.byteLength; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES)
}

/** Not every browser lets one iterate over a stream. */
async function* read(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = stream.getReader()
  let isDone = false
  try {
    for (;;) {
      const { done, value } = await reader.read()
      isDone = done
      if (done) return
      yield value
    }
  } finally {
    if (!isDone) await reader.cancel().catch(() => undefined)
    reader.releaseLock()
  }
}

/** A stream that reads `source` no faster than it is read itself. @param told what a failure is to its reader */
export function streamOf(
  source: AsyncIterable<Uint8Array>,
  told: (error: unknown) => Error
): ReadableStream<Uint8Array> {
  const iterator = source[Symbol.asyncIterator]()
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await iterator.next()
          if (done === true) controller.close()
          else controller.enqueue(value)
        } catch (error) {
          controller.error(told(error))
        }
      },
      async cancel() {
        await iterator.return?.()
      }
    },
    { highWaterMark: 0 }
  )
}

/** The source, hashed once as it is first read, and no more of it than allowed. `check` is that of `PutOptions`. */
export function hashed(source: AsyncIterable<Uint8Array>, sizeHint: number | null, maxBytes: number) {
  const hasher = new CidHasher()
  let hasEnded = false
  let digest: string | undefined
  async function* pieces(): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const piece of source) {
      hasher.update(piece)
      if (hasher.sizeBytes > maxBytes) throw new BlobTooLargeError(hasher.sizeBytes, maxBytes)
      yield piece
    }
    hasEnded = true
  }
  function check(stored: { cid: string; sizeBytes: number; peerId: string }): void {
    if (!hasEnded && hasher.sizeBytes !== sizeHint) {
      throw new BlobAlteredError(stored.cid, `node ${stored.peerId} says it stored this before all bytes were sent`)
    }
    digest ??= hasher.digest()
    if (stored.cid === digest && stored.sizeBytes === hasher.sizeBytes) return
    throw new BlobAlteredError(digest, `node ${stored.peerId} says it stored ${stored.cid} instead`)
  }
  return { pieces: pieces(), check }
}
