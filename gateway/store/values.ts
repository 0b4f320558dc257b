/** Rows of `kv_storage`: sealed values and references to blobs, each with a validator and perhaps an end. */
import { randomBytes } from 'node:crypto'
import { SWEEP_BATCH_ROWS } from '../constants.ts'
import { StorageFullError, ValueUnreadableError } from '../errors.ts'
import type { StorageName } from '../storage/storage.ts'
import type { Sealer } from './seal.ts'
import type { Parameter, Statements } from './statements.ts'

/** A value, or the reference to its blob. */
export type ValueContent = { sizeBytes: number } & ({ value: Buffer; cid: null } | { value: null; cid: string })

export type ValueRow = ValueContent & ValueFacts

/** What is known of a value without reading it. */
export interface ValueFacts {
  /** Another with each write, of this key or any. */
  etag: string
  /** When it is gone, ms since 1970; null: never. */
  expiresAtMs: number | null
}

/** What must hold for a write; of an absent value only `noneMatch` does. */
export interface Condition {
  match?: '*' | readonly string[]
  noneMatch?: '*' | readonly string[]
}

export interface PutValue {
  content: ValueContent
  expiresAtMs: number | null
  condition: Condition | null
}

export interface Values {
  /**
   * Insert or replace, durable when it resolves. Its etag; null when the condition does not hold.
   * @throws StorageFullError
   */
  put: (name: StorageName, put: PutValue) => Promise<string | null>
  /** @throws ValueUnreadableError */
  get: (name: StorageName) => Promise<ValueRow | null>
  facts: (name: StorageName) => Promise<ValueFacts | null>
  /** Whether there was one of which the condition holds. */
  delete: (name: StorageName, condition: Condition | null) => Promise<boolean>
  /** Keys that begin with `prefix.key` and come after `after`, in byte order. */
  list: (prefix: StorageName, options: { limit: number; after: string | null }) => Promise<string[]>
  /** Removes rows whose time is over, a bounded batch at a time; how many. */
  sweep: () => Promise<number>
}

export interface ValuesOptions {
  statements: Statements
  sealer: Sealer
  /** The clock, ms since 1970. */
  nowMs: () => number
  /** Pages of the database from which on it takes no value more. */
  maxPages: number
}

const LIVE = '(expires_at_ms IS NULL OR expires_at_ms > ?)'
const COLUMNS = 'sealed, sealed_cid, size_bytes, etag, expires_at_ms, updated_at_ms'
const SET = `${COLUMNS.split(', ')
  .map(column => `${column} = excluded.${column}`)
  .join(', ')}, form = 1`
const INSERT = `INSERT INTO kv_storage (${COLUMNS}, namespace, key, created_at_ms, form)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1) ON CONFLICT (namespace, key) DO UPDATE SET ${SET}`
const PUT_IF_NONE = `${INSERT} WHERE NOT ${LIVE} OR (NOT ? AND etag NOT IN (SELECT value FROM json_each(?)))`
const CONDITION = `namespace = ? AND key = ? AND ${LIVE}
  AND (? OR etag IN (SELECT value FROM json_each(?))) AND NOT ? AND etag NOT IN (SELECT value FROM json_each(?))`
const PUT_IF_MATCH = `UPDATE kv_storage SET ${COLUMNS.split(', ')
  .map(column => `${column} = ?`)
  .join(', ')}, form = 1 WHERE ${CONDITION}`
const DELETE = `DELETE FROM kv_storage WHERE namespace = ? AND key = ? AND ${LIVE}`
const DELETE_IF = `DELETE FROM kv_storage WHERE ${CONDITION}`
const GET = `SELECT sealed, sealed_cid, size_bytes, etag, expires_at_ms, form FROM kv_storage
  WHERE namespace = ? AND key = ? AND ${LIVE}`
const FACTS = `SELECT etag, expires_at_ms FROM kv_storage WHERE namespace = ? AND key = ? AND ${LIVE}`
// A range over the primary key, not LIKE: that one ignores case, and % and _ would have to be escaped.
const list = (
  first: '>=' | '>'
) => `SELECT key FROM kv_storage WHERE namespace = ? AND key ${first} ? AND key < ? AND ${LIVE}
  ORDER BY key LIMIT ?`
const LIST = list('>=')
// One lower end only: SQLite would begin at the other, and read every page before this one again.
const LIST_AFTER = list('>')
const USED = `SELECT (SELECT page_count FROM pragma_page_count) - (SELECT freelist_count FROM pragma_freelist_count)
  AS pages`
const SWEEP = `DELETE FROM kv_storage WHERE rowid IN
  (SELECT rowid FROM kv_storage WHERE expires_at_ms <= ? ORDER BY expires_at_ms LIMIT ?)`

/** About what a row takes beside its value. */
const ROW_BYTES = 1024
/** Looked at after so much more: some of what values leave to others, at most a mebibyte. */
const LOOK_BYTES_PER_PAGE = 64
const LOOK_MAX_BYTES = 1024 * 1024

