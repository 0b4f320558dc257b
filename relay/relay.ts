/** The relay role: circuits for peers behind NATs, a DHT server and a first peer to meet. It stores nothing. */
import type { Server } from 'node:http'
import {
  createMetrics,
  createNetwork,
  createNetworkNode,
  createPunchCounters,
  createReflector,
  type Log,
  loadKeyFile,
  type Metrics,
  type Network,
  type NetworkNode,
  type Reflector,
  registerReachability,
  serveReflector
} from '../node/index.ts'
import type { RelayConfig } from './config.ts'
import { createHttpServer, listen, type Routes } from './http.ts'
import { followReservations, type Reservations } from './reservations.ts'

export interface Relay {
  readonly peerId: string
  /** Multiaddrs with peer id. */
  addresses: () => string[]
  /** Port of the HTTP server once it listens. */
  httpPort: () => number
  /** HTTP answers and libp2p listens when this resolves; other relays are met in the background. */
  start: (env?: Readonly<Record<string, string | undefined>>) => Promise<void>
  stop: () => Promise<void>
}

const SECOND_MS = 1000

export async function createRelay(config: RelayConfig, log: Log): Promise<Relay> {
  const identity = await loadKeyFile(config.keyFile)
  const metrics = createMetrics('relay')
  const node = await createNetworkNode({
    role: 'relay',
    identity,
    listen: config.listen,
    announce: config.announce,
    bootstrap: config.bootstrap,
    dcutr: config.dcutr,
    punching: createPunchCounters(metrics),
    limits: config.limits,
    relayLimits: config.relayLimits,
    log
  })
  const network = createNetwork({
    node,
    identity,
    own: null,
    members: null,
    limits: config.limits,
    announced: config.announce,
    log
  })
  const startedAtMs = performance.now()
  const { hosts, ports } = config.reflector
  const reflector = ports.length === 0 ? null : createReflector({ ports, ...(hosts.length > 0 ? { hosts } : {}) })
  let reflecting: Awaited<ReturnType<typeof serveReflector>> | undefined
  let ready = false
  let port = 0
  const reservations = followReservations(node.libp2p)
  registerGauges(metrics, node, reservations)
  if (reflector !== null) registerReflectorGauges(metrics, reflector)
  registerReachability(metrics, network)
  const routes = createRoutes({ node, reservations, network, metrics, isReady: () => ready, uptimeSeconds })
  const http: Server = createHttpServer(routes)

  function uptimeSeconds(): number {
    return Math.floor((performance.now() - startedAtMs) / SECOND_MS)
  }

  return {
    peerId: identity.peerId,
    addresses: network.multiaddrs,
    httpPort: () => port,
    async start(env = {}) {
      port = await listen(http, config.healthPort, env)
      await reflector?.start()
      reflecting = await serveReflector({ libp2p: node.libp2p, reflector, hosts })
      await network.start()
      ready = true
      const reflects = reflector?.ports() ?? []
      log.info({ peerId: identity.peerId, addresses: network.multiaddrs(), port, reflects }, 'relay ready')
    },
    async stop() {
      ready = false
      http.close()
      http.closeIdleConnections()
      await reflecting?.stop()
      reflector?.stop()
      reservations.stop()
      await network.stop()
      http.closeAllConnections()
    }
  }
}

function createRoutes(parts: {
  node: NetworkNode
  reservations: Reservations
  network: Network
  metrics: Metrics
  isReady: () => boolean
  uptimeSeconds: () => number
}): Routes {
  const { node, network, metrics } = parts
  const health = () => {
    const connections = network.connections()
    const reserved = parts.reservations.peers().length
    return {
      status: 200,
      json: {
        status: 'healthy',
        uptime: parts.uptimeSeconds(),
        nodeId: 'relay',
        isRelay: true,
        storedBlobs: 0,
        totalSize: 0,
        peers: new Set(connections.map(({ peerId }) => peerId)).size,
        p2p: { connected: connections.length, replicating: 0, relay: reserved },
        peerId: network.self,
        multiaddrs: network.multiaddrs(),
        reachabilityDetail: network.reachability(),
        metrics: { reservations: reserved, circuits: circuitsOf(node) }
      }
    }
  }
  return {
    '/': health,
    '/health': health,
    '/peers': () => {
      const reserved = new Set(parts.reservations.peers())
      const peers = network.connections().map(({ peerId, path, addr }) => ({
        peerId,
        path,
        addr,
        reserved: reserved.has(peerId)
      }))
      return { status: 200, json: { count: peers.length, peers, connections: network.connections() } }
    },
    '/ready': () =>
      parts.isReady()
        ? { status: 200, json: { ready: true } }
        : { status: 503, json: { ready: false, waiting: ['libp2p starts'] } },
    '/metrics': async () => ({ status: 200, text: await metrics.text(), contentType: metrics.contentType })
  }
}

const HOP_PROTOCOL = '/libp2p/circuit/relay/0.2.0/hop'

/** Circuits it carries now. */
function circuitsOf(node: NetworkNode): number {
  return node.libp2p
    .getConnections()
    .flatMap(({ streams }) => streams)
    .filter(({ protocol, direction }) => protocol === HOP_PROTOCOL && direction === 'inbound').length
}

function registerGauges(metrics: Metrics, node: NetworkNode, reservations: Reservations): void {
  metrics.gauge('warren_connections', 'Open libp2p connections', [], () => node.libp2p.getConnections().length)
  metrics.gauge(
    'warren_relay_reservations',
    'Peers that may be reached through this relay',
    [],
    () => reservations.peers().length
  )
  metrics.gauge('warren_relay_circuits', 'Circuits it carries now', [], () => circuitsOf(node))
}

function registerReflectorGauges(metrics: Metrics, reflector: Reflector): void {
  const what = { answered: 'answered', refused: 'of no known peer', limited: 'over a rate' } as const
  for (const [name, words] of Object.entries(what) as Array<[keyof typeof what, string]>) {
    const help = `Datagrams the UDP reflector heard since its start, ${words}`
    metrics.gauge(`warren_reflector_${name}`, help, [], () => reflector.counts()[name])
  }
}
