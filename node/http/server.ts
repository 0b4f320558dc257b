/** The node's HTTP server: koa, the routes, limits of time and number. */
import { createServer, type Server } from 'node:http'
import Router from '@koa/router'
import Koa from 'koa'
import type { Keeping } from '../keeping/keeping.ts'
import type { Log } from '../log.ts'
import { addAdminRoutes } from './admin-routes.ts'
import type { RequireAdmin } from './admin-token.ts'
import { addBlobRoutes, type BlobRoutesOptions } from './blob-routes.ts'
import { answerFailures } from './failures.ts'
import { addPinRoutes } from './pin-routes.ts'
import { addProofRoutes, type ProofRoutesOptions } from './proof-routes.ts'
import { addStatusRoutes, type NodeStatus } from './status-routes.ts'
import { continueWhenRead } from './upload.ts'

/** Most connections open at once. */
export const HTTP_MAX_CONNECTIONS = 1024
/** Time for a request's headers. */
export const HTTP_HEADERS_TIMEOUT_MS = 10_000
/** Time for a whole request with its body; silence within a body ends it much earlier. */
export const HTTP_REQUEST_TIMEOUT_MS = 30 * 60_000
/** An idle connection is kept this long. */
export const HTTP_KEEP_ALIVE_MS = 5000
/** Longest time nothing moves on a connection while a request is answered; replication of a large blob fits in. */
export const HTTP_SOCKET_IDLE_MS = 180_000
export const HTTP_MAX_HEADERS = 100

export interface HttpServerOptions extends BlobRoutesOptions, ProofRoutesOptions {
  status: NodeStatus
  keeping: Keeping
  requireAdmin: RequireAdmin
  log: Log
  /** Called after every answer. */
  onAnswer?: (facts: { method: string; route: string; status: number; seconds: number }) => void
}

/** The server, not listening yet. */
export function createHttpServer(options: HttpServerOptions): Server {
  const { log, onAnswer } = options
  const app = new Koa()
  const router = new Router()
  addBlobRoutes(router, options)
  addProofRoutes(router, options)
  addStatusRoutes(router, options.status)
  addPinRoutes(router, options)
  addAdminRoutes(router, options)
  const paths = router.stack.map(layer => `${layer.methods.at(-1)} ${layer.path}`)
  router.get('/', ctx => {
    ctx.body = { name: 'warren', role: 'node', endpoints: paths }
  })

  app.use(async (ctx, next) => {
    const startedMs = performance.now()
    await next()
    const route = typeof ctx.routerPath === 'string' ? ctx.routerPath : String(ctx._matchedRoute ?? 'none')
    onAnswer?.({ method: ctx.method, route, status: ctx.status, seconds: (performance.now() - startedMs) / 1000 })
  })
  app.use(answerFailures(log))
  app.use(router.routes())
  app.use(router.allowedMethods())
  app.silent = true
  // What still comes here are answers that broke off after they began; the connection is cut, which is the answer.
  app.on('error', (error: Error) => log.debug({ err: error }, 'answer broke off'))

  const handle = app.callback()
  const server = createServer(
    {
      headersTimeout: HTTP_HEADERS_TIMEOUT_MS,
      requestTimeout: HTTP_REQUEST_TIMEOUT_MS,
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
  server.maxConnections = HTTP_MAX_CONNECTIONS
  server.maxHeadersCount = HTTP_MAX_HEADERS
  server.timeout = HTTP_SOCKET_IDLE_MS
  return server
}
