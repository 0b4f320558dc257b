/** One namespace's storage: the names its tenant knows, checked, translated in and out by its scope. */
import { KEY_MAX_BYTES, LIST_LIMIT_MAX } from '../constants.ts'
import { KeyInvalidError, ValueNotFoundError } from '../errors.ts'
import type { NameScope } from '../middleware/own-namespace.ts'
import type { PutOptions, ReadableValue, Storage, StoredValue } from './storage.ts'

/** What handlers use. Keys are the tenant's own names: 1 byte to 1 KiB of UTF-8 without NUL. */
export interface TenantStorage {
  put: (key: string, source: AsyncIterable<Uint8Array>, options: PutOptions) => Promise<StoredValue>
  /** @throws ValueNotFoundError */
  get: (key: string) => Promise<ReadableValue>
  /** @throws ValueNotFoundError */
  delete: (key: string) => Promise<void>
  exists: (key: string) => Promise<boolean>
  /** Keys with this beginning (every character counts as itself), in byte order; at most 1000. */
  list: (prefix: string, limit: number) => Promise<string[]>
}

export function scopedStorage(storage: Storage, scope: NameScope): TenantStorage {
  const { namespace } = scope
  const named = (key: string) => {
    validate(key)
    if (key === '') throw new KeyInvalidError('empty')
    return { namespace, key: scope.inner(key) }
  }
  // Internal names stay inside: an error says the tenant's own.
  const unknownKey = (key: string) => (error: unknown) => {
    throw error instanceof ValueNotFoundError ? new ValueNotFoundError(key) : error
  }
  return {
    put: async (key, source, options) => storage.put(named(key), source, options),
    get: async key => storage.get(named(key)).catch(unknownKey(key)),
    delete: async key => storage.delete(named(key)).catch(unknownKey(key)),
    exists: async key => storage.exists(named(key)),
    list: async (prefix, limit) => {
      validate(prefix)
      const names = await storage.list({ namespace, key: scope.inner(prefix) }, Math.min(limit, LIST_LIMIT_MAX))
      return names.map(scope.outer)
    }
  }
}

function validate(key: string): void {
  // NUL ends a text in half of SQLite's functions; a lone surrogate is no text at all.
  if (key.includes('\0')) throw new KeyInvalidError('it has a NUL character')
  if (!key.isWellFormed()) throw new KeyInvalidError('it is not valid Unicode')
  if (Buffer.byteLength(key) > KEY_MAX_BYTES) throw new KeyInvalidError(`over ${KEY_MAX_BYTES} bytes`)
}
