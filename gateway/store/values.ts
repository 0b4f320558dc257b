/** Rows of `kv_storage`. */
import type { Knex } from 'knex'
import type { StorageName } from '../storage/storage.ts'

/** A value, or the reference to its blob. */
export type ValueRow = { sizeBytes: number } & ({ value: Buffer; cid: null } | { value: null; cid: string })

export interface Values {
  /** Insert or replace, durable when it resolves. */
  put: (name: StorageName, row: ValueRow) => Promise<void>
  get: (name: StorageName) => Promise<ValueRow | null>
  /** Whether there was one. */
  delete: (name: StorageName) => Promise<boolean>
  exists: (name: StorageName) => Promise<boolean>
  /** Keys that begin with `prefix.key`, in byte order. */
  list: (prefix: StorageName, limit: number) => Promise<string[]>
}

export function createValues(knex: Knex): Values {
  const rows = () => knex('kv_storage')
  const where = ({ namespace, key }: StorageName) => ({ namespace, key })
  return {
    async put(name, row) {
      const nowMs = Date.now()
      const columns = { value: row.value, cid: row.cid, size_bytes: row.sizeBytes, updated_at_ms: nowMs }
      await rows()
        .insert({ ...where(name), ...columns, created_at_ms: nowMs })
        .onConflict(['namespace', 'key'])
        .merge(Object.keys(columns))
    },
    async get(name) {
      const row = await rows().where(where(name)).first('value', 'size_bytes', 'cid')
      if (row === undefined) return null
      const sizeBytes: number = row.size_bytes
      return row.cid === null ? { sizeBytes, value: row.value, cid: null } : { sizeBytes, value: null, cid: row.cid }
    },
    delete: async name => (await rows().where(where(name)).delete()) > 0,
    exists: async name => (await rows().where(where(name)).first(knex.raw('1 AS found'))) !== undefined,
    async list(prefix, limit) {
      // A range over the primary key, not LIKE: that one ignores case, and % and _ would have to be escaped.
      const query = rows().where('namespace', prefix.namespace).where('key', '>=', prefix.key)
      const end = prefixEnd(prefix.key)
      if (end !== null) query.where('key', '<', end)
      return await query.orderBy('key').limit(limit).pluck('key')
    }
  }
}

const LAST_CODE_POINT = 0x10ffff
const SURROGATES_FIRST = 0xd800
const SURROGATES_LAST = 0xdfff

/**
 * The smallest text that is greater than all texts with this beginning, in code point order (which is UTF-8's and
 * SQLite's byte order); null when there is none.
 */
export function prefixEnd(prefix: string): string | null {
  const points = Array.from(prefix, character => character.codePointAt(0) as number)
  for (let last = points.pop(); last !== undefined; last = points.pop()) {
    if (last === LAST_CODE_POINT) continue
    const next = last + 1 >= SURROGATES_FIRST && last + 1 <= SURROGATES_LAST ? SURROGATES_LAST + 1 : last + 1
    return String.fromCodePoint(...points, next)
  }
  return null
}
