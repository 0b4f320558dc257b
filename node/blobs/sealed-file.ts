/** Writing and reading one sealed file, chunk by chunk, with memory that does not grow with the blob. */
import type { KeyObject } from 'node:crypto'
import { type FileHandle, open } from 'node:fs/promises'
import { writeAll } from './durable.ts'
import { freeNow } from './free-now.ts'
import {
  chunkCount,
  openChunk,
  SEAL_CHUNK_BYTES,
  SEALED_CHUNK_BYTES,
  SealBrokenError,
  sealChunk,
  sealedSize
} from './seal.ts'

/** Seals what it is given into a file. One chunk is being written while the next is gathered. */
export class SealedWriter {
  readonly #file: FileHandle
  readonly #key: KeyObject
  readonly #isGiven: boolean
  #pieces: Uint8Array[] = []
  /** What ends in the chunk that is gathered, to be freed with it. */
  #given: Uint8Array[] = []
  #pieceBytes = 0
  #index = 0
  #writing: Promise<void> = Promise.resolve()

  /** @param options.isGiven nobody else looks at the bytes after they were sealed: their memory is freed then */
  constructor(file: FileHandle, key: KeyObject, { isGiven = false }: { isGiven?: boolean } = {}) {
    this.#file = file
    this.#key = key
    this.#isGiven = isGiven
  }

  /** Take the next bytes; they must not change until `end`. */
  async write(bytes: Uint8Array): Promise<void> {
    let rest = bytes
    while (rest.length > 0) {
      // A full chunk is sealed only when more bytes prove that it is not the last.
      if (this.#pieceBytes === SEAL_CHUNK_BYTES) await this.#seal(false)
      const take = Math.min(SEAL_CHUNK_BYTES - this.#pieceBytes, rest.length)
      this.#pieces.push(rest.subarray(0, take))
      this.#pieceBytes += take
      rest = rest.subarray(take)
    }
    if (this.#isGiven) this.#given.push(bytes)
  }

  /** Seal the last chunk and wait until everything is written (not synced). */
  async end(): Promise<void> {
    await this.#seal(true)
    await this.#writing
  }

  async #seal(last: boolean): Promise<void> {
    const sealed = sealChunk(this.#key, this.#index, last, this.#pieces)
    this.#given.forEach(freeNow)
    this.#index += 1
    this.#pieces = []
    this.#given = []
    this.#pieceBytes = 0
    await this.#writing
    // Nobody else has the ciphertext.
    this.#writing = writeAll(this.#file, sealed).finally(() => sealed.forEach(freeNow))
    // Its error is met at the next await of #writing; without this it would be unhandled until then.
    this.#writing.catch(() => {})
  }
}

/** What part of a blob to read: bytes. */
export interface ReadRange {
  offset?: number
  length?: number
  signal?: AbortSignal | undefined
}

/**
 * The plain bytes of a sealed file, or of a range of it. Each chunk's tag is checked before its bytes are given out.
 * One chunk is read ahead.
 * @throws SealBrokenError when the file is not what was sealed, at the chunk where it shows
 */
export async function* readSealed(
  path: string,
  key: KeyObject,
  sizeBytes: number,
  range: ReadRange = {}
): AsyncGenerator<Uint8Array> {
  const offset = range.offset ?? 0
  const end = Math.min(sizeBytes, offset + (range.length ?? sizeBytes))
  const file = await open(path, 'r')
  let ahead: Promise<Buffer> | null = null
  try {
    if ((await file.stat()).size !== sealedSize(sizeBytes)) throw new SealBrokenError('the data file has a wrong size')
    if (offset >= end) return
    const lastOfBlob = chunkCount(sizeBytes) - 1
    const lastWanted = Math.floor((end - 1) / SEAL_CHUNK_BYTES)
    const fetch = (index: number): Promise<Buffer> => {
      const chunk = readChunk(file, index, index === lastOfBlob ? sealedSize(sizeBytes) : undefined)
      // Met when it is awaited; a reader that stops early never does.
      chunk.catch(() => {})
      return chunk
    }
    const first = Math.floor(offset / SEAL_CHUNK_BYTES)
    ahead = fetch(first)
    for (let index = first; index <= lastWanted; index += 1) {
      const sealed = (await ahead)!
      range.signal?.throwIfAborted()
      ahead = index < lastWanted ? fetch(index + 1) : null
      const plain = openChunk(key, index, index === lastOfBlob, sealed)
      freeNow(sealed)
      const start = index * SEAL_CHUNK_BYTES
      yield plain.subarray(Math.max(0, offset - start), Math.min(plain.length, end - start))
    }
  } finally {
    await ahead?.catch(() => {})
    await file.close()
  }
}

/** The plain bytes of a sealed blob of one chunk that is in memory, or of a range of it. @throws SealBrokenError */
export async function* readSealedBytes(
  sealed: Uint8Array,
  key: KeyObject,
  { offset = 0, length = sealed.length, signal }: ReadRange = {}
): AsyncGenerator<Uint8Array> {
  signal?.throwIfAborted()
  const bytes = openChunk(key, 0, true, sealed).subarray(offset, offset + length)
  if (bytes.length > 0) yield bytes
}

async function readChunk(file: FileHandle, index: number, fileBytes?: number): Promise<Buffer> {
  const start = index * SEALED_CHUNK_BYTES
  const chunk = Buffer.allocUnsafe(fileBytes === undefined ? SEALED_CHUNK_BYTES : fileBytes - start)
  let filled = 0
  while (filled < chunk.length) {
    const { bytesRead } = await file.read(chunk, filled, chunk.length - filled, start + filled)
    if (bytesRead === 0) throw new SealBrokenError(`the data file ends within chunk ${index}`)
    filled += bytesRead
  }
  return chunk
}
