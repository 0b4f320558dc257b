/** `GET /openapi.json`: OpenAPI 3.1 of every route, made of the operations. A test holds these to the router. */
import type Router from '@koa/router'
import { z } from 'zod'
import { RATE_WINDOW_S, rateClassOf } from '../rate-limit.ts'
import { blobOperations } from './blob-operations.ts'
import { type Answer, failure, type Operation, type RawBody } from './operation.ts'
import { operatorOperations } from './operator-operations.ts'
import { statusOperations } from './status-operations.ts'

/** Every route of a node. */
export const operations: readonly Operation[] = [...blobOperations, ...statusOperations, ...operatorOperations]

type Json = Record<string, unknown>

const FAILURE = { $ref: '#/components/schemas/Failure' }
const FAILURE_BODY = { 'application/json': { schema: FAILURE } }

/** Add the route. */
export function addDescription(router: Router, options: { nodeUrl: string | null; serveMetrics: boolean }): void {
  const served = operations.filter(({ path }) => options.serveMetrics || path !== '/metrics')
  let document: Json | undefined
  router.get('/openapi.json', ctx => {
    ctx.set('cache-control', 'no-cache')
    // Made when it is first asked for: a node starts sooner without.
    document ??= describe(served, options)
    ctx.body = document
  })
}

/** The document. Pure. */
export function describe(all: readonly Operation[], { nodeUrl }: { nodeUrl: string | null }): Json {
  const paths: Record<string, Json> = {}
  for (const operation of all) {
    const path = operation.path.replace(/:(\w+)/g, '{$1}')
    paths[path] ??= {}
    paths[path][operation.method] = operationOf(operation)
    // The router answers HEAD wherever it answers GET.
    if (operation.method === 'get')
      paths[path].head = { ...operationOf(operation, 'head'), summary: 'The headers of GET' }
  }
  return {
    openapi: '3.1.0',
    jsonSchemaDialect: 'https://json-schema.org/draft/2020-12/schema',
    info: {
      title: 'Warren storage node',
      version: '0.1.0',
      description: 'Encrypted, sharded, replicated blobs. Errors have one shape; rates are limited for each address.',
      license: { name: 'MIT', identifier: 'MIT' }
    },
    servers: [{ url: nodeUrl ?? '/' }],
    paths,
    components: {
      schemas: { Failure: schemaOf(failure, 'output') },
      securitySchemes: { operator: { type: 'http', scheme: 'bearer', description: 'keys/admin.token of the node' } }
    }
  }
}

function operationOf(operation: Operation, method: string = operation.method): Json {
  const { path, summary, tag, params = {}, query = {}, headers = {}, body } = operation
  const rateClass = rateClassOf(path)
  const parameters = [
    ...Object.entries(params).map(([name, description]) => ({
      name,
      in: 'path',
      required: true,
      description,
      schema: { type: 'string' }
    })),
    ...Object.entries(query).map(([name, { description, schema }]) => ({
      name,
      in: 'query',
      required: false,
      description,
      schema: schemaOf(schema, 'input')
    })),
    ...Object.entries(headers).map(([name, description]) => ({
      name,
      in: 'header',
      required: false,
      description,
      schema: { type: 'string' }
    }))
  ]
  return {
    operationId: [method, ...(path.match(/\w+/g) ?? ['root'])].join('_'),
    summary,
    tags: [tag],
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body === undefined ? {} : { requestBody: { required: true, content: contentOf(body) } }),
    ...(operation.isGuarded ? { security: [{ operator: [] }] } : {}),
    responses: answersOf(operation, method === 'head'),
    'x-rate-limit': { class: rateClass, windowSeconds: RATE_WINDOW_S }
  }
}

const contentOf = (body: NonNullable<Operation['body']>): Json =>
  Object.fromEntries(
    Object.entries(body).map(([type, schema]) => [
      type,
      schema === 'bytes' ? {} : { schema: schemaOf(schema, 'input') }
    ])
  )

function answersOf({ answers, errors = {} }: Operation, isHead: boolean): Json {
  const good = Object.entries(answers).map(([status, answer]) => [status, answerOf(answer, isHead)])
  const bad = Object.entries(errors)
    .filter(([status]) => !(status in answers))
    .map(([status, codes]) => [status, { description: codes.join(', '), ...(isHead ? {} : { content: FAILURE_BODY }) }])
  const rate = {
    description: 'RATE_LIMITED; of uploads and reads also SHARE_EXCEEDED',
    headers: { 'retry-after': { description: 'seconds', schema: { type: 'integer' } } },
    ...(isHead ? {} : { content: FAILURE_BODY })
  }
  const other = { description: 'any other error', ...(isHead ? {} : { content: FAILURE_BODY }) }
  return { ...Object.fromEntries([...good, ...bad]), 429: rate, default: other }
}

function answerOf({ description, body, headers }: Answer, isHead: boolean): Json {
  const named = Object.entries(headers ?? {}).map(([name, meaning]) => [
    name,
    { description: meaning, schema: { type: 'string' } }
  ])
  return {
    description,
    ...(named.length === 0 ? {} : { headers: Object.fromEntries(named) }),
    ...(body === undefined || isHead ? {} : { content: answerContent(body) })
  }
}

function answerContent(body: z.ZodType | RawBody): Json {
  if (body === 'bytes') return { '*/*': {} }
  if (body === 'text') return { 'text/plain': { schema: { type: 'string' } } }
  return { 'application/json': { schema: schemaOf(body, 'output') } }
}

/** JSON Schema of 2020-12, which is OpenAPI 3.1's; the document names the dialect once. */
function schemaOf(schema: z.ZodType, io: 'input' | 'output'): Json {
  const { $schema: _dialect, '~standard': _standard, ...rest } = z.toJSONSchema(schema, { io }) as Json
  return rest
}
