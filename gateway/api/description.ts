/** The operations as one OpenAPI 3.1 document. Pure. */
import { z } from 'zod'
import { ACCESS, type Answer, failure, type Operation, type RawBody, SECURITY_SCHEMES } from './operation.ts'

export type Json = Record<string, unknown>

const FAILURE_BODY = { 'application/json': { schema: { $ref: '#/components/schemas/Failure' } } }
const RAW_TYPES: Readonly<Record<RawBody, string>> = {
  bytes: 'application/octet-stream',
  text: 'text/plain',
  html: 'text/html'
}
const WITHOUT_BODY = new Set(['GET', 'HEAD'])

/** The document. */
export function describeApi(operations: readonly Operation[], { version }: { version: string }): Json {
  const paths: Record<string, Json> = {}
  for (const operation of operations) {
    for (const at of operation.at) {
      const [method, routed] = splitRoute(at)
      const path = routed.replace(/:(\w+)/g, '{$1}')
      const methods = paths[path] ?? {}
      paths[path] = methods
      methods[method.toLowerCase()] = operationOf(operation, method, routed)
      // The router answers HEAD wherever it answers GET.
      if (method === 'GET') methods.head = operationOf(operation, 'HEAD', routed)
    }
  }
  return {
    openapi: '3.1.0',
    jsonSchemaDialect: 'https://json-schema.org/draft/2020-12/schema',
    info: {
      title: 'Warren gateway',
      version,
      description:
        'The HTTP face of the network. Errors have one shape; a request sees the namespace of its credential, and no other.',
      license: { name: 'MIT', identifier: 'MIT' }
    },
    servers: [{ url: '/' }],
    tags: [...new Set(operations.map(({ tag }) => tag))].map(name => ({ name })),
    paths,
    components: { schemas: { Failure: schemaOf(failure, 'output') }, securitySchemes: SECURITY_SCHEMES }
  }
}

/** `GET /v1/x` as its two parts. */
export function splitRoute(at: string): [method: string, path: string] {
  const space = at.indexOf(' ')
  return [at.slice(0, space), at.slice(space + 1)]
}

/** JSON Schema of 2020-12, which is OpenAPI 3.1's; the document names the dialect once. */
export function schemaOf(schema: z.ZodType, io: 'input' | 'output'): Json {
  const { $schema: _dialect, '~standard': _standard, ...rest } = z.toJSONSchema(schema, { io }) as Json
  return rest
}

/** Codes of all errors of an operation by status: its own, and those of its access and namespace. */
export function errorsOf({ access, inNamespace = false, errors = {} }: Operation): Map<string, readonly string[]> {
  const all = new Map<string, readonly string[]>()
  const ofNamespace = inNamespace ? { 403: ['NAMESPACE_MISMATCH'] } : {}
  const sources: ReadonlyArray<Record<string, readonly string[]>> = [ACCESS[access].errors, ofNamespace, errors]
  for (const some of sources) {
    for (const [status, codes] of Object.entries(some)) all.set(status, [...(all.get(status) ?? []), ...codes])
  }
  return all
}

/** Forms of a body by content type. */
export function formsOf(body: NonNullable<Answer['body']>): Array<[type: string, form: z.ZodType | RawBody]> {
  if (typeof body === 'string') return [[RAW_TYPES[body], body]]
  return body instanceof z.ZodType ? [['application/json', body]] : Object.entries(body)
}

/** Fields of the query, with the one that all operations on a namespace have. */
export function queryOf({ query = {}, inNamespace = false }: Operation): NonNullable<Operation['query']> {
  if (!inNamespace) return query
  const namespace = { description: 'must be that of the credential', schema: z.string().optional() }
  return { ...query, namespace }
}

function operationOf(operation: Operation, method: string, path: string): Json {
  const { tag, summary, description, access, body } = operation
  const parameters = parametersOf(operation)
  return {
    operationId: [method.toLowerCase(), ...(path.match(/\w+/g) ?? ['root'])].join('_'),
    summary: method === 'HEAD' ? `${summary}: the headers` : summary,
    ...(description === undefined ? {} : { description }),
    tags: [tag],
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body === undefined || WITHOUT_BODY.has(method)
      ? {}
      : { requestBody: { required: operation.isBodyOptional !== true, content: contentOf(body, 'input') } }),
    // Always said: an empty list is an operation that anybody may ask.
    security: ACCESS[access].security,
    responses: answersOf(operation, method === 'HEAD')
  }
}

function parametersOf(operation: Operation): Json[] {
  const { params = {}, headers = {} } = operation
  const string = { type: 'string' }
  return [
    ...Object.entries(params).map(([name, description]) => ({
      ...{ name, in: 'path', required: true, description, schema: string }
    })),
    ...Object.entries(queryOf(operation)).map(([name, { description, schema, isRequired = false }]) => ({
      ...{ name, in: 'query', required: isRequired, description, schema: schemaOf(schema, 'input') }
    })),
    // OpenAPI has Accept come of the content types of the answers.
    ...Object.entries(headers)
      .filter(([name]) => name !== 'Accept')
      .map(([name, description]) => ({ ...{ name, in: 'header', required: false, description, schema: string } }))
  ]
}

function answersOf(operation: Operation, isHead: boolean): Json {
  const content = isHead ? {} : { content: FAILURE_BODY }
  const good = Object.entries(operation.answers).map(([status, answer]) => [status, answerOf(answer, isHead)])
  const bad = [...errorsOf(operation)]
    .filter(([status]) => !(status in operation.answers))
    .map(([status, codes]) => [status, { description: codes.join(', '), ...content }])
  return { ...Object.fromEntries([...good, ...bad]), default: { description: 'any other error', ...content } }
}

function answerOf({ description, body, headers = {} }: Answer, isHead: boolean): Json {
  const named = Object.entries(headers).map(([name, meaning]) => [
    ...[name, { description: meaning, schema: { type: 'string' } }]
  ])
  return {
    description,
    ...(named.length === 0 ? {} : { headers: Object.fromEntries(named) }),
    ...(body === undefined || isHead ? {} : { content: contentOf(body, 'output') })
  }
}

function contentOf(body: NonNullable<Answer['body']>, io: 'input' | 'output'): Json {
  return Object.fromEntries(
    formsOf(body).map(([type, form]) => {
      if (typeof form !== 'string') return [type, { schema: schemaOf(form, io) }]
      return [type, form === 'bytes' ? {} : { schema: { type: 'string' } }]
    })
  )
}
