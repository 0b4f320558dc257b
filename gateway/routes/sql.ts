/** /v1/db/*, also as /v1/rqlite/*: a namespace's own SQL database (D50–D56, P8–P11). */
import type { Context } from 'koa'
import { JSON_BODY_MAX_BYTES } from '../constants.ts'
import { RequestInvalidError } from '../errors.ts'
import { callerSignal, type GatewayMiddleware, queryParameter, type Route, route } from '../http.ts'
import { bodyOf, jsonBodyOf } from '../middleware/limits.ts'
import type { TenantHandler } from '../middleware/own-namespace.ts'
import { presentExecuted, presentItems, presentOutcome, presentQueried, presentSchema } from '../present.ts'
import { SqlRowUnknownError } from '../sql/errors.ts'
import { FIND_BODY, findStatement, identifier, SELECT_BODY, selectStatement } from '../sql/find.ts'
import { STATEMENT_BODY, statementOf, TRANSACTION_BODY, transactionOf } from '../sql/requests.ts'
import { isCreateTable } from '../sql/rules.ts'
import { SQL_EXPORT_FORMATS, type SqlCopy, type SqlExportFormat } from '../sql/sql.types.ts'

export interface SqlRouteOptions {
  /** Asks for a credential also where others may come without (P1). */
  authenticateAlways: GatewayMiddleware
  ownNamespace: (handler: TenantHandler) => GatewayMiddleware
  /** Largest file to restore, bytes. */
  maxDatabaseBytes: number
}

/** The path of the seed's document, and that of its later versions. */
const BASES = ['/v1/db', '/v1/rqlite'] as const

export function sqlRoutes(options: SqlRouteOptions): Route[] {
  return BASES.flatMap(base => routesAt(base, options))
}

function routesAt(
  base: (typeof BASES)[number],
  { authenticateAlways, ownNamespace, maxDatabaseBytes }: SqlRouteOptions
): Route[] {
  const query: TenantHandler = async (context, { sql }) => {
    const result = await sql.query(statementOf(await bodyFor(context, STATEMENT_BODY)), waits(context))
    context.body = base === '/v1/db' ? presentQueried(result) : { ...presentQueried(result), ...presentItems(result) }
  }

  const execute: TenantHandler = async (context, { sql }) => {
    const result = await sql.query(statementOf(await bodyFor(context, STATEMENT_BODY)), waits(context))
    context.body = { ...presentExecuted(result), execution_state: 'ok' }
  }

  const find: TenantHandler = async (context, { sql }) => {
    const statement = findStatement(await bodyFor(context, FIND_BODY), false)
    context.body = presentItems(await sql.query(statement, waits(context)))
  }

  const findOne: TenantHandler = async (context, { sql }) => {
    const statement = findStatement(await bodyFor(context, FIND_BODY), true)
    context.body = onlyRow(presentItems(await sql.query(statement, waits(context))))
  }

  const select: TenantHandler = async (context, { sql }) => {
    const body = await bodyFor(context, SELECT_BODY)
    const found = presentItems(await sql.query(selectStatement(body), waits(context)))
    context.body = body.one === true ? onlyRow(found) : found
  }

  const transaction: TenantHandler = async (context, { sql }) => {
    const { statements, kinds, returnResults } = transactionOf(await bodyFor(context, TRANSACTION_BODY))
    const results = await sql.transaction(statements, waits(context))
    const outcomes = results.map((result, index) => presentOutcome(result, kinds[index] ?? 'exec'))
    context.body = { status: 'ok', ...(returnResults ? { results: outcomes } : {}) }
  }

  const createTable: TenantHandler = async (context, { sql }) => {
    const { schema } = await bodyFor(context, '{schema}')
    if (typeof schema !== 'string' || schema.trim() === '') throw new RequestInvalidError('invalid body: {schema}')
    if (!isCreateTable(schema)) throw new RequestInvalidError('invalid schema: expected one CREATE TABLE statement')
    await sql.query({ sql: schema }, waits(context))
    context.status = 201
    context.body = { status: 'ok' }
  }

  const dropTable: TenantHandler = async (context, { sql }) => {
    const { table } = await bodyFor(context, '{table}')
    if (typeof table !== 'string' || table.trim() === '') throw new RequestInvalidError('invalid body: {table}')
    identifier(table)
    await sql.dropTable(table.trim(), waits(context))
    context.body = { status: 'ok' }
  }

  const schema: TenantHandler = async (context, { sql }) => {
    context.body = presentSchema(await sql.schema(waits(context)))
  }

  const backup: TenantHandler = async (context, { namespace, sql }) => {
    if (context.method === 'HEAD') return answerHead(context, 'application/vnd.sqlite3')
    answerCopy(context, await sql.backup(waits(context)), 'application/vnd.sqlite3', `${namespace}.sqlite`)
  }

  const exported: TenantHandler = async (context, { namespace, sql }) => {
    const format = formatOf(queryParameter(context, 'format'))
    const type = format === 'sql' ? 'application/sql' : 'application/jsonl'
    if (context.method === 'HEAD') return answerHead(context, type)
    answerCopy(context, await sql.export(format, waits(context)), type, `${namespace}.${format}`)
  }

  const restore: TenantHandler = async (context, { sql }) => {
    await sql.restore(bodyOf(context, { maxBytes: maxDatabaseBytes }), waits(context))
    context.body = { status: 'ok' }
  }

  const own = (method: Route['method'], path: string, handler: TenantHandler) =>
    route(method, `${base}/${path}`, authenticateAlways, ownNamespace(handler))
  return [
    own('POST', 'query', query),
    own('POST', 'exec', execute),
    own('POST', 'find', find),
    own('POST', 'find-one', findOne),
    own('POST', 'select', select),
    own('POST', 'transaction', transaction),
    own('POST', 'create-table', createTable),
    own('POST', 'drop-table', dropTable),
    own('GET', 'schema', schema),
    own('GET', 'backup', backup),
    own('GET', 'export', exported),
    own('POST', 'restore', restore)
  ]
}

function waits(context: Context): { signal: AbortSignal } {
  return { signal: callerSignal(context) }
}

async function bodyFor(context: Context, expected: string): Promise<Record<string, unknown>> {
  return jsonBodyOf(context, { maxBytes: JSON_BODY_MAX_BYTES, expected })
}

function onlyRow({ items }: ReturnType<typeof presentItems>): Record<string, unknown> {
  const [row] = items
  if (row === undefined) throw new SqlRowUnknownError()
  return row
}

function formatOf(text = 'sql'): SqlExportFormat {
  const format = SQL_EXPORT_FORMATS.find(known => known === text)
  if (format === undefined) throw new RequestInvalidError(`invalid 'format': ${SQL_EXPORT_FORMATS.join(' or ')}`)
  return format
}

/** A copy is made for who reads it. */
function answerHead(context: Context, type: string): void {
  context.body = null
  context.status = 200
  context.set('Content-Type', type)
}

function answerCopy(context: Context, { sizeBytes, bytes }: SqlCopy, type: string, name: string): void {
  context.set('X-Content-Type-Options', 'nosniff')
  context.attachment(name)
  context.body = bytes
  context.set('Content-Type', type)
  context.length = sizeBytes
}
