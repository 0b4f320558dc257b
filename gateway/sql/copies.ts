/** Whole databases, inside a child: backup, export as text, and restore by the rules of any statement. */
import { closeSync, openSync, readSync, writeSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { compileUnder, outgoing, problemOf, SAFE, SqlProblemError, type TenantDatabase } from './database.ts'
import { SQLITE_LIMITS } from './limits.ts'
import { createRules, isCreateVirtual } from './rules.ts'
import type { SqlExportFormat } from './sql.types.ts'

/** Something of a schema that has a CREATE statement. */
interface SchemaObject {
  type: string
  name: string
  table: string
  sql: string
}

const WRITE_BYTES = 64 * 1024
const HEADER = Buffer.from('SQLite format 3\0')
/** In this order each finds what it needs; rows come after the tables. */
const AFTER_ROWS = ['index', 'view', 'trigger']

/** A consistent copy of the file, made by us: a tenant's own VACUUM INTO is refused. */
export function backup({ raw, rules }: TenantDatabase, path: string): void {
  const { limits } = raw
  rules.ours(() => {
    // VACUUM INTO attaches the new file. Nothing of the tenant's is run meanwhile.
    limits.attach = 1
    try {
      raw.prepare('VACUUM INTO ?').run(path)
    } finally {
      limits.attach = SQLITE_LIMITS.attach
    }
  })
}

export function exportAs(
  { raw, rules }: TenantDatabase,
  { path, format, maxBytes }: { path: string; format: SqlExportFormat; maxBytes: number }
): void {
  const file = openSync(path, 'wx', 0o600)
  let text: string[] = []
  let waitingBytes = 0
  let sizeBytes = 0
  const flush = () => {
    const bytes = Buffer.from(text.join(''))
    for (let at = 0; at < bytes.byteLength; ) at += writeSync(file, bytes, at)
    text = []
    waitingBytes = 0
  }
  const say = (line: string) => {
    const lineBytes = Buffer.byteLength(line) + 1
    sizeBytes += lineBytes
    if (sizeBytes > maxBytes) throw new SqlProblemError({ kind: 'bytes', max: maxBytes })
    waitingBytes += lineBytes
    text.push(`${line}\n`)
    if (waitingBytes >= WRITE_BYTES) flush()
  }
  try {
    rules.ours(() => {
      raw.exec('BEGIN')
      try {
        writeAll(raw, format === 'sql' ? sqlLines(say) : jsonLines(say))
      } finally {
        raw.exec('COMMIT')
      }
    })
    flush()
  } finally {
    closeSync(file)
  }
}

interface Lines {
  begin: () => void
  object: (object: SchemaObject) => void
  row: (table: string, columns: readonly string[], row: readonly unknown[]) => void
  end: () => void
}

function writeAll(raw: DatabaseSync, lines: Lines): void {
  const objects = objectsOf(raw)
  const tables = objects.filter(({ type }) => type === 'table')
  lines.begin()
  for (const table of tables) lines.object(table)
  for (const { name } of tables) {
    const columns = columnsOf(raw, name)
    for (const row of rowsOf(raw, name, columns)) lines.row(name, columns, row)
  }
  for (const type of AFTER_ROWS) for (const object of objects) if (object.type === type) lines.object(object)
  lines.end()
}

function sqlLines(say: (line: string) => void): Lines {
  return {
    begin() {
      say('PRAGMA foreign_keys = OFF;')
      say('BEGIN;')
    },
    object: ({ sql }) => say(`${sql};`),
    row(table, columns, row) {
      const names = columns.map(quoted).join(', ')
      say(`INSERT INTO ${quoted(table)} (${names}) VALUES (${row.map(literal).join(', ')});`)
    },
    end: () => say('COMMIT;')
  }
}

function jsonLines(say: (line: string) => void): Lines {
  return {
    begin() {},
    object: ({ type, name, sql }) => say(JSON.stringify({ [type]: name, sql })),
    row: (table, columns, row) =>
      say(
        JSON.stringify({ row: table, values: Object.fromEntries(columns.map((name, at) => [name, bindable(row[at])])) })
      ),
    end() {}
  }
}

/** A value as it can be bound again. */
function bindable(value: unknown): unknown {
  if (value instanceof Uint8Array) return { blob: Buffer.from(value).toString('base64') }
  const plain = outgoing(value)
  return typeof value === 'bigint' && typeof plain === 'string' ? { int64: plain } : plain
}

/** A value as SQL. */
function literal(value: unknown): string {
  if (value === null) return 'NULL'
  if (typeof value === 'bigint') return value.toString()
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) return value > 0 ? '9e999' : '-9e999'
    const text = String(value)
    return /[.e]/.test(text) ? text : `${text}.0`
  }
  if (typeof value === 'string') {
    return value.includes('\0') ? `CAST(${hex(Buffer.from(value))} AS TEXT)` : `'${value.replaceAll("'", "''")}'`
  }
  return hex(value as Uint8Array)
}

const hex = (bytes: Uint8Array) => `X'${Buffer.from(bytes).toString('hex')}'`

/**
 * Everything that is there goes, and what the file holds comes, in one transaction. The file is a stranger's: it is checked,
 * only read, and what it says of its schema is compiled here like any statement.
 */
