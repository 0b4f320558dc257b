/** What the relay answers over HTTP. */
import type { Metrics, Network } from '../node/index.ts'
import type { Accounting } from './accounting.ts'
import type { Circuits } from './circuits.ts'
import type { Directory } from './directory.ts'
import { type Routes, shared } from './http.ts'

/** Accounts in one answer, those used last. */
const MAX_ACCOUNTS = 1000
/** Lists of peers and accounts are up to a MiB: a crowd that asks is answered with the same bytes. */
const SHARED_MS = 1000

/** @param parts.nowMs for tests */
export function createRoutes(parts: {
  network: Network
  metrics: Metrics
  circuits: Circuits
  accounting: Accounting
  directory: Directory
  httpUrl: string | null
  isReady: () => boolean
  uptimeSeconds: () => number
  nowMs?: () => number
}): Routes {
  const { network, metrics, circuits, accounting } = parts
  const health = () => {
    const connections = network.connections()
    const reservations = circuits.reserved().length
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
        p2p: { connected: connections.length, replicating: 0, relay: reservations },
        peerId: network.self,
        multiaddrs: network.multiaddrs(),
        httpUrl: parts.httpUrl,
        reachabilityDetail: network.reachability(),
        metrics: { reservations, circuits: circuits.open(), relayedBytes: accounting.totals().bytes }
      }
    }
  }
  const peers = () => {
    const reserved = new Set(circuits.reserved())
    const connections = network.connections()
    const peers = connections.map(({ peerId, path, addr }) => ({
      peerId,
      path,
      addr,
      reserved: reserved.has(peerId),
      relayed: accounting.of(peerId)
    }))
    return { status: 200, json: { count: peers.length, peers, connections, registered: parts.directory.peers() } }
  }
  // Of peers one by one, never of pairs: who spoke with whom is nobody else's business.
  const accounts = () => {
    const peers = [...accounting.peers()].slice(-MAX_ACCOUNTS).map(([peerId, account]) => ({ peerId, ...account }))
    return { status: 200, json: { totals: accounting.totals(), others: accounting.others(), peers } }
  }
  return {
    '/': health,
    '/health': health,
    '/peers': shared(peers, SHARED_MS, parts.nowMs),
    '/accounting': shared(accounts, SHARED_MS, parts.nowMs),
    '/ready': () =>
      parts.isReady()
        ? { status: 200, json: { ready: true } }
        : { status: 503, json: { ready: false, waiting: ['libp2p starts'] } },
    '/metrics': async () => ({ status: 200, text: await metrics.text(), contentType: metrics.contentType })
  }
}
