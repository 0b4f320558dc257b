/** /v1/storage/*: a namespace's key-value storage (D41–D46, P5–P7). */
import { Readable } from 'node:stream'
import type { Context } from 'koa'
import { bytesOfBase64 } from '../base64.ts'
import {
  INLINE_VALUE_MAX_BYTES,
  JSON_BODY_MAX_BYTES,
  LIST_LIMIT_DEFAULT,
  LIST_LIMIT_MAX,
  TTL_MAX_S
} from '../constants.ts'
import { KeyMissingError, RequestInvalidError } from '../errors.ts'
import { callerSignal, type GatewayMiddleware, queryParameter, type Route, route } from '../http.ts'
import { bodyOf, jsonBodyOf, wholeBodyOf } from '../middleware/limits.ts'
import type { TenantHandler } from '../middleware/own-namespace.ts'
import { presentDeleted, presentExpiry, presentKeys, presentStored } from '../present.ts'
import { conditionOf, entityTag, isKnown, mayAnswerRange } from '../storage/conditions.ts'
import { parseRange } from '../storage/range.ts'
import type { ReadableValue, ValueSource } from '../storage/storage.ts'

export interface StorageRouteOptions {
  authenticate: GatewayMiddleware
  ownNamespace: (handler: TenantHandler) => GatewayMiddleware
  /** Largest value, bytes. */
  maxValueBytes: number
}

export function storageRoutes({ authenticate, ownNamespace, maxValueBytes }: StorageRouteOptions): Route[] {
  const put: TenantHandler = async (context, { storage }) => {
    const query = queryParameter(context, 'key')
    const condition = conditionOf(name => context.get(name))
    const { key, source, sizeHint, ttlS } =
      query === undefined ? await jsonValueOf(context) : rawValueOf(context, query, maxValueBytes)
    const stored = await storage.put(key, source, { sizeHint, ttlS, condition, signal: () => callerSignal(context) })
    context.status = 201
    context.set('ETag', entityTag(stored.etag))
    context.body = presentStored(key, stored)
  }

  const get: TenantHandler = async (context, { storage }) => {
    const key = await keyOf(context)
    const value = await storage.get(key)
    context.vary('Accept')
    context.set('ETag', entityTag(value.etag))
    if (value.expiresAtMs !== null) context.set('X-Expires-At', new Date(value.expiresAtMs).toISOString())
    if (context.method !== 'POST' && isKnown(context.get('if-none-match'), value.etag)) {
      context.status = 304
      return
    }
    if (context.accepts('application/octet-stream', 'application/json') === 'application/json') {
      return await answerJson(context, key, value)
    }
    await answerBytes(context, value)
  }

  const remove: TenantHandler = async (context, { storage }) => {
    const key = await keyOf(context)
    await storage.delete(
      key,
      conditionOf(name => context.get(name))
    )
    context.body = presentDeleted(key)
  }

  const exists: TenantHandler = async (context, { storage }) => {
    context.body = { exists: await storage.exists(await keyOf(context)) }
  }

  const list: TenantHandler = async (context, { storage }) => {
    const limit = limitOf(queryParameter(context, 'limit'))
    const cursor = queryParameter(context, 'cursor') || null
    context.body = presentKeys(await storage.list(queryParameter(context, 'prefix') ?? '', { limit, cursor }))
  }

  return [
    route('POST', '/v1/storage/put', authenticate, ownNamespace(put)),
    route('PUT', '/v1/storage/put', authenticate, ownNamespace(put)),
    route('POST', '/v1/storage/get', authenticate, ownNamespace(get)),
    route('GET', '/v1/storage/get', authenticate, ownNamespace(get)),
    route('POST', '/v1/storage/delete', authenticate, ownNamespace(remove)),
    route('DELETE', '/v1/storage/delete', authenticate, ownNamespace(remove)),
    route('GET', '/v1/storage/exists', authenticate, ownNamespace(exists)),
    route('POST', '/v1/storage/exists', authenticate, ownNamespace(exists)),
    route('GET', '/v1/storage/list', authenticate, ownNamespace(list)),
    // The seed's older form: the key alone decides.
    route('GET', '/v1/storage', authenticate, ownNamespace(get)),
    route('PUT', '/v1/storage', authenticate, ownNamespace(put))
  ]
}

interface GivenValue {
  key: string
  source: ValueSource
  sizeHint: number | undefined
  ttlS: number | undefined
}

function rawValueOf(context: Context, key: string, maxBytes: number): GivenValue {
  const { length: sizeHint } = context.request
  const isShort = sizeHint !== undefined && sizeHint <= Math.min(INLINE_VALUE_MAX_BYTES, maxBytes)
  const source = isShort ? () => wholeBodyOf(context, { maxBytes }) : bodyOf(context, { maxBytes })
  return { key: present(key), source, sizeHint, ttlS: headerTtlOf(context) }
}

const PUT_BODY = '{"key", "value"} with the value in base64, or ?key= and the raw bytes'
/** Time to live of a raw value, seconds. */
const TTL_HEADER = 'X-TTL-Seconds'

