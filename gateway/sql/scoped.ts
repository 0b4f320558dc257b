/** One namespace's SQL: requests checked before they cost anything, on the database its scope names. */
import type { Readable } from 'node:stream'
import type { NameScope } from '../middleware/own-namespace.ts'
import {
  SqlEmptyError,
  SqlStatementError,
  SqlStatementsTooManyError,
  SqlStatementTooLargeError,
  SqlTableUnknownError
} from './errors.ts'
import { SQL_STATEMENT_MAX_BYTES, SQL_STATEMENTS_MAX } from './limits.ts'
import type { SqlCopy, SqlEngine, SqlExportFormat, SqlOptions, SqlResult, SqlStatement, SqlValue } from './sql.types.ts'

export interface SqlColumn {
  name: string
  type: string
  nullable: boolean
  /** The default's expression as it was written. */
  default: string | null
}

export interface SqlTable {
  name: string
  columns: SqlColumn[]
}

/** What handlers use; errors are those of the engine. */
export interface TenantSql {
  query: (statement: SqlStatement, options?: SqlOptions) => Promise<SqlResult>
  transaction: (statements: readonly SqlStatement[], options?: SqlOptions) => Promise<SqlResult[]>
  /** Tables by name, without SQLite's own. */
  schema: (options?: SqlOptions) => Promise<SqlTable[]>
  /** @throws SqlTableUnknownError */
  dropTable: (table: string, options?: SqlOptions) => Promise<void>
  backup: (options?: SqlOptions) => Promise<SqlCopy>
  export: (format: SqlExportFormat, options?: SqlOptions) => Promise<SqlCopy>
  restore: (file: AsyncIterable<Uint8Array> | Readable, options?: SqlOptions) => Promise<void>
}

const SCHEMA = `
SELECT t.name, c.name, c.type, c."notnull" OR c.pk > 0 AND lower(c.type) = 'integer', c.dflt_value
FROM sqlite_schema AS t LEFT JOIN pragma_table_info(t.name) AS c
WHERE t.type = 'table' AND substr(t.name, 1, 7) <> 'sqlite_'
ORDER BY t.name, c.cid`

export function scopedSql(engine: SqlEngine, scope: NameScope): TenantSql {
  const database = scope.inner('')
  const query = async (statement: SqlStatement, options?: SqlOptions) => {
    check(statement)
    return engine.query(database, statement, options)
  }
  return {
    query,
    transaction: async (statements, options) => {
      if (statements.length > SQL_STATEMENTS_MAX) throw new SqlStatementsTooManyError(SQL_STATEMENTS_MAX)
      for (const [index, statement] of statements.entries()) check(statement, `statement ${index + 1}: `)
      return engine.transaction(database, statements, options)
    },
    schema: async options => tablesOf((await query({ sql: SCHEMA }, options)).rows),
    dropTable: async (table, options) => {
      try {
        await query({ sql: `DROP TABLE "${table.replaceAll('"', '""')}"` }, options)
      } catch (error) {
        const unknown = error instanceof SqlStatementError && error.message.startsWith('no such table')
        throw unknown ? new SqlTableUnknownError(table) : error
      }
    },
    backup: options => engine.backup(database, options),
    export: (format, options) => engine.export(database, format, options),
    restore: (file, options) => engine.restore(database, file, options)
  }
}

function check({ sql }: SqlStatement, where = ''): void {
  if (sql.trim() === '') throw new SqlEmptyError(where)
  if (Buffer.byteLength(sql) > SQL_STATEMENT_MAX_BYTES) {
    throw new SqlStatementTooLargeError(SQL_STATEMENT_MAX_BYTES, where)
  }
}

function tablesOf(rows: readonly (readonly SqlValue[])[]): SqlTable[] {
  const tables: SqlTable[] = []
  for (const [table, name, type, fixed, written] of rows) {
    if (tables.at(-1)?.name !== table) tables.push({ name: String(table), columns: [] })
    tables.at(-1)?.columns.push({
      name: String(name),
      type: String(type),
      nullable: fixed === 0,
      default: written === null || written === undefined ? null : String(written)
    })
  }
  return tables
}
