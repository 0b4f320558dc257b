/** createGateway: the parts put together into one request handler. It never listens; `main.ts` and tests do. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import Router from '@koa/router'
import Koa, { type Context } from 'koa'
import { type Log, type Metrics, registerReachability } from '../node/index.ts'
import { createIdentify } from './auth/identify.ts'
import { createKeyFile } from './auth/key-file.ts'
import { createPlaces, createRateLimit } from './auth/rate.ts'
import { createAuth } from './auth/service.ts'
import type { GatewayConfig } from './config.ts'
import { CALLER_REQUESTS_MAX, RATE_CALLERS_MAX, REQUESTS_MAX } from './constants.ts'
import { MethodNotAllowedError, RouteUnknownError } from './errors.ts'
import { createFailures } from './failures.ts'
import type { GatewayMiddleware, GatewayState, Route } from './http.ts'
import { createAuthenticate } from './middleware/authenticate.ts'
import { cors } from './middleware/cors.ts'
import { createConcurrencyLimit } from './middleware/limits.ts'
import { createOwnNamespace } from './middleware/own-namespace.ts'
import { countedAddress, createRequestLogging } from './middleware/request-log.ts'
import type { InventoryHost } from './network/hosts.types.ts'
import { createLive } from './network/live.ts'
import type { NetworkPort } from './network/port.ts'
import type { Siblings } from './network/siblings.ts'
import { createNetworkWatch } from './network/watch.ts'
import type { PubsubOptions } from './pubsub/pubsub.ts'
import { createPubsub } from './pubsub/pubsub.ts'
import { createPubsubSockets, type PubsubSocketLimits } from './pubsub/sockets.ts'
import { routes } from './routes/index.ts'
import { createSockets, type SocketLimits } from './sockets.ts'
import type { SqlEngine } from './sql/sql.types.ts'
import { createBlobs } from './storage/blobs.ts'
import { createStorage } from './storage/storage.ts'
import type { Store } from './store.ts'

export interface GatewayOptions {
  config: GatewayConfig
  store: Store
  /** Where tenants' own SQL databases are. */
  sql: SqlEngine
  /** null: no network; values up to 64 KiB only. */
  network: NetworkPort | null
  inventory: readonly InventoryHost[]
  /** Other gateways on the same data directory; absent: nothing is known of them. */
  siblings?: Pick<Siblings, 'stateOf'>
  metrics: Metrics
  log: Log
  startedAt?: Date
  /** The clock that values expire by, ms since 1970; the store's. */
  nowMs?: (() => number) | undefined
  /** Limits of WebSockets other than `constants.ts` has them. */
  socketLimits?: Partial<SocketLimits>
  /** With which gateways seal what they gossip; without it messages stay within this gateway. */
  pubsubSecret?: Uint8Array | null
  /** Limits of pub/sub other than `pubsub/limits.ts` and the configuration have them. */
  pubsubLimits?: PubsubOptions['limits'] & { sockets?: Partial<PubsubSocketLimits> }
}

export interface Gateway {
  /** For `serve`, also of requests that offer to become a WebSocket. */
  readonly handle: (request: IncomingMessage, response: ServerResponse) => Promise<void>
  /** The table of routes, as it is served. */
  readonly routes: readonly Route[]
  /** Sees to the key that signs tokens, so that the first login need not wait for it. */
  prepare: () => Promise<void>
  /** From now on `/ready` answers 503, and WebSockets are closed with 1001. */
  drain: () => void
  /** Ends what goes on by itself. After `drain`, before the network is closed. */
  close: () => void
}

const MS_PER_DAY = 24 * 3600 * 1000
const BYTES_PER_MB = 1024 * 1024
const RESPONSE_LISTENERS_MAX = 24

