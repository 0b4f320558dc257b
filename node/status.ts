/** What a node says of itself over HTTP, put together from its parts. Reads counters only. */
import type { BlobService } from './blobs/service.types.ts'
import type { BlobStore } from './blobs/store.types.ts'
import type { Registry } from './chain/registry.ts'
import type { NodeConfig } from './config.ts'
import type { NodeStatus } from './http/status-routes.ts'
import type { Identity } from './identity.ts'
import type { Keeping } from './keeping/keeping.ts'
import type { Metrics } from './metrics.ts'
import type { Network } from './net/network.ts'
import { registerReachability } from './net/reachability/metrics.ts'

/** How others reach this node in one word: `public` directly, else `relayed` by a reservation, else not known. */
export type ReachedBy = 'public' | 'relayed' | 'unknown'

export interface StatusParts {
  config: NodeConfig
  nodeId: string
  identity: Identity
  store: BlobStore
  blobs: BlobService
  keeping: Keeping
  network: Network
  registry: Registry | null
  metrics: Metrics
  /** HTTP serves and libp2p listens. */
  isRunning: () => boolean
}

/** The answers of /health, /info, /ready, /peers and /metrics; registers the node's gauges. */
export function createStatus(parts: StatusParts): NodeStatus {
  const { config, nodeId, identity, store, blobs, keeping, network, registry, metrics, isRunning } = parts
  const startedMs = performance.now()

  const reserved = () => network.anchors().some(anchor => anchor.reserved)
  const reachedBy = (): ReachedBy =>
    network.reachability().state === 'public' ? 'public' : reserved() ? 'relayed' : 'unknown'
  const peerCount = () => new Set(network.connections().map(connection => connection.peerId)).size

  const waiting = (): string[] => {
    if (!isRunning()) return ['libp2p starts']
    const reasons: string[] = []
    const { relays, announce, enabled, enableRelay } = config.p2p
    const needsRelay = enabled && enableRelay && relays.length > 0 && announce.length === 0
    if (needsRelay && !reserved()) reasons.push('no relay has a place for this node yet')
    if (registry) {
      const { read, registered, problem } = registry.state()
      const why = problem === null ? '' : ` (${problem})`
      if (!read) reasons.push(`the registry was not read yet${why}`)
      else if (config.chain?.ownerKey && !registered) reasons.push(`this node is not registered yet${why}`)
    }
    return reasons
  }

  metrics.gauge('warren_blobs_stored', 'Blobs on this disk', [], () => store.stats().storedBlobs)
  metrics.gauge('warren_blob_bytes', 'Bytes of the blobs on this disk', [], () => store.stats().totalSizeBytes)
  metrics.gauge('warren_blob_bytes_reserved', 'Bytes held for uploads', [], () => store.stats().reservedBytes)
  metrics.gauge('warren_blob_bytes_capacity', 'MAX_STORAGE_MB in bytes', [], () => store.stats().capacityBytes)
  metrics.gauge('warren_blobs_quarantined', 'Damaged copies set aside since start', [], () => {
    return store.stats().quarantinedBlobs
  })
  metrics.gauge('warren_blobs_under_replicated', 'Blobs waiting for replicas', [], () => blobs.underReplicated)
  metrics.gauge('warren_connections', 'Open libp2p connections', [], () => network.connections().length)
  registerReachability(metrics, network)
  metrics.gauge('warren_transfers', 'Blob requests of peers being served', [], network.activeTransfers)

  const health = () => {
    const { storedBlobs, totalSizeBytes } = store.stats()
    return {
      status: isRunning() && blobs.unhealed === 0 ? 'healthy' : 'degraded',
      uptime: Math.floor((performance.now() - startedMs) / 1000),
      storedBlobs,
      totalSize: totalSizeBytes,
      peerId: identity.peerId,
      multiaddrs: network.multiaddrs(),
      publicKey: identity.publicKey,
      peers: peerCount(),
      reachability: reachedBy(),
      reachabilityDetail: network.reachability(),
      replication: {
        factor: config.replicationFactor,
        quorum: config.replicationQuorum,
        members: network.members().length,
        waiting: blobs.underReplicated,
        unhealed: blobs.unhealed
      },
      integrity: keeping.scrub.integrity()
    }
  }

  return {
    health,
    deepHealth: async () => {
      const sample = await keeping.scrub.sample()
      return { ...health(), sample, scrub: keeping.scrub.progress() }
    },
    info: () => {
      const statement = registry?.statement() ?? null
      return {
        nodeId,
        peerId: identity.peerId,
        publicKey: identity.publicKey,
        ownerAddress: config.chain?.ownerAddress ?? null,
        multiaddrs: network.multiaddrs(),
        shards: config.shards,
        shardCount: config.shardCount,
        failureGroup: config.failureGroup,
        reachability: network.reachability(),
        portMapping: network.portMapping(),
        registry: registry ? { ...registry.state(), nodeId: registry.nodeId(), statement } : null
      }
    },
    waiting,
    peers: () => {
      const names = new Map(network.members().map(member => [member.peerId, member.nodeId]))
      return network.connections().map(connection => ({ ...connection, nodeId: names.get(connection.peerId) ?? null }))
    },
    metrics: async () => ({ contentType: metrics.contentType, text: await metrics.text() })
  }
}
