/** What goes wrong with tenants' SQL: one class a condition, and the table from a child's problem to them. */
import { DatabaseBusyError, GatewayError, StorageFullError } from '../errors.ts'
import type { SqlProblem } from './wire.types.ts'

const UNCHANGED = 'nothing was changed'

/** Thrown when SQLite does not take a statement: syntax, an unknown table or column, a wrong type. */
export class SqlStatementError extends GatewayError {
  constructor(message: string) {
    super('SQL_ERROR', 400, message)
  }
}

/** Thrown when a statement would break a constraint of the schema. */
export class SqlConstraintError extends GatewayError {
  constructor(message: string) {
    super('SQL_CONSTRAINT', 400, message)
  }
}

/** Thrown when a statement does what no tenant may do. */
export class SqlRefusedError extends GatewayError {
  constructor(what: string, where = '') {
    super(
      'SQL_REFUSED',
      403,
      `${where}${what} is refused here: use tables, indexes, views and triggers of this database`
    )
  }
}

/** Thrown for BEGIN, COMMIT, ROLLBACK and savepoints: requests have a transaction already. */
export class SqlTransactionControlError extends GatewayError {
  constructor(where = '') {
    super(
      'SQL_TRANSACTION_CONTROL',
      400,
      `${where}no BEGIN, COMMIT, ROLLBACK or SAVEPOINT: send the statements to /v1/db/transaction together`
    )
  }
}

/** Thrown when behind a statement there is another, or a text that SQLite would not read. */
export class SqlSecondStatementError extends GatewayError {
  constructor(where = '') {
    super('SQL_SECOND_STATEMENT', 400, `${where}one statement at a time: send several to /v1/db/transaction as a list`)
  }
}

/** Thrown when a text has no statement. */
export class SqlEmptyError extends GatewayError {
  constructor(where = '') {
    super('SQL_EMPTY', 400, `${where}there is no statement in it`)
  }
}

/** Thrown when arguments do not fit their statement, or are no values. */
export class SqlArgumentsError extends GatewayError {
  constructor(message: string) {
    super('SQL_ARGUMENTS_INVALID', 400, message)
  }
}

/** Thrown when a file to restore is no SQLite database, is damaged, or holds what is refused. */
export class SqlRestoreError extends GatewayError {
  constructor(message: string) {
    super('SQL_RESTORE_INVALID', 400, `not restored, ${UNCHANGED}: ${message}`)
  }
}

/** Thrown when a table to drop is not there. */
export class SqlTableUnknownError extends GatewayError {
  constructor(table: string) {
    super('SQL_TABLE_NOT_FOUND', 404, `no such table: ${table}`)
  }
}

/** Thrown when a row that is asked for is not there. */
export class SqlRowUnknownError extends GatewayError {
  constructor() {
    super('SQL_ROW_NOT_FOUND', 404, 'not found')
  }
}

/** Thrown when a statement's text is over its limit. */
export class SqlStatementTooLargeError extends GatewayError {
  constructor(maxBytes: number, where = '') {
    super('SQL_STATEMENT_TOO_LARGE', 413, `${where}a statement of more than ${maxBytes} bytes: bind values as args`)
  }
}

/** Thrown when a transaction has too many statements. */
export class SqlStatementsTooManyError extends GatewayError {
  constructor(max: number) {
    super('SQL_STATEMENTS_TOO_MANY', 413, `more than ${max} statements: send them in several transactions`)
  }
}

/** Thrown when a result has too many rows or bytes. */
export class SqlResultTooLargeError extends GatewayError {
  constructor(max: number, unit: 'rows' | 'bytes') {
    super(
      'SQL_RESULT_TOO_LARGE',
      413,
      `a result of more than ${max} ${unit}, ${UNCHANGED}: use LIMIT, or fewer columns`
    )
  }
}

/** Thrown when a value, a row or the work of a function is over SQLite's limit here. */
export class SqlTooBigError extends GatewayError {
  constructor(message: string) {
    super('SQL_TOO_BIG', 413, `${message}: larger values belong to /v1/storage`)
  }
}

/** Thrown when statements took longer than they may; their process was killed. */
export class SqlDeadlineError extends GatewayError {
  constructor(deadlineMs: number) {
    super('SQL_DEADLINE', 422, `stopped after ${deadlineMs} ms, ${UNCHANGED}: use an index, or do it in smaller parts`)
  }
}

/** Thrown when statements need more memory than they may have. */
export class SqlMemoryError extends GatewayError {
  constructor() {
    super('SQL_MEMORY', 422, `stopped for want of memory, ${UNCHANGED}: sort or group less at once`)
  }
}

/** Thrown when a namespace asks faster than its statements are done. */
export class SqlQueueFullError extends GatewayError {
  constructor(why: string) {
    super('SQL_QUEUE_FULL', 429, `${why}: wait for answers before you ask more`, { headers: { 'Retry-After': '1' } })
  }
}

/** Thrown when a process ended and a COMMIT was under way: it may be done or not. */
export class SqlOutcomeUnknownError extends GatewayError {
  constructor() {
    super(
      'SQL_OUTCOME_UNKNOWN',
      503,
      'the transaction is done whole or not at all, but which is unknown: read before you try again',
      {
        headers: { 'Retry-After': '1' }
      }
    )
  }
}

/** Thrown when a namespace's process ended or cannot start. */
export class SqlUnavailableError extends GatewayError {
  constructor(why: string) {
    super('SQL_UNAVAILABLE', 503, `the database gave no answer (${why}), ${UNCHANGED}: try again in a moment`, {
      headers: { 'Retry-After': '1' }
    })
  }
}

/** Primary result codes of SQLite that are not the statement's fault, and those with a status of their own. */
const BY_RESULT: Readonly<Record<number, (message: string) => GatewayError>> = {
  5: () => new DatabaseBusyError(),
  6: () => new DatabaseBusyError(),
  7: () => new SqlMemoryError(),
  10: () => new SqlUnavailableError('the disk'),
  11: () => new SqlUnavailableError('its file is damaged'),
  13: () => new StorageFullError('in the database'),
  14: () => new SqlUnavailableError('its file cannot be opened'),
  18: message => new SqlTooBigError(message),
  19: message => new SqlConstraintError(message),
  23: message => new SqlRefusedError(message),
  26: () => new SqlUnavailableError('its file is damaged')
}

export function errorOf(problem: SqlProblem): GatewayError {
  const where = problem.statement === undefined ? '' : `statement ${problem.statement}: `
  switch (problem.kind) {
    case 'refused':
      return new SqlRefusedError(problem.what, where)
    case 'transaction':
      return new SqlTransactionControlError(where)
    case 'second':
      return new SqlSecondStatementError(where)
    case 'empty':
      return new SqlEmptyError(where)
    case 'arguments':
      return new SqlArgumentsError(where + problem.message)
    case 'rows':
    case 'bytes':
      return new SqlResultTooLargeError(problem.max, problem.kind)
    case 'restore':
      return new SqlRestoreError(problem.message)
    case 'sqlite': {
      const known = BY_RESULT[problem.code % 256]
      return (known ?? (message => new SqlStatementError(message)))(where + problem.message)
    }
  }
}