export function restore(database: TenantDatabase, path: string): void {
  const { raw, rules } = database
  const source = openSource(path)
  // Within a transaction it cannot be changed; every key is checked at the end instead.
  rules.ours(() => raw.exec('PRAGMA foreign_keys = OFF'))
  try {
    database.atomically(() => {
      dropAll(database)
      const objects = objectsOf(source)
      const tables = objects.filter(({ type }) => type === 'table')
      for (const table of tables) create(database, table)
      for (const { name } of tables) copyRows(database, source, name)
      for (const type of AFTER_ROWS) for (const object of objects) if (object.type === type) create(database, object)
      copySequence(database, source)
      const broken = rules.ours(() => raw.prepare('PRAGMA foreign_key_check').get())
      if (broken !== undefined) throw invalid('a foreign key in it leads nowhere')
    })
  } catch (error) {
    throw restoreProblem(error)
  } finally {
    source.close()
    rules.ours(() => raw.exec('PRAGMA foreign_keys = ON'))
  }
}

/** Whether it begins as one does (SQLite's file format, section 1.3). */
function isDatabase(path: string): boolean {
  const file = openSync(path, 'r')
  try {
    const head = Buffer.alloc(HEADER.byteLength)
    return readSync(file, head) === head.byteLength && head.equals(HEADER)
  } finally {
    closeSync(file)
  }
}

function openSource(path: string): DatabaseSync {
  // To SQLite a file of a few bytes is a database without tables: all that is there would go for a body somebody forgot.
  if (!isDatabase(path)) throw invalid('it is no SQLite file: send what /v1/db/backup gave, as the body')
  let source: DatabaseSync | undefined
  try {
    // It may be in WAL mode, which wants to write beside it: it is a copy of our own. Its rows are only read.
    source = new DatabaseSync(path, SAFE)
    for (const setting of ['trusted_schema = OFF', 'cell_size_check = ON', 'temp_store = MEMORY', 'query_only = ON']) {
      source.exec(`PRAGMA ${setting}`)
    }
    const modules = source.prepare('SELECT name FROM pragma_module_list').all() as unknown as string[][]
    source.setAuthorizer(createRules(new Set(modules.map(([name]) => String(name).toLowerCase()))).authorize)
    // First of all: to check one runs its code on what a stranger has written.
    const rows = source.prepare("SELECT sql, rootpage = 0 FROM sqlite_schema WHERE sql <> '' AND type = 'table'").all()
    const isVirtual = ([sql, hasNoPage]: [string, bigint]) => hasNoPage === 1n || isCreateVirtual(String(sql))
    if ((rows as unknown as Array<[string, bigint]>).some(isVirtual))
      throw invalid('it has a virtual table, which is refused')
    const [verdict] = source.prepare('PRAGMA integrity_check(1)').get() as unknown as [string]
    if (verdict !== 'ok') throw invalid(verdict)
    return source
  } catch (error) {
    // Open, it would take its place on the disk until somebody collects it, though it is deleted.
    source?.close()
    throw restoreProblem(error)
  }
}

function dropAll({ raw, rules }: TenantDatabase): void {
  rules.ours(() => {
    const objects = objectsOf(raw)
    for (const type of ['trigger', 'view', 'table']) {
      for (const { name } of objects.filter(object => object.type === type)) {
        raw.exec(`DROP ${type} ${quoted(name)}`)
      }
    }
  })
}

function create({ raw, rules }: TenantDatabase, { sql }: SchemaObject): void {
  compileUnder(rules, raw, sql).statement.run()
}

function copyRows({ raw, rules }: TenantDatabase, source: DatabaseSync, table: string): void {
  const columns = columnsOf(source, table)
  const names = columns.map(quoted).join(', ')
  const places = columns.map(() => '?').join(', ')
  const insert = compileUnder(rules, raw, `INSERT INTO ${quoted(table)} (${names}) VALUES (${places})`).statement
  for (const row of rowsOf(source, table, columns)) insert.run(...(row as never[]))
}

/** What AUTOINCREMENT has given out already. */
function copySequence({ raw, rules }: TenantDatabase, source: DatabaseSync): void {
  const has = (database: DatabaseSync) =>
    database.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'").get() !== undefined
  rules.ours(() => {
    if (!has(raw) || !has(source)) return
    raw.exec('DELETE FROM sqlite_sequence')
    const insert = raw.prepare('INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)')
    for (const row of source.prepare('SELECT name, seq FROM sqlite_sequence').iterate() as Iterable<unknown>) {
      insert.run(...(row as never[]))
    }
  })
}

function objectsOf(database: DatabaseSync): SchemaObject[] {
  const rows = database
    .prepare(
      "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND substr(name, 1, 7) <> 'sqlite_'"
    )
    .all() as unknown as string[][]
  return rows.map(([type, name, table, sql]) => ({ type, name, table, sql }) as SchemaObject)
}

/** Without generated ones. */
function columnsOf(database: DatabaseSync, table: string): string[] {
  const rows = database.prepare('SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0').all(table)
  return (rows as unknown as string[][]).map(([name]) => name as string)
}

function rowsOf(database: DatabaseSync, table: string, columns: readonly string[]): Iterable<readonly unknown[]> {
  const names = columns.map(quoted).join(', ')
  return database.prepare(`SELECT ${names} FROM ${quoted(table)}`).iterate() as unknown as Iterable<readonly unknown[]>
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

function invalid(message: string): SqlProblemError {
  return new SqlProblemError({ kind: 'restore', message })
}

/** SQLITE_BUSY, SQLITE_NOMEM, SQLITE_FULL: nothing the file can be blamed for. */
const NOT_THE_FILE = new Set([5, 7, 13])

function restoreProblem(error: unknown): SqlProblemError {
  const problem = problemOf(error)
  switch (problem.kind) {
    case 'sqlite':
      return NOT_THE_FILE.has(problem.code % 256) ? new SqlProblemError(problem) : invalid(problem.message)
    case 'refused':
      return invalid(`it has ${problem.what}, which is refused`)
    case 'restore':
      return new SqlProblemError(problem)
    default:
      return invalid('its schema has something that is no single statement')
  }
}
