/** Shapes of request bodies: statements, arguments, transactions. Everything unexpected is 400 with the expected shape. */
import { isBase64 } from '../base64.ts'
import { RequestInvalidError } from '../errors.ts'
import { SqlArgumentsError } from './errors.ts'
import type { SqlArgument, SqlArguments, SqlStatement } from './sql.types.ts'

export const STATEMENT_BODY = '{sql, args?}'
export const TRANSACTION_BODY =
  '{statements:[...]} of texts or {sql, args?}, or {ops:[{kind, sql, args?}], return_results?}'

export type OpKind = 'exec' | 'query'

export interface TransactionRequest {
  statements: SqlStatement[]
  kinds: OpKind[]
  returnResults: boolean
}

const INT64_MIN = -(2n ** 63n)
const INT64_MAX = 2n ** 63n - 1n

export function recordOf(value: unknown, expected: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new RequestInvalidError(`invalid body: ${expected}`)
  }
  return value as Record<string, unknown>
}

export function statementOf(value: unknown, expected = STATEMENT_BODY): SqlStatement {
  const { sql, args } = recordOf(value, expected)
  if (typeof sql !== 'string' || sql.trim() === '') throw new RequestInvalidError(`invalid body: ${expected}`)
  const given = argumentsOf(args)
  return given === undefined ? { sql } : { sql, args: given }
}

/** @throws SqlArgumentsError */
export function argumentsOf(value: unknown): SqlArguments | undefined {
  if (value === undefined || value === null) return undefined
  if (Array.isArray(value)) return value.map(argumentOf)
  if (typeof value !== 'object') throw new SqlArgumentsError('args is neither a list nor an object of names')
  return Object.fromEntries(Object.entries(value).map(([name, argument]) => [name, argumentOf(argument)]))
}

export function transactionOf(body: Record<string, unknown>): TransactionRequest {
  const { statements, ops } = body
  const listed = Array.isArray(ops) && ops.length > 0 ? ops : statements
  if (!Array.isArray(listed) || listed.length === 0) throw new RequestInvalidError(`invalid body: ${TRANSACTION_BODY}`)
  return {
    statements: listed.map(entry =>
      statementOf(typeof entry === 'string' && listed === statements ? { sql: entry } : entry, TRANSACTION_BODY)
    ),
    kinds: listed.map(entry => (listed === ops ? kindOf(entry) : 'exec')),
    returnResults: body.return_results === true
  }
}

function kindOf(op: unknown): OpKind {
  const kind = String((op as { kind?: unknown }).kind ?? 'exec')
    .trim()
    .toLowerCase()
  if (kind !== 'exec' && kind !== 'query') throw new RequestInvalidError('invalid op kind: exec or query')
  return kind
}

function argumentOf(value: unknown): SqlArgument {
  if (value === null || typeof value === 'boolean' || typeof value === 'number') return value
  if (typeof value === 'string') {
    if (!value.isWellFormed()) throw new SqlArgumentsError('a text among the args is not valid Unicode')
    return value
  }
  if (typeof value === 'object' && !Array.isArray(value)) {
    const entries = Object.entries(value as object)
    const [[kind, text] = []] = entries
    if (entries.length === 1 && typeof text === 'string') {
      if (kind === 'int64' && /^-?\d{1,19}$/.test(text)) {
        const whole = BigInt(text)
        if (whole >= INT64_MIN && whole <= INT64_MAX) return { int64: text }
      }
      if (kind === 'blob' && isBase64(text)) return { blob: text }
    }
  }
  throw new SqlArgumentsError(
    'args are null, true, false, numbers, texts, {"int64": "<digits>"} or {"blob": "<base64>"}'
  )
}
