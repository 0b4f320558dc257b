/** The node's HTTP server: koa, the routes, limits of time and number. */
import { createServer, type Server } from 'node:http'
import Router from '@koa/router'
import Koa, { type Context } from 'koa'
import type { HttpConfig } from '../config.ts'
import type { Keeping } from '../keeping/keeping.ts'
import type { Log } from '../log.ts'
import { addAdminRoutes } from './admin-routes.ts'
import { addDescription } from './api/description.ts'
import { addBlobJsonRoutes, type BlobJsonRoutesOptions } from './blob-json-routes.ts'
import { addBlobRoutes } from './blob-routes.ts'
import { countedAddress } from './client-address.ts'
import { compressAnswers } from './compress.ts'
import { allowOrigins } from './cors.ts'
import { answerClientError, answerFailures } from './failures.ts'
import { HTTP_LIMITS } from './http-limits.ts'
import { NODE_PAGE, NODE_PAGE_HEADERS } from './page.ts'
import { addPinRoutes } from './pin-routes.ts'
import { addProofRoutes, type ProofRoutesOptions } from './proof-routes.ts'
import { limitRates } from './rate-limit.ts'
import { createShares } from './shares.ts'
import { addStatusRoutes, type StatusRoutesOptions } from './status-routes.ts'
import { createStoreAuthorizations } from './store-authorization.ts'
import { continueWhenRead } from './upload.ts'

/** Time for a request's headers. */
export const HTTP_HEADERS_TIMEOUT_MS = 10_000
/** Time for a whole request with its body; silence within a body, or a slow one, ends it much earlier. */
export const HTTP_REQUEST_MAX_MS = 30 * 60_000
/** An idle connection is kept this long. */
export const HTTP_KEEP_ALIVE_MS = 5000
/** Longest time nothing moves on a connection while a request is answered; replication of a large blob fits in. */
export const HTTP_SOCKET_IDLE_MS = 180_000
export const HTTP_MAX_HEADERS = 100

export interface HttpServerOptions extends RoutesOptions {
  http: HttpConfig
  log: Log
  /** Called after every answer. */
  onAnswer?: (facts: { method: string; route: string; status: number; seconds: number }) => void
}

/** What the routes are made of. */
export interface RoutesOptions
  extends Omit<
      BlobJsonRoutesOptions,
      'uploads' | 'downloads' | 'verifies' | 'stallTimeoutMs' | 'addressOf' | 'patience' | 'isPinned' | 'authorizations'
    >,
    ProofRoutesOptions,
    Omit<StatusRoutesOptions, 'serveMetrics'> {
  keeping: Keeping
  http: HttpConfig
  /** URL at which clients reach this node, for its description; null: where it was asked. */
  nodeUrl: string | null
}

/** Every route of a node. */
export function createRouter(options: RoutesOptions): Router {
  const { limits, metrics: serveMetrics, trustedProxies } = options.http
  const router = new Router()
  const given = {
    ...options,
    uploads: createShares({
      what: 'uploads',
      limit: HTTP_LIMITS.maxUploadsPerAddress.env,
      max: limits.maxUploads,
      maxPerAddress: limits.maxUploadsPerAddress
    }),
    downloads: createShares({
      what: 'downloads',
      limit: HTTP_LIMITS.maxDownloadsPerAddress.env,
      max: limits.maxConnections,
      maxPerAddress: limits.maxDownloadsPerAddress
    }),
    stallTimeoutMs: limits.stallTimeoutMs,
    verifies: createShares({
      what: 'reads with verify=1',
      limit: HTTP_LIMITS.maxVerifies.env,
      max: limits.maxVerifies,
      maxPerAddress: Math.ceil(limits.maxVerifies / 2)
    }),
    addressOf: (ctx: Context) => countedAddress(ctx.req, trustedProxies),
    patience: limits,
    serveMetrics,
    isPinned: (cid: string) => options.keeping.pins.has(cid),
    authorizations: createStoreAuthorizations()
  }
  addBlobRoutes(router, given)
  addBlobJsonRoutes(router, given)
  addProofRoutes(router, options)
  addStatusRoutes(router, given)
  addPinRoutes(router, options)
  addAdminRoutes(router, options)
  addDescription(router, { nodeUrl: options.nodeUrl, serveMetrics })
  const paths = router.stack.map(layer => `${layer.methods.at(-1)} ${layer.path}`)
  router.get('/', ctx => {
    ctx.vary('accept')
    // Whoever does not care, curl too, is a program.
    if (ctx.accepts('json', 'html') === 'html') {
      ctx.set(NODE_PAGE_HEADERS)
      ctx.body = NODE_PAGE
      return
    }
    ctx.body = { name: 'warren', role: 'node', endpoints: paths }
  })
  return router
}

/** The server, not listening yet. */
export function createHttpServer(options: HttpServerOptions): Server {
  const { log, onAnswer, http } = options
  const app = new Koa()
  const router = createRouter(options)

  app.use(async (ctx, next) => {
    const startedMs = performance.now()
    await next()
    const route = typeof ctx.routerPath === 'string' ? ctx.routerPath : String(ctx._matchedRoute ?? 'none')
    onAnswer?.({ method: ctx.method, route, status: ctx.status, seconds: (performance.now() - startedMs) / 1000 })
  })
  app.use(answerFailures(log))
  app.use(allowOrigins(http.corsOrigins))
  app.use(limitRates(http))
  if (http.compression) app.use(compressAnswers)
  app.use(router.routes())
  app.use(router.allowedMethods())
  app.silent = true
  // What still comes here are answers that broke off after they began; the connection is cut, which is the answer.
  app.on('error', (error: Error) => log.debug({ err: error }, 'answer broke off'))

  const handle = app.callback()
  const server = createServer(
    {
      headersTimeout: HTTP_HEADERS_TIMEOUT_MS,
      requestTimeout: HTTP_REQUEST_MAX_MS,
      keepAliveTimeout: HTTP_KEEP_ALIVE_MS
    },
    handle
  )
  // A client that asks first (curl does, for large bodies) is answered by the same handler; the body is asked for
  // only when somebody begins to read it, so that a refusal comes before the first byte.
  server.on('checkContinue', (req, res) => {
    continueWhenRead(req, res)
    handle(req, res)
  })
  server.on('clientError', answerClientError)
  server.maxConnections = http.limits.maxConnections
  server.maxHeadersCount = HTTP_MAX_HEADERS
  server.timeout = HTTP_SOCKET_IDLE_MS
  return server
}
