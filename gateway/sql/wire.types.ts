/** What gateway and child say to each other; `frames.ts` carries it. */
import type { SqlExportFormat, SqlResult, SqlStatement } from './sql.types.ts'

export interface ResultLimits {
  maxRows: number
  maxBytes: number
}

export type SqlJob =
  | ({ do: 'query'; statement: SqlStatement } & ResultLimits)
  | ({ do: 'transaction'; statements: readonly SqlStatement[] } & ResultLimits)
  | { do: 'backup'; path: string }
  | { do: 'export'; path: string; format: SqlExportFormat; maxBytes: number }
  | { do: 'restore'; path: string }

/** What is wrong, as far as a child knows; `errors.ts` makes errors of it. `statement`: its place, from 1. */
export type SqlProblem = { statement?: number } & (
  | { kind: 'refused'; what: string }
  | { kind: 'transaction' }
  | { kind: 'second' }
  | { kind: 'empty' }
  | { kind: 'arguments'; message: string }
  | { kind: 'rows'; max: number }
  | { kind: 'bytes'; max: number }
  | { kind: 'restore'; message: string }
  /** SQLite's extended result code and what it says. */
  | { kind: 'sqlite'; code: number; message: string }
)

export type SqlAnswer = { results: SqlResult[] } | { problem: SqlProblem }

/** How a child is started: its one argument, as JSON. */
export interface ChildInit {
  path: string
  maxPages: number
  busyTimeoutMs: number
}
