/**
 * A namespace's file inside its child process: opened so that SQL can do no harm, statements compiled under the rules,
 * results counted while they grow. All of it is synchronous: a child has one caller and one job at a time.
 */
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { SQL_COMPILED_MAX, SQL_COMPILED_TEXT_MAX_CHARS, SQL_NODE_FLOOR, SQLITE_LIMITS } from './limits.ts'
import { createRules, isBlank, type Rules } from './rules.ts'
import type { SqlArgument, SqlStatement } from './sql.types.ts'
import type { ChildInit, ResultLimits, SqlProblem } from './wire.types.ts'

/** What goes wrong with a job, to be told to the gateway. */
export class SqlProblemError extends Error {
  readonly problem: SqlProblem

  constructor(problem: SqlProblem) {
    super(problem.kind)
    this.name = 'SqlProblemError'
    this.problem = problem
  }
}

export interface Compiled {
  statement: StatementSync
  writes: boolean
  changesSchema: boolean
}

export interface TenantDatabase {
  readonly raw: DatabaseSync
  readonly rules: Rules
  /** @throws SqlProblemError */
  compile: (sql: string) => Compiled
  /** One statement, its own transaction when it writes; the result as JSON text. */
  query: (statement: SqlStatement, limits: ResultLimits) => string
  /** All or none; the results as JSON text. */
  transaction: (statements: readonly SqlStatement[], limits: ResultLimits) => string[]
  /** BEGIN IMMEDIATE, the work, `onCommit`, COMMIT; ROLLBACK where the work throws. */
  atomically: <T>(work: () => T) => T
  close: () => void
}

/** Longest wait for another process that sets the same new file up. */
const OPEN_TIMEOUT_MS = 10_000
const OPEN_RETRY_MS = 20
const SQLITE_BUSY = 5
/** A value was bound to a place that there is not. */
const SQLITE_RANGE = 25
const PAGE_BYTES = 4096

/** The open database of a child. `onCommit` is called when nothing is left to do but the COMMIT. */
export function openDatabase(init: ChildInit, onCommit: () => void): TenantDatabase {
  const raw = open(init)
  const modules = raw.prepare('SELECT name FROM pragma_module_list').all() as unknown as string[][]
  const rules = createRules(new Set(modules.map(([name]) => String(name).toLowerCase())))
  raw.setAuthorizer(rules.authorize)
  const lastInsert = rules.ours(() => raw.prepare('SELECT last_insert_rowid()'))
  const lastInsertId = () => rules.ours(() => outgoing((lastInsert.get() as unknown as [bigint])[0]))
  const cache = new Map<string, Compiled>()

  function compile(sql: string): Compiled {
    const known = cache.get(sql)
    if (known !== undefined) return known
    const fresh = compileUnder(rules, raw, sql)
    if (sql.length <= SQL_COMPILED_TEXT_MAX_CHARS) {
      if (cache.size >= SQL_COMPILED_MAX) cache.delete(cache.keys().next().value as string)
      cache.set(sql, fresh)
    }
    return fresh
  }

  function run(compiled: Compiled, args: SqlStatement['args'], countRow: CountRow): string {
    const bound = bindable(args)
    return rules.watch(seen => {
      try {
        return resultOf(compiled, bound, { countRow, lastInsertId })
      } catch (error) {
        // A statement is compiled anew when the schema has changed under it.
        throw seen.refusal === null ? error : new SqlProblemError(seen.refusal)
      }
    })
  }

  function atomically<T>(work: () => T): T {
    rules.ours(() => raw.exec('BEGIN IMMEDIATE'))
    try {
      const result = work()
      onCommit()
      rules.ours(() => raw.exec('COMMIT'))
      return result
    } catch (error) {
      // SQLite rolls back by itself where it has to (a full disk, say).
      if (raw.isTransaction) rules.ours(() => raw.exec('ROLLBACK'))
      throw error
    }
  }

  return {
    raw,
    rules,
    compile,
    query({ sql, args }, limits) {
      const compiled = compile(sql)
      const work = () => run(compiled, args, createCounter(limits))
      return compiled.writes ? atomically(work) : work()
    },
    transaction(statements, limits) {
      const countRow = createCounter(limits)
      return atomically(() =>
        statements.map(({ sql, args }, index) => {
          try {
            return run(compile(sql), args, countRow)
          } catch (error) {
            throw new SqlProblemError({ ...problemOf(error), statement: index + 1 })
          }
        })
      )
    },
    atomically,
    close: () => raw.close()
  }
}

/** Exactly one statement, allowed by the rules. */
export function compileUnder(rules: Rules, raw: DatabaseSync, sql: string): Compiled {
  // SQLite would not see what is behind a NUL, and half a surrogate pair is no text.
  if (sql.includes('\0') || !sql.isWellFormed()) throw new SqlProblemError({ kind: 'second' })
  return rules.watch(seen => {
    let statement: StatementSync
    try {
      statement = raw.prepare(sql)
    } catch (error) {
      if (seen.refusal !== null) throw new SqlProblemError(seen.refusal)
      if ((error as { code?: string }).code === 'ERR_INVALID_ARG_VALUE') throw new SqlProblemError({ kind: 'empty' })
      throw error
    }
    const { sourceSQL } = statement
    if (!sql.startsWith(sourceSQL) || !isBlank(sql.slice(sourceSQL.length))) {
      throw new SqlProblemError({ kind: 'second' })
    }
    return { statement, writes: seen.writes, changesSchema: seen.changesSchema }
  })
}

