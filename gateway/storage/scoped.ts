/** One namespace's storage: the names its tenant knows, checked, translated in and out by its scope. */
import { KEY_MAX_BYTES, LIST_LIMIT_MAX } from '../constants.ts'
import { KeyInvalidError, PreconditionFailedError, RequestInvalidError, ValueNotFoundError } from '../errors.ts'
import type { NameScope } from '../middleware/own-namespace.ts'
import { SEAL_BYTES, type Sealer } from '../store/seal.ts'
import type { Condition } from '../store/values.ts'
import type { PutOptions, ReadableValue, Storage, StoredValue, ValueSource } from './storage.ts'

/** A sealed key of the longest, in base64. */
const CURSOR_MAX_CHARS = Math.ceil(((KEY_MAX_BYTES + SEAL_BYTES) * 4) / 3)

/** What handlers use. Keys are the tenant's own names: 1 byte to 1 KiB of UTF-8 without NUL. */
export interface TenantStorage {
  /** @throws PreconditionFailedError */
  put: (key: string, source: ValueSource, options: PutOptions) => Promise<StoredValue>
  /** @throws ValueNotFoundError, ValueUnreadableError */
  get: (key: string) => Promise<ReadableValue>
  /** @throws ValueNotFoundError, PreconditionFailedError */
  delete: (key: string, condition?: Condition | null) => Promise<void>
  exists: (key: string) => Promise<boolean>
  /**
   * Keys with this beginning (every character counts as itself), in byte order; at most 1000. `cursor` is where the
   * page before ended, and null begins: a key that is there all the time is on exactly one page, whatever is written meanwhile.
   * @throws RequestInvalidError for a cursor of another namespace, of another prefix, or of nobody
   */
  list: (prefix: string, options: { limit: number; cursor: string | null }) => Promise<KeyPage>
}

export interface KeyPage {
  keys: string[]
  /** null: this was the last page. */
  nextCursor: string | null
}

export function scopedStorage(storage: Storage, scope: NameScope, sealer: Sealer): TenantStorage {
  const { namespace } = scope
  const named = (key: string) => {
    validate(key)
    if (key === '') throw new KeyInvalidError('empty')
    return { namespace, key: scope.inner(key) }
  }
  // Internal names stay inside: an error says the tenant's own.
  const outward = (key: string) => (error: unknown) => {
    if (error instanceof ValueNotFoundError) throw new ValueNotFoundError(key)
    throw error instanceof PreconditionFailedError ? new PreconditionFailedError(key) : error
  }
  // Sealed, so that nobody reads a form into it or makes one up, and it means nothing with another prefix.
  const cursorFor = (prefix: string) => ({ kind: 'cursor', namespace, name: prefix }) as const
  const placeOf = (cursor: string, prefix: string): string => {
    const place =
      cursor.length > CURSOR_MAX_CHARS ? null : sealer.open(Buffer.from(cursor, 'base64url'), cursorFor(prefix))
    if (place === null)
      throw new RequestInvalidError("invalid 'cursor': give the one of the page before, and its prefix")
    return place.toString()
  }
  return {
    put: async (key, source, options) => storage.put(named(key), source, options).catch(outward(key)),
    get: async key => storage.get(named(key)).catch(outward(key)),
    delete: async (key, condition) => storage.delete(named(key), condition).catch(outward(key)),
    exists: async key => storage.exists(named(key)),
    async list(prefix, { limit, cursor }) {
      validate(prefix)
      const after = cursor === null ? null : scope.inner(placeOf(cursor, prefix))
      const most = Math.min(limit, LIST_LIMIT_MAX)
      // One more than asked for tells whether there is another page.
      const names = await storage.list({ namespace, key: scope.inner(prefix) }, { limit: most + 1, after })
      const keys = names.slice(0, most).map(scope.outer)
      const last = keys.at(-1)
      const nextCursor =
        names.length <= most || last === undefined
          ? null
          : sealer.seal(Buffer.from(last), cursorFor(prefix)).toString('base64url')
      return { keys, nextCursor }
    }
  }
}

function validate(key: string): void {
  // NUL ends a text in half of SQLite's functions; a lone surrogate is no text at all.
  if (key.includes('\0')) throw new KeyInvalidError('it has a NUL character')
  if (!key.isWellFormed()) throw new KeyInvalidError('it is not valid Unicode')
  if (Buffer.byteLength(key) > KEY_MAX_BYTES) throw new KeyInvalidError(`over ${KEY_MAX_BYTES} bytes`)
}
