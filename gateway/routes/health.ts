/** Is it there, which one is it, can it work: /health, /v1/status, /v1/version, /ready, /metrics (D19–D21). Public. */
import type { Metrics } from '../../node/index.ts'
import type { GatewayConfig } from '../config.ts'
import { type GatewayMiddleware, type Route, route } from '../http.ts'
import type { NetworkPort } from '../network/port.ts'
import { presentHealth, presentNetworkStatus, presentVersion } from '../present.ts'
import type { Store } from '../store.ts'

export interface HealthRouteOptions {
  config: Pick<GatewayConfig, 'version' | 'commit' | 'buildTime' | 'nodeId'>
  startedAt: Date
  store: Store
  network: NetworkPort | null
  metrics: Metrics
  /** What the process still waits for, beside the parts asked here (shutdown, say). */
  waiting: () => readonly string[]
}

export function healthRoutes(options: HealthRouteOptions): Route[] {
  const { config, startedAt, store, network, metrics } = options

  const health: GatewayMiddleware = async context => {
    const startedMs = performance.now()
    const database = await answers(store.ping)
    const waiting = network?.waiting() ?? []
    const connected = network !== null && waiting.length === 0
    const checks = {
      connection: network === null ? 'disabled' : connected ? 'ok' : waiting.join('; '),
      database: database ? 'ok' : 'the database does not answer',
      storage: database ? 'ok' : 'the database does not answer',
      pubsub: network === null ? 'no network: messages stay within this gateway' : 'ok'
    }
    context.body = presentHealth(
      { startedAt, now: new Date() },
      {
        healthy: database && (network === null || connected),
        checks,
        updatedAt: new Date(),
        responseMs: performance.now() - startedMs,
        reachability: network?.connectivity.reachability() ?? null
      }
    )
  }

  const status: GatewayMiddleware = async context => {
    const server = { startedAt, now: new Date() }
    const { started_at, uptime } = presentVersion(config, server)
    context.body = {
      server: { started_at, uptime },
      network: presentNetworkStatus(await networkStatus({ network, store, startedAt, name: config.nodeId }))
    }
  }

  const version: GatewayMiddleware = context => {
    context.body = presentVersion(config, { startedAt, now: new Date() })
  }

  const ready: GatewayMiddleware = async context => {
    const waiting = [
      ...options.waiting(),
      ...((await answers(store.ping)) ? [] : ['the database does not answer']),
      ...(network?.starting() ?? [])
    ]
    context.status = waiting.length === 0 ? 200 : 503
    context.body = waiting.length === 0 ? { ready: true } : { ready: false, waiting }
  }

  const scrape: GatewayMiddleware = async context => {
    context.type = metrics.contentType
    context.body = await metrics.text()
  }

  return [
    route('GET', '/health', health),
    route('GET', '/v1/health', health),
    route('GET', '/status', status),
    route('GET', '/v1/status', status),
    route('GET', '/v1/version', version),
    route('GET', '/ready', ready),
    route('GET', '/metrics', scrape)
  ]
}

/** What D20 and D58 tell. */
export async function networkStatus(options: {
  network: NetworkPort | null
  store: Store
  startedAt: Date
  name: string
}) {
  const { network, store, startedAt, name } = options
  const connected = new Set((network?.connections() ?? []).map(connection => connection.peerId))
  return {
    peerId: network?.peerId ?? name,
    connected: connected.size > 0,
    peerCount: connected.size,
    databaseBytes: await store.sizeBytes(),
    server: { startedAt, now: new Date() }
  }
}

async function answers(ask: () => Promise<void>): Promise<boolean> {
  return await ask().then(
    () => true,
    () => false
  )
}