/** What was thrown, for the gateway. Anything that is no problem of a statement ends the child. */
export function problemOf(error: unknown): SqlProblem {
  if (error instanceof SqlProblemError) return error.problem
  const { code, errcode, message } = error as { code?: unknown; errcode?: unknown; message: string }
  if (errcode === SQLITE_RANGE)
    return { kind: 'arguments', message: 'there are more args than the statement has places' }
  if (code === 'ERR_SQLITE_ERROR' && typeof errcode === 'number') return { kind: 'sqlite', code: errcode, message }
  // node:sqlite's own words for a name that is no parameter, or a parameter of another kind.
  if (code === 'ERR_INVALID_STATE' || code === 'ERR_INVALID_ARG_TYPE') return { kind: 'arguments', message }
  throw error
}

/** Settings that hold for every file a child opens. */
export const SAFE = {
  readBigInts: true,
  returnArrays: true,
  allowExtension: false,
  defensive: true,
  enableForeignKeyConstraints: true,
  enableDoubleQuotedStringLiterals: false,
  limits: SQLITE_LIMITS
} as const

function open({ path, maxPages, busyTimeoutMs }: ChildInit): DatabaseSync {
  const raw = new DatabaseSync(path, { ...SAFE, timeout: busyTimeoutMs })
  if (raw.limits === undefined || raw.limits.attach !== 0) {
    throw new Error(`this Node has no limits in node:sqlite: use ${SQL_NODE_FLOOR} or later`)
  }
  const settings = [
    `PRAGMA page_size = ${PAGE_BYTES}`,
    'PRAGMA journal_mode = WAL',
    // An acknowledged transaction is on the disk.
    'PRAGMA synchronous = FULL',
    'PRAGMA trusted_schema = OFF',
    'PRAGMA cell_size_check = ON',
    'PRAGMA mmap_size = 0',
    // What does not fit into memory would go to files that no quota counts; memory has a limit.
    'PRAGMA temp_store = MEMORY',
    'PRAGMA cache_size = -8000',
    'PRAGMA journal_size_limit = 16777216',
    `PRAGMA max_page_count = ${maxPages}`
  ]
  const deadline = performance.now() + OPEN_TIMEOUT_MS
  for (;;) {
    try {
      for (const setting of settings) raw.exec(setting)
      return raw
    } catch (error) {
      // Two that switch a new file to WAL would wait for each other, so SQLite refuses one at once: it tries again.
      if (((error as { errcode?: number }).errcode ?? 0) % 256 !== SQLITE_BUSY || performance.now() > deadline) {
        throw error
      }
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, OPEN_RETRY_MS)
  }
}

/** Takes a row as JSON. */
type CountRow = (text: string) => void

/** Counts rows and bytes of all results of a job. */
function createCounter({ maxRows, maxBytes }: ResultLimits): CountRow {
  let rows = 0
  let sizeBytes = 0
  return text => {
    rows += 1
    if (rows > maxRows) throw new SqlProblemError({ kind: 'rows', max: maxRows })
    sizeBytes += Buffer.byteLength(text)
    if (sizeBytes > maxBytes) throw new SqlProblemError({ kind: 'bytes', max: maxBytes })
  }
}

interface Asides {
  countRow: CountRow
  lastInsertId: () => null | number | string
}

function resultOf(
  { statement, writes, changesSchema }: Compiled,
  bound: Bound,
  { countRow, lastInsertId }: Asides
): string {
  if (statement.columns().length === 0) {
    const { changes, lastInsertRowid } = statement.run(...bound)
    return JSON.stringify({
      columns: [],
      rows: [],
      affected: changesSchema ? 0 : outgoing(changes),
      lastInsertId: outgoing(lastInsertRowid)
    })
  }
  const rows: string[] = []
  // A statement that returns what it writes has written all of it with its first step.
  for (const row of statement.iterate(...bound) as Iterable<unknown>) {
    const text = JSON.stringify((row as unknown[]).map(outgoing))
    countRow(text)
    rows.push(text)
  }
  // Only now: the first step compiles a statement anew when the schema has changed.
  const columns = JSON.stringify(statement.columns().map(({ name }) => name))
  const [affected, lastId] = writes ? [rows.length, JSON.stringify(lastInsertId())] : [0, 0]
  return `{"columns":${columns},"rows":[${rows.join(',')}],"affected":${affected},"lastInsertId":${lastId}}`
}

/** SQLite's value → JSON's. */
export function outgoing(value: unknown): null | number | string {
  switch (typeof value) {
    case 'bigint': {
      const number = Number(value)
      return Number.isSafeInteger(number) ? number : value.toString()
    }
    case 'number':
      return Number.isFinite(value) ? value : String(value)
    case 'string':
      return value
    default:
      return value === null ? null : Buffer.from(value as Uint8Array).toString('base64')
  }
}

type Bound = SQLInputValue[]

function bindable(args: SqlStatement['args']): Bound {
  if (args === undefined) return []
  if (Array.isArray(args)) return (args as readonly SqlArgument[]).map(incoming)
  const named = Object.fromEntries(Object.entries(args).map(([name, value]) => [name, incoming(value as SqlArgument)]))
  // A statement takes an object in the place of its first value, which its types say of another overload only.
  return [named as unknown as SQLInputValue]
}

/** JSON's value → SQLite's; the gateway has checked its shape. */
export function incoming(value: SqlArgument): SQLInputValue {
  if (typeof value === 'number') return Number.isSafeInteger(value) ? BigInt(value) : value
  if (typeof value === 'boolean') return value ? 1n : 0n
  if (value === null || typeof value === 'string') return value
  return 'int64' in value ? BigInt(value.int64) : Buffer.from(value.blob, 'base64')
}
