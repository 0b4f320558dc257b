/**
 * Questions that come as JSON made into one SELECT. Names are quoted and values bound; what the API takes as SQL
 * (expressions, orders, join conditions) is the tenant's own, and the whole is judged like any statement.
 */
import { RequestInvalidError } from '../errors.ts'
import { argumentsOf, recordOf } from './requests.ts'
import type { SqlArgument, SqlStatement } from './sql.types.ts'

const IDENTIFIER = /^[A-Za-z_][A-Za-z0-9_]*$/

export const FIND_BODY = '{table, criteria?, options?: {select?, joins?, group_by?, order_by?, limit?, offset?}}'
export const SELECT_BODY = '{table, alias?, select?, joins?, where?, group_by?, order_by?, limit?, offset?, one?}'

const JOINS: Readonly<Record<string, string>> = { '': 'JOIN', JOIN: 'JOIN', INNER: 'INNER JOIN', LEFT: 'LEFT JOIN' }

/** An identifier, quoted. @throws RequestInvalidError */
export function identifier(name: unknown, what = 'table'): string {
  if (typeof name !== 'string' || !IDENTIFIER.test(name.trim())) {
    throw new RequestInvalidError(`invalid ${what} identifier: letters, digits and _, no digit first`)
  }
  return `"${name.trim()}"`
}

/** `{table, criteria, options}`; options may also stand beside the table. `one`: the first row only. */
export function findStatement(body: Record<string, unknown>, one: boolean): SqlStatement {
  const criteria = body.criteria === undefined || body.criteria === null ? {} : recordOf(body.criteria, FIND_BODY)
  const wheres: string[] = []
  const args: SqlArgument[] = []
  for (const [name, value] of Object.entries(criteria)) {
    const column = identifier(name, 'column')
    wheres.push(value === null ? `${column} IS NULL` : `${column} = ?`)
    if (value !== null) args.push(...(argumentsOf([value]) as SqlArgument[]))
  }
  const nested = body.options === undefined || body.options === null ? {} : recordOf(body.options, FIND_BODY)
  const options = Object.keys(nested).length > 0 ? nested : body
  return assemble({ ...options, table: body.table, alias: undefined }, wheres.join(' AND '), args, one, FIND_BODY)
}

export function selectStatement(body: Record<string, unknown>): SqlStatement {
  let where = ''
  const args: SqlArgument[] = []
  for (const entry of listOf(body.where, SELECT_BODY)) {
    const { conj = 'AND', expr, args: given } = recordOf(entry, SELECT_BODY)
    const word = String(conj).trim().toUpperCase() || 'AND'
    if (typeof expr !== 'string' || (word !== 'AND' && word !== 'OR')) throw invalid(SELECT_BODY)
    // A line break ends a comment that would hide what follows.
    where = where === '' ? `(${expr}\n)` : `${where} ${word} (${expr}\n)`
    const bound = argumentsOf(given) ?? []
    if (!Array.isArray(bound)) throw invalid(SELECT_BODY)
    args.push(...bound)
  }
  return assemble(body, where, args, body.one === true, SELECT_BODY)
}

function assemble(
  body: Record<string, unknown>,
  where: string,
  args: readonly SqlArgument[],
  one: boolean,
  expected: string
): SqlStatement {
  const parts = [`SELECT ${textsOf(body.select, expected).join(', ') || '*'}\nFROM ${identifier(body.table)}`]
  if (body.alias !== undefined && body.alias !== '') parts.push(`AS ${identifier(body.alias, 'alias')}`)
  for (const join of listOf(body.joins, expected)) {
    const { kind = '', table, on } = recordOf(join, expected)
    const word = JOINS[String(kind).trim().toUpperCase()]
    if (word === undefined || typeof on !== 'string') throw invalid(expected)
    parts.push(`${word} ${identifier(table)} ON (${on}\n)`)
  }
  if (where !== '') parts.push(`WHERE ${where}`)
  const groups = textsOf(body.group_by, expected)
  if (groups.length > 0) parts.push(`GROUP BY ${groups.join(', ')}`)
  const orders = textsOf(body.order_by, expected)
  if (orders.length > 0) parts.push(`ORDER BY ${orders.join(', ')}`)
  const bound = [...args]
  const limit = one ? 1 : countOf(body.limit, expected)
  const offset = countOf(body.offset, expected)
  if (limit !== null || offset !== null) {
    parts.push('LIMIT ? OFFSET ?')
    bound.push(limit ?? -1, offset ?? 0)
  }
  return { sql: parts.join('\n'), args: bound }
}

function listOf(value: unknown, expected: string): unknown[] {
  if (value === undefined || value === null) return []
  if (!Array.isArray(value)) throw invalid(expected)
  return value
}

function textsOf(value: unknown, expected: string): string[] {
  return listOf(value, expected).map(text => {
    if (typeof text !== 'string' || text.trim() === '') throw invalid(expected)
    return text
  })
}

function countOf(value: unknown, expected: string): number | null {
  if (value === undefined || value === null) return null
  if (!Number.isSafeInteger(value) || (value as number) < 0) throw invalid(expected)
  return value as number
}

function invalid(expected: string): RequestInvalidError {
  return new RequestInvalidError(`invalid body: ${expected}`)
}