interface GetRow {
  sealed: Buffer | null
  sealed_cid: string | null
  size_bytes: number
  etag: string
  expires_at_ms: number | null
  form: number
}

export function createValues({ statements, sealer, nowMs, maxPages }: ValuesOptions): Values {
  const run = randomBytes(9).toString('base64url')
  let written = 0
  const lookBytes = Math.min(LOOK_MAX_BYTES, maxPages * LOOK_BYTES_PER_PAGE)
  let unseenBytes = Number.POSITIVE_INFINITY

  /** Looks at the database only when as much was put as may make a difference. @throws StorageFullError */
  async function checkRoom(bytes: number): Promise<void> {
    unseenBytes += bytes
    if (unseenBytes < lookBytes) return
    const used = await statements.get<{ pages: number }>(USED, [])
    if (used !== null && used.pages >= maxPages) throw new StorageFullError('in the database')
    unseenBytes = 0
  }

  function sealedColumns(
    { namespace, key }: StorageName,
    { value, cid }: ValueContent
  ): [Buffer | null, string | null] {
    if (value !== null) return [sealer.seal(value, { kind: 'value', namespace, name: key }), null]
    const sealed = sealer.seal(Buffer.from(cid as string), { kind: 'cid', namespace, name: key })
    return [null, sealed.toString('base64url')]
  }

  function opened({ namespace, key }: StorageName, row: GetRow): Buffer {
    const kind = row.sealed === null ? 'cid' : 'value'
    const sealed = row.sealed ?? Buffer.from(row.sealed_cid ?? '', 'base64url')
    const whole = row.form === 1 ? sealer.open(sealed, { kind, namespace, name: key }) : null
    if (whole === null) throw new ValueUnreadableError()
    return whole
  }

  return {
    async put(name, { content, expiresAtMs, condition }) {
      await checkRoom((content.value?.byteLength ?? 0) + ROW_BYTES)
      const { namespace, key } = name
      const at = nowMs()
      written += 1
      const etag = `${run}-${written.toString(36)}`
      const columns: Parameter[] = [...sealedColumns(name, content), content.sizeBytes, etag, expiresAtMs, at]
      const { match, noneMatch } = condition ?? {}
      let changed: number
      if (match !== undefined) {
        changed = await statements.run(PUT_IF_MATCH, [...columns, ...conditionParameters(name, condition, at)])
      } else if (noneMatch !== undefined) {
        const none: Parameter[] = [noneMatch === '*' ? 1 : 0, tagsOf(noneMatch)]
        changed = await statements.run(PUT_IF_NONE, [...columns, namespace, key, at, at, ...none])
      } else {
        changed = await statements.run(INSERT, [...columns, namespace, key, at])
      }
      return changed > 0 ? etag : null
    },
    async get(name) {
      const row = await statements.get<GetRow>(GET, [name.namespace, name.key, nowMs()])
      if (row === null) return null
      const facts = { sizeBytes: row.size_bytes, etag: row.etag, expiresAtMs: row.expires_at_ms }
      const whole = opened(name, row)
      return row.sealed === null
        ? { ...facts, value: null, cid: whole.toString('latin1') }
        : { ...facts, value: whole, cid: null }
    },
    async facts({ namespace, key }) {
      const row = await statements.get<GetRow>(FACTS, [namespace, key, nowMs()])
      return row === null ? null : { etag: row.etag, expiresAtMs: row.expires_at_ms }
    },
    async delete(name, condition) {
      const changed =
        condition === null
          ? await statements.run(DELETE, [name.namespace, name.key, nowMs()])
          : await statements.run(DELETE_IF, conditionParameters(name, condition, nowMs()))
      return changed > 0
    },
    async list({ namespace, key: prefix }, { limit, after }) {
      // A prefix that nothing comes after cannot be: internal names begin with `ns::`.
      const end = prefixEnd(prefix) ?? ''
      const sql = after === null ? LIST : LIST_AFTER
      const rows = await statements.all<{ key: string }>(sql, [namespace, after ?? prefix, end, nowMs(), limit])
      return rows.map(row => row.key)
    },
    sweep: () => statements.run(SWEEP, [nowMs(), SWEEP_BATCH_ROWS])
  }
}

/** Of CONDITION, in its order. */
function conditionParameters(name: StorageName, condition: Condition | null, at: number): Parameter[] {
  const { match = '*', noneMatch = [] } = condition ?? {}
  return [
    ...[name.namespace, name.key, at],
    ...[match === '*' ? 1 : 0, tagsOf(match), noneMatch === '*' ? 1 : 0, tagsOf(noneMatch)]
  ]
}

function tagsOf(tags: '*' | readonly string[]): string {
  return tags === '*' ? '[]' : JSON.stringify(tags)
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
