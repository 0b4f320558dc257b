/**
 * What a tenant's statement may do, judged by SQLite's own action codes while it compiles a statement (and again whenever it
 * compiles it anew), so that no spelling gets by. Lists say what is allowed: whatever a newer SQLite brings is refused.
 */
import { constants } from 'node:sqlite'

/** Why a statement is refused. */
export type Refusal = { kind: 'refused'; what: string } | { kind: 'transaction' }

/** What a statement turned out to be while it was compiled. */
export interface Seen {
  refusal: Refusal | null
  writes: boolean
  changesSchema: boolean
}

const words = (text: string) => new Set(text.split(/\s+/).filter(word => word !== ''))

/** Pragmas that tell of the tenant's own schema; with an argument only where it names a table or index. */
const PRAGMAS_OF_NAMES = words(`table_info table_xinfo table_list index_list index_info index_xinfo foreign_key_list
  foreign_key_check integrity_check quick_check`)
const PRAGMAS_TO_READ = words('user_version application_id foreign_keys encoding page_count page_size freelist_count')

/** No function that reads files, loads code, logs, or belongs to a virtual table. */
const FUNCTIONS = words(`-> ->> abs acos acosh asin asinh atan atan2 atanh avg ceil ceiling changes char coalesce concat
  concat_ws cos cosh count cume_dist current_date current_time current_timestamp date datetime degrees dense_rank exp
  first_value floor format glob group_concat hex if ifnull iif instr json json_array json_array_insert json_array_length
  json_error_position json_extract json_group_array json_group_object json_insert json_object json_patch json_pretty
  json_quote json_remove json_replace json_set json_type json_valid jsonb jsonb_array jsonb_array_insert jsonb_extract
  jsonb_group_array jsonb_group_object jsonb_insert jsonb_object jsonb_patch jsonb_remove jsonb_replace jsonb_set julianday
  lag last_insert_rowid last_value lead length like likelihood likely ln log log10 log2 lower ltrim max median min mod
  nth_value ntile nullif octet_length percent_rank percentile percentile_cont percentile_disc pi pow power printf quote
  radians random randomblob rank replace round row_number rtrim sign sin sinh sqlite_version sqrt strftime string_agg
  subtype substr substring subtype sum tan tanh time timediff total total_changes trim trunc typeof unhex unicode unistr
  unistr_quote unixepoch unlikely upper zeroblob`)

/** Functions that ALTER TABLE calls inside; SQLite itself refuses them to anybody else. */
const ALTER_FUNCTIONS = words(`sqlite_rename_column sqlite_rename_table sqlite_rename_test sqlite_rename_quotefix
  sqlite_drop_column sqlite_drop_constraint sqlite_add_constraint sqlite_find_constraint sqlite_fail`)

/** Table-valued functions; `pragma_…` is judged by the pragma it stands for. */
const MODULES = words('json_each json_tree jsonb_each jsonb_tree')

const {
  SQLITE_OK,
  SQLITE_DENY,
  SQLITE_SELECT,
  SQLITE_READ,
  SQLITE_RECURSIVE,
  SQLITE_FUNCTION,
  SQLITE_PRAGMA,
  SQLITE_TRANSACTION,
  SQLITE_SAVEPOINT,
  SQLITE_ALTER_TABLE,
  SQLITE_INSERT
} = constants

const ROWS = new Set([SQLITE_INSERT, constants.SQLITE_UPDATE, constants.SQLITE_DELETE])
const SCHEMA = new Set([
  constants.SQLITE_CREATE_TABLE,
  constants.SQLITE_CREATE_INDEX,
  constants.SQLITE_CREATE_TRIGGER,
  constants.SQLITE_CREATE_VIEW,
  constants.SQLITE_DROP_TABLE,
  constants.SQLITE_DROP_INDEX,
  constants.SQLITE_DROP_TRIGGER,
  constants.SQLITE_DROP_VIEW,
  SQLITE_ALTER_TABLE,
  constants.SQLITE_REINDEX,
  constants.SQLITE_ANALYZE
])
const NAMED: Readonly<Record<number, string>> = {
  [constants.SQLITE_ATTACH]: 'ATTACH (which VACUUM does too)',
  [constants.SQLITE_DETACH]: 'DETACH',
  [constants.SQLITE_CREATE_VTABLE]: 'a virtual table',
  [constants.SQLITE_DROP_VTABLE]: 'a virtual table',
  [constants.SQLITE_CREATE_TEMP_TABLE]: 'a temporary table',
  [constants.SQLITE_CREATE_TEMP_INDEX]: 'a temporary index',
  [constants.SQLITE_CREATE_TEMP_TRIGGER]: 'a temporary trigger',
  [constants.SQLITE_CREATE_TEMP_VIEW]: 'a temporary view'
}