function headerTtlOf(context: Context): number | undefined {
  const text = context.get(TTL_HEADER).trim()
  if (text === '') return undefined
  return ttlOf(/^\d{1,9}$/.test(text) ? Number(text) : null, TTL_HEADER)
}

function ttlOf(seconds: unknown, where: string): number {
  if (typeof seconds !== 'number' || !Number.isInteger(seconds) || seconds < 1 || seconds > TTL_MAX_S) {
    throw new RequestInvalidError(`invalid '${where}': expected 1 to ${TTL_MAX_S} whole seconds`)
  }
  return seconds
}

async function jsonValueOf(context: Context): Promise<GivenValue> {
  const body = await jsonBodyOf(context, { maxBytes: JSON_BODY_MAX_BYTES, expected: PUT_BODY })
  const key = textKeyOf(body)
  if (typeof body.value !== 'string') throw new RequestInvalidError(`invalid body: expected ${PUT_BODY}`)
  const value = bytesOfBase64(body.value)
  if (value === null) throw new RequestInvalidError('invalid base64 value')
  const isShort = value.byteLength <= INLINE_VALUE_MAX_BYTES
  const ttlS = body.ttl_seconds === undefined ? headerTtlOf(context) : ttlOf(body.ttl_seconds, 'ttl_seconds')
  return { key, source: isShort ? async () => value : one(value), sizeHint: value.byteLength, ttlS }
}

async function* one(value: Uint8Array): AsyncGenerator<Uint8Array> {
  yield value
}

/** The key in the query, else in a JSON body. */
async function keyOf(context: Context): Promise<string> {
  const query = queryParameter(context, 'key')
  if (query !== undefined) return present(query)
  if (context.method === 'GET' || context.method === 'HEAD') throw new KeyMissingError()
  if (context.request.length === 0 || (context.request.length === undefined && !context.get('transfer-encoding'))) {
    throw new KeyMissingError()
  }
  return textKeyOf(await jsonBodyOf(context, { maxBytes: JSON_BODY_MAX_BYTES, expected: '{"key"}' }))
}

function textKeyOf(body: Record<string, unknown>): string {
  if (body.key === undefined) throw new KeyMissingError()
  if (typeof body.key !== 'string') throw new RequestInvalidError("invalid body: 'key' is no text")
  return present(body.key)
}

function present(key: string): string {
  if (key === '') throw new KeyMissingError()
  return key
}

function limitOf(text: string | undefined): number {
  if (text === undefined || text === '') return LIST_LIMIT_DEFAULT
  if (!/^\d{1,9}$/.test(text) || Number(text) < 1) {
    throw new RequestInvalidError(`invalid 'limit': expected 1 to ${LIST_LIMIT_MAX}`)
  }
  return Math.min(Number(text), LIST_LIMIT_MAX)
}

async function answerBytes(context: Context, value: ReadableValue): Promise<void> {
  const asked = context.method !== 'HEAD' && mayAnswerRange(context.get('if-range'), value.etag)
  const range = asked ? parseRange(context.get('range'), value.sizeBytes) : null
  const { offset, length } = range ?? { offset: 0, length: value.sizeBytes }
  context.status = range === null ? 200 : 206
  context.type = 'application/octet-stream'
  context.set('Accept-Ranges', 'bytes')
  // A tenant's bytes are never a page of this origin.
  context.set('X-Content-Type-Options', 'nosniff')
  context.set('Content-Disposition', 'attachment')
  if (range !== null) context.set('Content-Range', `bytes ${offset}-${offset + length - 1}/${value.sizeBytes}`)
  if (value.inline !== null) {
    context.body = value.inline.subarray(offset, offset + length)
  } else if (context.method === 'HEAD') {
    context.body = null
    context.status = 200
  } else {
    const bytes = await value.open({ offset, length, signal: callerSignal(context) })
    context.body = Readable.from(bytes, { objectMode: false })
  }
  context.type = 'application/octet-stream'
  context.length = length
}

async function answerJson(context: Context, key: string, value: ReadableValue): Promise<void> {
  if (value.inline !== null) {
    context.body = { key, value: value.inline.toString('base64'), ...presentExpiry(value.expiresAtMs) }
    return
  }
  if (context.method === 'HEAD') {
    // Nobody would read what is opened, nor let go of it.
    context.body = null
    context.status = 200
    context.type = 'application/json'
    return
  }
  const bytes = await value.open({ offset: 0, length: value.sizeBytes, signal: callerSignal(context) })
  context.body = Readable.from(jsonBase64(key, bytes, presentExpiry(value.expiresAtMs)), { objectMode: false })
  context.type = 'application/json'
}

/** `{"key": …, …, "value": "<base64>"}` piece by piece; base64 wants groups of three bytes. */
async function* jsonBase64(key: string, bytes: AsyncIterable<Uint8Array>, more: object): AsyncGenerator<string> {
  yield `${JSON.stringify({ key, ...more }).slice(0, -1)},"value":"`
  let over: Buffer = Buffer.alloc(0)
  for await (const chunk of bytes) {
    const together = Buffer.concat([over, chunk])
    const whole = together.byteLength - (together.byteLength % 3)
    yield together.toString('base64', 0, whole)
    over = together.subarray(whole)
  }
  yield `${over.toString('base64')}"}`
}
