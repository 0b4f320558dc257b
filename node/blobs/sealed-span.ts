/**
 * A short part of a sealed file in one piece: one read, every tag checked, then all the plain bytes or none.
 *
 * By callbacks and with kept buffers, because this is what most reads come to: a FileHandle and a fresh buffer of a MiB
 * cost more than reading that MiB from the page cache does.
 */
import type { KeyObject } from 'node:crypto'
import { close, closeSync, fstat, open, openSync, read, readSync } from 'node:fs'
import { chunkCount, openChunk, SEAL_CHUNK_BYTES, SEALED_CHUNK_BYTES, SealBrokenError, sealedSize } from './seal.ts'

/** Most plain bytes of a span. */
export const SPAN_MAX_BYTES = 1024 * 1024
/** A span that begins within a chunk touches one chunk more; the last byte shows that a file does not go on. */
const BUFFER_BYTES = (Math.ceil(SPAN_MAX_BYTES / SEAL_CHUNK_BYTES) + 1) * SEALED_CHUNK_BYTES + 1
/** Buffers kept for later reads. They only ever hold sealed bytes. */
const BUFFERS_KEPT = 16
const kept: Buffer[] = []

/** A part of a blob. */
export interface Span {
  /** Of the whole blob. */
  sizeBytes: number
  /** Below `end`. */
  offset: number
  /** At most `sizeBytes`, and at most SPAN_MAX_BYTES after `offset`. */
  end: number
}

/**
 * The plain bytes, in pieces of a chunk each. Nobody else has them: whoever took them may free their memory.
 * @param options.isWarm the file is in the page cache: one chunk of it is read without leaving the thread
 * @throws SealBrokenError when the file is not what was sealed, and what the disk answers
 */
export async function readSealedSpan(
  path: string,
  key: KeyObject,
  span: Span,
  { isWarm = false }: { isWarm?: boolean } = {}
): Promise<Buffer[]> {
  const { sizeBytes, offset, end } = span
  const lastOfBlob = chunkCount(sizeBytes) - 1
  const first = Math.floor(offset / SEAL_CHUNK_BYTES)
  const last = Math.floor((end - 1) / SEAL_CHUNK_BYTES)
  const start = first * SEALED_CHUNK_BYTES
  const isEnd = last === lastOfBlob
  const sealedBytes = (isEnd ? sealedSize(sizeBytes) : (last + 1) * SEALED_CHUNK_BYTES) - start
  const buffer = kept.pop() ?? Buffer.allocUnsafeSlow(BUFFER_BYTES)
  try {
    const wanted = buffer.subarray(0, isEnd ? sealedBytes + 1 : sealedBytes)
    const isNow = isWarm && isEnd && last === first
    const filled = isNow
      ? readNow(path, wanted, start)
      : await readAt(path, wanted, start, isEnd ? undefined : sealedSize(sizeBytes))
    if (filled !== sealedBytes) throw new SealBrokenError('the data file has a wrong size')
    const pieces: Buffer[] = []
    for (let index = first; index <= last; index += 1) {
      const at = (index - first) * SEALED_CHUNK_BYTES
      const sealed = buffer.subarray(at, Math.min(at + SEALED_CHUNK_BYTES, sealedBytes))
      const plain = openChunk(key, index, index === lastOfBlob, sealed)
      const plainAt = index * SEAL_CHUNK_BYTES
      pieces.push(plain.subarray(Math.max(0, offset - plainAt), Math.min(plain.length, end - plainAt)))
    }
    return pieces
  } finally {
    if (kept.length < BUFFERS_KEPT) kept.push(buffer)
  }
}

/**
 * Fill a buffer from a file, as far as it goes; answers how far.
 * @param fileBytes what the file is to have; another size answers -1
 */
function readAt(path: string, buffer: Buffer, position: number, fileBytes: number | undefined): Promise<number> {
  return new Promise((resolve, reject) => {
    open(path, 'r', (error, file) => {
      if (error) {
        reject(error)
        return
      }
      const done = (failure: Error | null, filled: number): void => {
        // Nothing was written to it, so nobody has to know how that ends.
        close(file, () => {})
        if (failure) reject(failure)
        else resolve(filled)
      }
      const more = (filled: number): void => {
        read(file, buffer, filled, buffer.length - filled, position + filled, (failure, bytesRead) => {
          const now = filled + bytesRead
          if (failure || bytesRead === 0 || now === buffer.length) done(failure, failure ? filled : now)
          else more(now)
        })
      }
      if (fileBytes === undefined) more(0)
      else fstat(file, (failure, facts) => (failure || facts.size !== fileBytes ? done(failure, -1) : more(0)))
    })
  })
}

/**
 * The same at once. Three calls to the thread pool cost five times what opening, reading and closing a file of 64 KiB
 * does; in the rare case that its pages are gone, everything waits for one read of the disk.
 */
function readNow(path: string, buffer: Buffer, position: number): number {
  const file = openSync(path, 'r')
  try {
    let filled = 0
    while (filled < buffer.length) {
      const bytesRead = readSync(file, buffer, filled, buffer.length - filled, position + filled)
      if (bytesRead === 0) break
      filled += bytesRead
    }
    return filled
  } finally {
    closeSync(file)
  }
}