export function createGateway(options: GatewayOptions): Gateway {
  const { config, store, sql, network, inventory, siblings = null, metrics, log, startedAt } = options
  let draining = false
  if (network !== null) registerReachability(metrics, network.connectivity)
  const watch = createNetworkWatch({ name: config.nodeId, inventory, network, siblings, rpcUrl: config.rpcUrl, log })
  const addressOf = (context: Context) => countedAddress(context, config.trustProxy)
  const sockets = createSockets({ addressOf, metrics, log, limits: options.socketLimits })
  const keys = createKeyFile({
    dataDir: config.dataDir,
    rotateAfterMs: config.signingKeyDays * MS_PER_DAY,
    exclusively: store.auth.exclusively,
    onError: error => log.error({ err: error }, 'no next signing key could be made')
  })
  const identify = createIdentify({ reader: store.authReader, keys })
  const authenticating = {
    identify,
    namespace: config.namespace,
    rate: createRateLimit({ limit: config.ratePerSecond, periodMs: 1_000, callersMax: RATE_CALLERS_MAX }),
    places: createPlaces(CALLER_REQUESTS_MAX),
    addressOf
  }
  const authenticate = createAuthenticate({ ...authenticating, requireAuth: config.requireAuth })
  const { pubsubSecret: secret = null, pubsubLimits: { sockets: pubsubSocketLimits, ...pubsubLimits } = {} } = options
  const pubsub = createPubsub({ gossip: network?.gossip ?? null, secret, metrics, log, limits: pubsubLimits })
  const pubsubSockets = createPubsubSockets({
    counters: pubsub.counters,
    identify,
    addressOf,
    origins: config.pubsubOrigins,
    limits: { ...config.pubsubSockets, ...pubsubSocketLimits },
    log
  })
  const table = routes({
    config,
    auth: createAuth({ config, rows: store.auth, reader: store.authReader, keys }),
    keys,
    identify,
    apps: store.apps,
    rate: createRateLimit({ limit: config.authRatePerMinute, periodMs: 60_000, callersMax: RATE_CALLERS_MAX }),
    addressOf,
    startedAt: startedAt ?? new Date(),
    name: config.nodeId,
    store,
    network,
    metrics,
    watch,
    live: createLive({ watch, sockets, log }),
    sockets,
    waiting: () => (draining ? ['the gateway is stopping'] : []),
    authenticate,
    // A database is somebody's: never an anonymous caller's (P1).
    authenticateAlways: createAuthenticate({ ...authenticating, requireAuth: true }),
    ownNamespace: createOwnNamespace({
      sql,
      storage: createStorage({
        values: store.values,
        blobs: createBlobs(network?.blobs ?? null),
        nowMs: options.nowMs
      }),
      sealer: store.sealer,
      pubsub
    }),
    pubsubSockets,
    maxValueBytes: config.maxBlobSizeMb * BYTES_PER_MB,
    maxDatabaseBytes: config.sqlMaxMb * BYTES_PER_MB
  })
  const router = routerOf(table)

  const app = new Koa<GatewayState>()
  app.use(createRequestLogging({ requests: store.requests, metrics, log, trustProxy: config.trustProxy }))
  app.use(createFailures(log))
  app.use(cors)
  app.use(createConcurrencyLimit(REQUESTS_MAX))
  app.use(router.routes())
  app.use(notRouted(router))
  // What goes wrong after the head of an answer is sent: the connection ends early, which is all one can tell then.
  app.on('error', (error: NodeJS.ErrnoException) => {
    const hungUp = error.code === 'ECONNRESET' || error.code === 'EPIPE' || error.code === 'ERR_STREAM_PREMATURE_CLOSE'
    log[hungUp ? 'debug' : 'warn']({ err: error }, 'an answer was cut short')
  })

  const handle = app.callback()
  return {
    handle(request, response) {
      // Of one answer: our middlewares, koa, and the pipeline of a stream. Node warns of more than ten.
      response.setMaxListeners(RESPONSE_LISTENERS_MAX)
      return handle(request, response)
    },
    routes: table,
    async prepare() {
      await keys.ring()
    },
    drain() {
      draining = true
      sockets.drain()
      pubsubSockets.drain()
    },
    close() {
      pubsubSockets.close()
      pubsub.close()
    }
  }
}

function routerOf(table: readonly Route[]): Router<GatewayState> {
  const router = new Router<GatewayState>()
  for (const { method, path, middleware } of table) {
    const named: GatewayMiddleware = (context, next) => {
      context.state.route = path
      return next()
    }
    router.register(path, [method], [named, ...middleware] as never)
  }
  return router
}

function notRouted(router: Router<GatewayState>): GatewayMiddleware {
  return (context, next) => {
    const { path: layers, route: matched } = router.match(context.path, context.method)
    if (matched) return next()
    const methods = [...new Set(layers.flatMap(layer => layer.methods))]
    throw methods.length > 0
      ? new MethodNotAllowedError([...methods, 'OPTIONS'].join(', '))
      : new RouteUnknownError(context.path)
  }
}
