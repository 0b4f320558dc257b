/** The one shape of errors over HTTP, `{error: CODE, message, timestamp[, details]}`, and how they are sent. */
import { setTimeout as delay } from 'node:timers/promises'
import type { Context, Next } from 'koa'
import { WarrenError } from '../errors.ts'
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
}

/** What is told of an error: everything of our own, nothing of a bug. */
export function failureOf(error: unknown): { status: number; body: FailureBody } {
  const timestamp = Date.now()
  if (error instanceof WarrenError) {
    const { code, status, message, details } = error
    return { status, body: { error: code, message, timestamp, ...(details ? { details } : {}) } }
  }
  const message = 'Something went wrong here. The log of this node says what.'
  return { status: 500, body: { error: 'INTERNAL_ERROR', message, timestamp } }
}

const NOT_ROUTED: Record<number, [string, string]> = {
  404: ['NOT_FOUND', 'There is nothing at this path. GET / lists what there is.'],
  405: ['METHOD_NOT_ALLOWED', 'This path does not take this method. The Allow header says which.'],
  501: ['METHOD_UNKNOWN', 'This method is not known here.']
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
