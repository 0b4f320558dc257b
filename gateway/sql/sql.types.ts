/**
 * Tenants' SQL as the gateway sees it: one small interface, behind it today files of this host in child processes
 * (`embedded.ts`), and open for an engine over HTTP. A `database` is a namespace's internal name; an engine never reads
 * more out of it than that two names are two databases.
 */
import type { Readable } from 'node:stream'

/** A parameter as JSON has it. Whole numbers are bound as integers; true and false as 1 and 0. */
export type SqlArgument = null | boolean | number | string | { int64: string } | { blob: string }

/** By place, or by name (with or without the `:`, `@` or `$`). */
export type SqlArguments = readonly SqlArgument[] | Readonly<Record<string, SqlArgument>>

export interface SqlStatement {
  /** Exactly one statement; a semicolon and comments may follow it. */
  sql: string
  /** Bound, never put into the text. */
  args?: SqlArguments
}

/** A value of a result: integers beyond ±(2^53 - 1) and infinite reals as text, blobs as base64. */
export type SqlValue = null | number | string

export interface SqlResult {
  /** Empty for a statement that has no result: whether there is one is the statement's own saying, not its first word's. */
  columns: readonly string[]
  rows: readonly (readonly SqlValue[])[]
  /** Rows inserted, updated or deleted, without those of triggers and foreign keys; 0 for a statement that only reads or changes the schema. */
  affected: SqlValue
  /** Of the last insert that the namespace's process did; 0 where the statement only reads. */
  lastInsertId: SqlValue
}

export interface SqlOptions {
  /** The caller waits no longer. What runs already is finished all the same, within its deadline. */
  signal?: AbortSignal
}

/** A copy of a database, made at one moment. */
export interface SqlCopy {
  sizeBytes: number
  /** To be read or destroyed; the copy is gone then. */
  bytes: Readable
}

export const SQL_EXPORT_FORMATS = ['sql', 'jsonl'] as const
export type SqlExportFormat = (typeof SQL_EXPORT_FORMATS)[number]

/**
 * Every operation throws the errors of `errors.ts`: what is wrong with a statement by `code`, limits, and
 * outages. Unless it is a `SqlOutcomeUnknownError`, an operation that threw has changed nothing.
 */
export interface SqlEngine {
  /** One statement, a transaction of its own when it writes. */
  query: (database: string, statement: SqlStatement, options?: SqlOptions) => Promise<SqlResult>
  /** All of them or none, alone on the database; a result for each. Never tried twice. */
  transaction: (database: string, statements: readonly SqlStatement[], options?: SqlOptions) => Promise<SqlResult[]>
  /** The database as a SQLite file. */
  backup: (database: string, options?: SqlOptions) => Promise<SqlCopy>
  /** Schema and rows as text. */
  export: (database: string, format: SqlExportFormat, options?: SqlOptions) => Promise<SqlCopy>
  /** Puts what a SQLite file holds in the place of all that is there, in one transaction and by the rules of any statement. */
  restore: (database: string, file: AsyncIterable<Uint8Array>, options?: SqlOptions) => Promise<void>
  /** Ends what is kept open for a database, after what is under way. */
  close: (database: string) => Promise<void>
  /** Ends everything; what waits is refused. */
  stop: () => Promise<void>
}
