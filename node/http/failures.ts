/** The one shape of errors over HTTP, `{error: CODE, message, timestamp[, details]}`, and how they are sent. */
import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import type { Context, Next } from 'koa'
import { RateLimitedError, ShareExceededError, WarrenError } from '../errors.ts'
import type { Log } from '../log.ts'

/** How long a client may go on sending a body nobody wants, so that it gets to read the answer. */
export const LINGER_MS = 2000
/** Most bytes of such a body that are read and thrown away. */
export const LINGER_MAX_BYTES = 16 * 1024 * 1024

/** Body of an error answer; `timestamp` in milliseconds since 1970. */
export interface FailureBody {
  error: string
  message: string
  timestamp: number
  details?: Record<string, unknown>
  /** Seconds to wait, of 429 only. */
  retryAfter?: number
}

/** What is told of an error: everything of our own, nothing of a bug. */
export function failureOf(error: unknown): { status: number; body: FailureBody } {
  const timestamp = Date.now()
  if (error instanceof WarrenError) {
    const { code, status, message, details } = error
    const isTooMuch = error instanceof RateLimitedError || error instanceof ShareExceededError
    const retry = isTooMuch ? { retryAfter: error.retryAfterS } : {}
    return { status, body: { error: code, message, timestamp, ...(details ? { details } : {}), ...retry } }
  }
  const message = 'Something went wrong here. The log of this node says what.'
  return { status: 500, body: { error: 'INTERNAL_ERROR', message, timestamp } }
}

const NOT_ROUTED: Record<number, [string, string]> = {
  404: ['NOT_FOUND', 'There is nothing at this path. GET / lists what there is.'],
  405: ['METHOD_NOT_ALLOWED', 'This path does not take this method. The Allow header says which.'],
  501: ['METHOD_UNKNOWN', 'This method is not known here.']
}

const BROKEN_REQUESTS: Record<string, [number, string, string]> = {
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'REQUEST_TIMEOUT', 'The request did not arrive in time. Send it without pauses.'],
  HPE_HEADER_OVERFLOW: [431, 'HEADERS_TOO_LARGE', 'The headers are too large.']
}

/** What Node answers by itself, when a request never became one: in the same shape, and the connection ends. */
export function answerClientError(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy()
    return
  }
  const unreadable: [number, string, string] = [400, 'INVALID_REQUEST', 'This is not HTTP that can be read.']
  const [status, code, message] = BROKEN_REQUESTS[error.code ?? ''] ?? unreadable
  const text = JSON.stringify({ error: code, message, timestamp: Date.now() } satisfies FailureBody)
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    'content-type: application/json; charset=utf-8',
    `content-length: ${Buffer.byteLength(text)}`,
    'connection: close'
  ]
  socket.end(`${head.join('\r\n')}\r\n\r\n${text}`)
}

/** Middleware: errors become answers. Outermost, so that no other shape ever leaves. */
export function answerFailures(log: Log) {
  return async (ctx: Context, next: Next): Promise<void> => {
    try {
      await next()
      if (ctx.body == null && ctx.status in NOT_ROUTED) {
        const { status } = ctx
        const [error, message] = NOT_ROUTED[status]!
        ctx.body = { error, message, timestamp: Date.now() } satisfies FailureBody
        // Setting a body makes koa answer 200 unless the status was set.
        ctx.status = status
      }
    } catch (error) {
      if (ctx.req.socket.destroyed) return
      const { status, body } = failureOf(error)
      const { method, path } = ctx
      if (status >= 500) log.warn({ method, path, err: error }, 'request failed')
      else log.debug({ method, path, code: body.error }, 'request refused')
      ctx.status = status
      // What the route said of a good answer does not hold for this one.
      for (const name of ['etag', 'accept-ranges', 'content-security-policy']) ctx.remove(name)
      ctx.set('cache-control', 'no-store')
      if (body.retryAfter !== undefined) ctx.set('retry-after', String(body.retryAfter))
      if (status === 503 || status === 507) ctx.set('retry-after', '5')
      ctx.body = body
    }
    if (hasBody(ctx) && !ctx.req.complete && ctx.status >= 400) await answerAndLinger(ctx)
  }
}

function hasBody(ctx: Context): boolean {
  return ctx.req.headers['transfer-encoding'] !== undefined || Number(ctx.req.headers['content-length'] ?? 0) > 0
}

/**
 * Answer while the body still arrives. Closing at once would reset the connection under a client that writes, and
 * many then never read the answer; so what comes is thrown away for a while, and the connection closed after.
 */
async function answerAndLinger(ctx: Context): Promise<void> {
  ctx.respond = false
  const { req, res } = ctx
  const text = JSON.stringify(ctx.body)
  res.writeHead(ctx.status, {
    'content-type': 'application/json; charset=utf-8',
    'content-length': Buffer.byteLength(text),
    connection: 'close'
  })
  res.write(text)
  let thrownAway = 0
  const { promise: ended, resolve } = Promise.withResolvers<void>()
  req.on('data', (bytes: Buffer) => {
    thrownAway += bytes.length
    if (thrownAway > LINGER_MAX_BYTES) resolve()
  })
  req.once('end', resolve).once('close', resolve).once('error', resolve)
  req.resume()
  const over = new AbortController()
  await Promise.race([ended, delay(LINGER_MS, undefined, { signal: over.signal }).catch(() => {})])
  over.abort()
  res.end()
}