const TEMPORARY = 'a temporary table, index, trigger or view'

export interface Rules {
  /** For `DatabaseSync.setAuthorizer`. */
  authorize: (action: number, first: string | null, second: string | null, schema: string | null) => number
  /** Runs `work` and answers what was seen meanwhile in `seen`. */
  watch: <T>(work: (seen: Seen) => T) => T
  /** Runs statements of our own, which may do what tenants may not. */
  ours: <T>(work: () => T) => T
}

/** @param modules names of the virtual tables this SQLite has built in */
export function createRules(modules: ReadonlySet<string>): Rules {
  let seen: Seen = { refusal: null, writes: false, changesSchema: false }
  let trusted = false

  function refusalOf(
    action: number,
    first: string | null,
    second: string | null,
    schema: string | null
  ): Refusal | null {
    switch (action) {
      case SQLITE_SELECT:
      case SQLITE_RECURSIVE:
        return null
      case SQLITE_READ: {
        const table = (first ?? '').toLowerCase()
        if (table.startsWith('pragma_')) {
          const pragma = table.slice('pragma_'.length)
          return mayRead(pragma) ? null : refused(`PRAGMA ${pragma}`)
        }
        return modules.has(table) && !MODULES.has(table) ? refused(`the table ${table}`) : null
      }
      case SQLITE_FUNCTION: {
        const name = (second ?? '').toLowerCase()
        return FUNCTIONS.has(name) || ALTER_FUNCTIONS.has(name) ? null : refused(`the function ${name}`)
      }
      case SQLITE_PRAGMA: {
        const name = (first ?? '').toLowerCase()
        const allowed = second === null ? mayRead(name) : PRAGMAS_OF_NAMES.has(name)
        return allowed ? null : refused(`PRAGMA ${name}`)
      }
      case SQLITE_TRANSACTION:
      case SQLITE_SAVEPOINT:
        return { kind: 'transaction' }
    }
    if (ROWS.has(action)) {
      // A temporary trigger on a table of ours is told apart only by where SQLite notes it down.
      if (action === SQLITE_INSERT && schema !== 'main') return refused(TEMPORARY)
      seen.writes = true
      return null
    }
    if (SCHEMA.has(action)) {
      // `CREATE TABLE temp.t` has the action of any table; ALTER TABLE alone says its schema first.
      const where = action === SQLITE_ALTER_TABLE ? first : schema
      if (where !== 'main') return refused(TEMPORARY)
      seen.writes = true
      seen.changesSchema = true
      return null
    }
    return refused(NAMED[action] ?? `action ${action}`)
  }

  return {
    authorize(action, first, second, schema) {
      if (trusted) return SQLITE_OK
      const refusal = refusalOf(action, first, second, schema)
      if (refusal === null) return SQLITE_OK
      seen.refusal ??= refusal
      return SQLITE_DENY
    },
    watch(work) {
      seen = { refusal: null, writes: false, changesSchema: false }
      return work(seen)
    },
    ours(work) {
      const before = trusted
      trusted = true
      try {
        return work()
      } finally {
        trusted = before
      }
    }
  }
}

function mayRead(pragma: string): boolean {
  return PRAGMAS_OF_NAMES.has(pragma) || PRAGMAS_TO_READ.has(pragma)
}

function refused(what: string): Refusal {
  return { kind: 'refused', what }
}

/**
 * Whether nothing but white space, semicolons and comments is in a text, by SQLite's tokenizer. What is in doubt counts as a
 * statement.
 */
export function isBlank(text: string): boolean {
  return /^(?:[ \t\n\f\r;\uFEFF]|--[^\n]*(?:\n|$)|\/\*(?:[^*]|\*(?!\/))*\*\/)*$/.test(text)
}

/** Whether a text begins as CREATE TABLE does. It says what a caller means; what is allowed is not judged by it. */
export function isCreateTable(text: string): boolean {
  return /^(?:\s|--[^\n]*\n|\/\*(?:[^*]|\*(?!\/))*\*\/)*create\s+table\b/i.test(text)
}

/** Whether a text of a schema makes a virtual table. */
export function isCreateVirtual(text: string): boolean {
  return /^create(?:\s|--[^\n]*\n|\/\*(?:[^*]|\*(?!\/))*\*\/)+virtual\b/i.test(text)
}
