/**
 * Key-value storage under internal names. Small values are rows of the database; larger ones are blobs on the nodes,
 * streamed there and back, with their row as the reference.
 */
import { INLINE_VALUE_MAX_BYTES } from '../constants.ts'
import { ValueNotFoundError } from '../errors.ts'
import type { Values } from '../store/values.ts'
import type { Blobs } from './blobs.ts'

/** What a put kept. */
export interface StoredValue {
  sizeBytes: number
  /** Of the blob, for a value over 64 KiB. */
  cid: string | null
}

/** A value that can be read, from any offset and in any part. */
export interface ReadableValue extends StoredValue {
  /** The whole value when it is a row, else null. */
  inline: Buffer | null
  /** Resolves when its bytes are at hand. The iteration must run to its end or be returned. */
  open: (range: { offset: number; length: number; signal: AbortSignal }) => Promise<AsyncIterable<Uint8Array>>
}

export interface StorageName {
  namespace: string
  /** Internal: `ns::<namespace>::<key>`. */
  key: string
}

export interface PutOptions {
  /** Content-Length, when the caller said it. */
  sizeHint?: number | undefined
  signal: AbortSignal
}

/** The unscoped service; handlers get `TenantStorage` instead. */
export interface Storage {
  /** Replaces what was there. Resolves when the value is durable. */
  put: (name: StorageName, source: AsyncIterable<Uint8Array>, options: PutOptions) => Promise<StoredValue>
  /** @throws ValueNotFoundError */
  get: (name: StorageName) => Promise<ReadableValue>
  /**
   * Drops the value, or the reference to its blob.
   * @throws ValueNotFoundError
   */
  delete: (name: StorageName) => Promise<void>
  exists: (name: StorageName) => Promise<boolean>
  /** Internal names with this beginning, in byte order. */
  list: (prefix: StorageName, limit: number) => Promise<string[]>
}

export function createStorage({ values, blobs }: { values: Values; blobs: Blobs }): Storage {
  return {
    async put(name, source, { sizeHint, signal }) {
      const { head, rest } = await peel(source, INLINE_VALUE_MAX_BYTES)
      if (rest === null) {
        await values.put(name, { value: head, sizeBytes: head.byteLength, cid: null })
        return { sizeBytes: head.byteLength, cid: null }
      }
      // The blob is durable on its holders before its reference is written.
      const { cid, sizeBytes } = await blobs.put(joined(head, rest), { sizeHint, signal }).finally(() => {
        // `joined` does so only if it was begun; what a refusal leaves must let go of the request. Not awaited: a
        // stalled read would hold it up.
        void rest.return?.().catch(() => {})
      })
      await values.put(name, { value: null, sizeBytes, cid })
      return { sizeBytes, cid }
    },
    async get(name) {
      const row = await values.get(name)
      if (row === null) throw new ValueNotFoundError(name.key)
      if (row.cid !== null) {
        const { cid, sizeBytes } = row
        return { sizeBytes, cid, inline: null, open: range => blobs.get(cid, sizeBytes, range) }
      }
      const { value, sizeBytes } = row
      return {
        sizeBytes,
        cid: null,
        inline: value,
        open: async ({ offset, length }) => once(value.subarray(offset, offset + length))
      }
    },
    async delete(name) {
      if (!(await values.delete(name))) throw new ValueNotFoundError(name.key)
    },
    exists: name => values.exists(name),
    list: (prefix, limit) => values.list(prefix, limit)
  }
}

/**
 * Reads until the source ends or `maxBytes` are passed. `rest` continues where `head` ends; null when it ended.
 */
async function peel(
  source: AsyncIterable<Uint8Array>,
  maxBytes: number
): Promise<{ head: Buffer; rest: AsyncIterator<Uint8Array> | null }> {
  const iterator = source[Symbol.asyncIterator]()
  const chunks: Uint8Array[] = []
  let sizeBytes = 0
  while (sizeBytes <= maxBytes) {
    const { done, value } = await iterator.next()
    if (done) return { head: Buffer.concat(chunks), rest: null }
    chunks.push(value)
    sizeBytes += value.byteLength
  }
  return { head: Buffer.concat(chunks), rest: iterator }
}

async function* joined(head: Uint8Array, rest: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield head
    for (;;) {
      const { done, value } = await rest.next()
      if (done) return
      yield value
    }
  } finally {
    await rest.return?.()
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  if (bytes.byteLength > 0) yield bytes
}
