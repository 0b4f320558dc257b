/** The relay role: circuits for peers behind NATs, a DHT server and a first peer to meet. It stores nothing. */
import type { Server } from 'node:http'
import { join } from 'node:path'
import {
  createMetrics,
  createNetwork,
  createNetworkNode,
  createPunchCounters,
  createReflector,
  createRegistry,
  type Log,
  loadKeyFile,
  registerReachability,
  serveReflector
} from '../node/index.ts'
import { type Accounting, createAccounting } from './accounting.ts'
import { createAdmission } from './admission.ts'
import { createCircuits } from './circuits.ts'
import type { RelayConfig } from './config.ts'
import { createDirectory } from './directory.ts'
import { createHttpServer, listen } from './http.ts'
import { registerGauges, registerReflectorGauges } from './metrics.ts'
import { createRates } from './rates.ts'
import { createRoutes } from './routes.ts'

export interface Relay {
  readonly peerId: string
  /** Bytes of each peer and circuit. */
  readonly accounting: Pick<Accounting, 'of' | 'peers' | 'others' | 'totals' | 'sessions'>
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
  const { relayLimits } = config
  const identity = await loadKeyFile(config.keyFile)
  const metrics = createMetrics('relay')
  const admission = createAdmission(relayLimits)
  const accounting = createAccounting({
    file: join(config.dataDir, 'accounting.json'),
    maxPeers: relayLimits.accountedPeers,
    log
  })
  const rates = createRates({ bitsPerSecond: relayLimits.peerBitsPerSecond, burstBytes: relayLimits.peerBurstBytes })
  const circuits = createCircuits({ limits: relayLimits, rates, accounting, log })
  const node = await createNetworkNode({
    role: 'relay',
    identity,
    listen: config.listen,
    announce: config.announce,
    bootstrap: config.bootstrap,
    dcutr: config.dcutr,
    punching: createPunchCounters(metrics),
    limits: config.limits,
    relayLimits,
    relayServer: init => components => {
      admission.watch(components.connectionManager)
      return circuits.server(init)(components)
    },
    admission: admission.gater,
    log
  })
  const registry = config.registry === null ? null : createRegistry({ ...config.registry, log })
  const directory = createDirectory({
    libp2p: node.libp2p,
    members: registry,
    connected: () =>
      new Set(node.libp2p.getConnections().flatMap(each => (each.direct ? String(each.remotePeer) : []))),
    maxPeers: relayLimits.directoryPeers
  })
  const network = createNetwork({
    node,
    identity,
    own: null,
    members: registry,
    limits: config.limits,
    announced: config.announce,
    onAnnouncement: directory.heard,
    log
  })
  const startedAtMs = performance.now()
  const { hosts, ports } = config.reflector
  const reflector = ports.length === 0 ? null : createReflector({ ports, ...(hosts.length > 0 ? { hosts } : {}) })
  let reflecting: Awaited<ReturnType<typeof serveReflector>> | undefined
  let ready = false
  let port = 0
  registerGauges(metrics, { node, circuits, admission, accounting })
  if (reflector !== null) registerReflectorGauges(metrics, reflector)
  registerReachability(metrics, network)
  const routes = createRoutes({
    network,
    metrics,
    circuits,
    accounting,
    directory,
    httpUrl: config.httpUrl,
    isReady: () => ready,
    uptimeSeconds: () => Math.floor((performance.now() - startedAtMs) / SECOND_MS)
  })
  const http: Server = createHttpServer(routes)
  node.libp2p.addEventListener('peer:disconnect', ({ detail }) => circuits.forget(detail))

  return {
    peerId: identity.peerId,
    accounting,
    addresses: network.multiaddrs,
    httpPort: () => port,
    async start(env = {}) {
      port = await listen(http, config.healthPort, env)
      await accounting.start()
      await reflector?.start()
      reflecting = await serveReflector({ libp2p: node.libp2p, reflector, hosts })
      await directory.start()
      registry?.start()
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
      await registry?.stop()
      await network.stop()
      await accounting.stop()
      http.closeAllConnections()
    }
  }
}
