/**
 * Which web pages may use this node (CORS_ORIGIN). A browser asks before most requests and obeys the answer; a simple
 * POST it sends without asking, so one from a page of another origin is refused here.
 */
import type { Context, Next } from 'koa'
import { OriginForbiddenError } from '../errors.ts'

const MAX_AGE_S = 600
const METHODS = 'GET, HEAD, POST, PUT, DELETE'
const REQUEST_HEADERS = 'authorization, content-type, if-none-match, if-range, range'
/** What a page may read besides the plain headers. */
const ANSWER_HEADERS =
  'accept-ranges, content-length, content-range, etag, location, ratelimit, ratelimit-policy, ratelimit-limit, ratelimit-remaining, ratelimit-reset, retry-after'
const READING = new Set(['GET', 'HEAD', 'OPTIONS'])

/** Middleware: tell browsers what pages may do, answer their questions. @throws OriginForbiddenError */
export function allowOrigins(origins: readonly string[]) {
  const all = origins.includes('*')
  return async (ctx: Context, next: Next): Promise<void> => {
    const origin = ctx.get('origin')
    // The first to name one; who comes later adds to it.
    ctx.res.setHeader('vary', 'Origin')
    if (origin === '') return await next()
    const allowed = all || origins.includes(origin)
    if (allowed) {
      ctx.set('access-control-allow-origin', all ? '*' : origin)
      ctx.set('access-control-expose-headers', ANSWER_HEADERS)
    }
    if (ctx.method === 'OPTIONS' && ctx.get('access-control-request-method') !== '') {
      if (allowed) {
        ctx.set('access-control-allow-methods', METHODS)
        ctx.set('access-control-allow-headers', REQUEST_HEADERS)
        ctx.set('access-control-max-age', String(MAX_AGE_S))
      }
      ctx.status = 204
      return
    }
    const isOwn = URL.parse(origin)?.host === ctx.get('host')
    if (!allowed && !isOwn && !READING.has(ctx.method)) throw new OriginForbiddenError(origin)
    await next()
  }
}
