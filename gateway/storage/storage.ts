/**
 * Key-value storage under internal names. Small values are rows of the database; larger ones are blobs on the nodes,
 * streamed there and back, with their row as the reference.
 */
import { INLINE_VALUE_MAX_BYTES } from '../constants.ts'
import { PreconditionFailedError, ValueNotFoundError } from '../errors.ts'
import type { Condition, ValueContent, ValueFacts, Values } from '../store/values.ts'
import type { Blobs } from './blobs.ts'

/** What a put kept. */
export interface StoredValue extends ValueFacts {
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

/** A value on its way here: piece by piece, or whole, of at most 64 KiB. Neither is read before the condition was looked at. */
export type ValueSource = AsyncIterable<Uint8Array> | (() => Promise<Buffer>)

export interface PutOptions {
  /** Content-Length, when the caller said it. */
  sizeHint?: number | undefined
  /** How long it is kept, seconds; absent: until it is replaced or deleted. */
  ttlS?: number | undefined
  condition?: Condition | null
  /** Asked for when there is something to break off. */
  signal: () => AbortSignal
}

export interface ListOptions {
  limit: number
  /** The last name that is known already; null: from the beginning. */
  after: string | null
}

/** The unscoped service; handlers get `TenantStorage` instead. */
export interface Storage {
  /**
   * Replaces what was there, its time to live too. Resolves when the value is durable.
   * @throws PreconditionFailedError; looked at before the value is read, and again when it is written
   */
  put: (name: StorageName, source: ValueSource, options: PutOptions) => Promise<StoredValue>
  /** @throws ValueNotFoundError, ValueUnreadableError */
  get: (name: StorageName) => Promise<ReadableValue>
  /**
   * Drops the value, or the reference to its blob.
   * @throws ValueNotFoundError, PreconditionFailedError
   */
  delete: (name: StorageName, condition?: Condition | null) => Promise<void>
  exists: (name: StorageName) => Promise<boolean>
  /** Internal names with this beginning, in byte order. */
  list: (prefix: StorageName, options: ListOptions) => Promise<string[]>
}

export interface StorageInit {
  values: Values
  blobs: Blobs
  /** The clock, ms since 1970. */
  nowMs?: () => number
}

export function createStorage({ values, blobs, nowMs = Date.now }: StorageInit): Storage {
  return {
    async put(name, source, { sizeHint, ttlS, condition = null, signal }) {
      if (condition !== null && !holds(condition, await values.facts(name))) throw new PreconditionFailedError(name.key)
      const write = async (content: ValueContent): Promise<StoredValue> => {
        // From now, not from when the upload began.
        const expiresAtMs = ttlS === undefined ? null : nowMs() + ttlS * 1000
        const etag = await values.put(name, { content, expiresAtMs, condition })
        if (etag === null) throw new PreconditionFailedError(name.key)
        return { sizeBytes: content.sizeBytes, cid: content.cid, etag, expiresAtMs }
      }
      const { head, rest } =
        typeof source === 'function' ? { head: await source(), rest: null } : await peel(source, INLINE_VALUE_MAX_BYTES)
      if (rest === null) return await write({ value: head, sizeBytes: head.byteLength, cid: null })
      // The blob is durable on its holders before its reference is written.
      const { cid, sizeBytes } = await blobs.put(joined(head, rest), { sizeHint, signal: signal() }).finally(() => {
        // `joined` does so only if it was begun; what a refusal leaves must let go of the request. Not awaited: a
        // stalled read would hold it up.
        void rest.return?.().catch(() => {})
      })
      return await write({ value: null, sizeBytes, cid })
    },
    async get(name) {
      const row = await values.get(name)
      if (row === null) throw new ValueNotFoundError(name.key)
      const { sizeBytes, etag, expiresAtMs } = row
      if (row.cid !== null) {
        const { cid } = row
        return { sizeBytes, cid, etag, expiresAtMs, inline: null, open: range => blobs.get(cid, sizeBytes, range) }
      }
      const { value } = row
      return {
        sizeBytes,
        cid: null,
        etag,
        expiresAtMs,
        inline: value,
        open: async ({ offset, length }) => once(value.subarray(offset, offset + length))
      }
    },
    async delete(name, condition = null) {
      if (await values.delete(name, condition)) return
      if (condition !== null && (await values.facts(name)) !== null) throw new PreconditionFailedError(name.key)
      throw new ValueNotFoundError(name.key)
    },
    exists: async name => (await values.facts(name)) !== null,
    list: (prefix, options) => values.list(prefix, options)
  }
}

/** Whether a condition holds of what is there now; the database decides again when it writes. Pure. */
function holds({ match, noneMatch }: Condition, facts: ValueFacts | null): boolean {
  if (match !== undefined && !(facts !== null && (match === '*' || match.includes(facts.etag)))) return false
  return noneMatch === undefined || facts === null || !(noneMatch === '*' || noneMatch.includes(facts.etag))
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
