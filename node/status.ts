/** What a node says of itself over HTTP, put together from its parts. Reads counters only. */

import type { OwnShards } from './blobs/own-shards.ts'
import type { BlobService } from './blobs/service.types.ts'
import { mergeRanges } from './blobs/shards.ts'
import type { BlobStore } from './blobs/store.types.ts'
import type { Registry } from './chain/registry.ts'
import type { NodeConfig } from './config.ts'
import type { NodeStatus } from './http/status-routes.ts'
import type { Identity } from './identity.ts'
import type { Keeping } from './keeping/keeping.ts'
import type { Metrics } from './metrics.ts'
import type { Member, Network } from './net/network.ts'
import { registerReachability } from './net/reachability/metrics.ts'

/** How others reach this node in one word: `public` directly, else `relayed` by a reservation, else not known. */
export type ReachedBy = 'public' | 'relayed' | 'unknown'

/** Most shards of this node listed one by one. */
export const SHARDS_EXPANDED_MAX = 65_536
/** Most nodes whose heartbeats /network/stats shows. */
export const HEARTBEATS_SHOWN = 200
/** What /node/info and /status give as the version; the package's. */
const VERSION = '0.1.0'
/** What this node can do, in the words of ByteCave's code. */
const FEATURES = ['storage', 'replication', 'sharding', 'encryption'] as const

export interface StatusParts {
  config: NodeConfig
  nodeId: string
  identity: Identity
  store: BlobStore
  blobs: BlobService
  keeping: Keeping
  network: Network
  registry: Registry | null
  shards: OwnShards
  /** Whether the owners of shards are known. */
  membersKnown: () => boolean
  metrics: Metrics
  /** When the last proof of storage was given, ms since 1970; absent: none is ever given. */
  lastProofMs?: () => number | null
  /** HTTP serves and libp2p listens. */
  isRunning: () => boolean
}

/** The answers of /health, /info, /ready, /peers and /metrics; registers the node's gauges. */
export function createStatus(parts: StatusParts): NodeStatus {
  const { config, nodeId, identity, store, blobs, keeping, network, registry, shards, metrics, isRunning } = parts
  const startedMs = performance.now()

  const uptimeS = () => Math.floor((performance.now() - startedMs) / 1000)
  const capacity = () => {
    const { totalSizeBytes, reservedBytes, capacityBytes, storedBlobs } = store.stats()
    const freeBytes = Math.max(0, capacityBytes - totalSizeBytes - reservedBytes)
    return { capacityBytes, usedBytes: totalSizeBytes, storedBlobs, freeBytes }
  }
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
    if (!shards.state().assigned) reasons.push('the shards of this node are not assigned yet')
    return reasons
  }

  metrics.gauge('warren_blobs_stored', 'Blobs on this disk', [], () => store.stats().storedBlobs)
  metrics.gauge('warren_blob_bytes', 'Bytes of the blobs on this disk', [], () => store.stats().totalSizeBytes)
  metrics.gauge('warren_blob_bytes_reserved', 'Bytes held for uploads', [], () => store.stats().reservedBytes)
  metrics.gauge('warren_blob_bytes_capacity', 'MAX_STORAGE_MB in bytes', [], () => store.stats().capacityBytes)
  metrics.gauge('warren_blobs_quarantined', 'Damaged copies set aside since start', [], () => {
    return store.stats().quarantinedBlobs
  })
  metrics.gauge('warren_pack_bytes', 'Bytes of the packs of small blobs', [], () => store.stats().packs?.fileBytes ?? 0)
  metrics.gauge('warren_pack_dead_bytes', 'Of them, of blobs that went; a compaction frees them', [], () => {
    return store.stats().packs?.deadBytes ?? 0
  })
  metrics.gauge('warren_blobs_under_replicated', 'Blobs waiting for replicas', [], () => blobs.underReplicated)
  metrics.gauge('warren_connections', 'Open libp2p connections', [], () => network.connections().length)
  registerReachability(metrics, network)
  metrics.gauge('warren_shards_owned', 'Shards of this node', [], () => shardCountOf(shards.ranges()))
  metrics.gauge('warren_shards_auto', 'Whether they are assigned from the registry', [], () =>
    Number(shards.mode === 'auto')
  )
  metrics.counter('warren_shard_changes_total', 'Changes of the shards of this node', [], () => shards.state().changes)
  metrics.gauge('warren_shard_members_away', 'Members silent for so long that others own their shards too', [], () => {
    return shards.state().away
  })
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
    info,
    nodeInfo: () => {
      const { capacityBytes, usedBytes } = capacity()
      return {
        ...info(),
        version: VERSION,
        features: FEATURES,
        contentTypes: config.contentTypes ?? 'all',
        storageCapacity: capacityBytes,
        storageUsed: usedBytes,
        loadFactor: usedBytes / capacityBytes,
        shardParticipation: shardCountOf(shards.ranges()) / config.shardCount,
        uptime: uptimeS(),
        timestamp: Date.now()
      }
    },
    status: () => {
      const { capacityBytes, usedBytes, storedBlobs, freeBytes } = capacity()
      return {
        nodeId,
        version: VERSION,
        capacityBytes,
        usedBytes,
        storedCIDs: storedBlobs,
        lastProof: parts.lastProofMs?.() ?? null,
        uptime: uptimeS(),
        endpoint: config.nodeUrl,
        replicationFactor: config.replicationFactor,
        isAcceptingBlobs: isRunning() && freeBytes > 0 && parts.membersKnown()
      }
    },
    shards: () => {
      const ranges = shards.ranges()
      const count = shardCountOf(ranges)
      return {
        nodeId,
        ...shards.state(),
        shards: ranges,
        shardCount: config.shardCount,
        shardsOwned: count,
        shardsExpanded:
          count > SHARDS_EXPANDED_MAX
            ? null
            : ranges.flatMap(({ start, end }) => Array.from({ length: end - start + 1 }, (_, i) => start + i))
      }
    },
    networkStats: () => {
      const members = network.members()
      const connections = network.connections()
      const own = capacity()
      // Only who is a member counts: anybody can say anything of itself.
      const known = new Set(members.map(member => member.peerId))
      const nodes = network.heartbeats().filter(({ peerId }) => known.has(peerId))
      const sum = (of: 'capacityBytes' | 'usedBytes' | 'storedBlobs') =>
        nodes.reduce((total, node) => total + node[of], own[of])
      return {
        nodeId,
        members: members.length,
        storage: {
          nodes: nodes.length + 1,
          capacityBytes: sum('capacityBytes'),
          usedBytes: sum('usedBytes'),
          storedBlobs: sum('storedBlobs')
        },
        heartbeats: nodes.slice(0, HEARTBEATS_SHOWN),
        reachableMembers: members.filter(member => member.reachable).length,
        failureGroups: new Set(members.map(member => member.failureGroup)).size,
        shardCount: config.shardCount,
        shardsWithoutOwner: shardsWithoutOwner(members, config.shardCount),
        peers: peerCount(),
        connections: {
          direct: connections.filter(({ path }) => path === 'direct').length,
          relayed: connections.filter(({ path }) => path === 'relayed').length
        },
        transfers: network.activeTransfers(),
        counters: network.counters(),
        timestamp: Date.now()
      }
    },
    replicationStats: () => {
      const members = network.members()
      return {
        factor: config.replicationFactor,
        quorum: config.replicationQuorum,
        timeoutMs: config.replicationTimeoutMs,
        members: members.length,
        reachableMembers: members.filter(member => member.reachable).length,
        storedBlobs: store.stats().storedBlobs,
        underReplicated: blobs.underReplicated,
        quarantined: store.stats().quarantinedBlobs
      }
    },
    waiting,
    peers: () => {
      const names = new Map(network.members().map(member => [member.peerId, member.nodeId]))
      return network.connections().map(connection => ({ ...connection, nodeId: names.get(connection.peerId) ?? null }))
    },
    metrics: async () => ({ contentType: metrics.contentType, text: await metrics.text() })
  }

  function info(): Record<string, unknown> {
    const statement = registry?.statement() ?? null
    return {
      nodeId,
      peerId: identity.peerId,
      publicKey: identity.publicKey,
      ownerAddress: config.chain?.ownerAddress ?? null,
      multiaddrs: network.multiaddrs(),
      shards: shards.ranges(),
      shardMode: shards.mode,
      shardCount: config.shardCount,
      failureGroup: config.failureGroup,
      reachability: network.reachability(),
      portMapping: network.portMapping(),
      registry: registry ? { ...registry.state(), nodeId: registry.nodeId(), statement } : null
    }
  }
}

const shardCountOf = (ranges: ReadonlyArray<{ start: number; end: number }>): number =>
  ranges.reduce((sum, { start, end }) => sum + end - start + 1, 0)

/** How many shards nobody known owns: blobs of those cannot be stored. */
function shardsWithoutOwner(members: readonly Member[], shardCount: number): number {
  const alike = members.filter(member => member.shardCount === shardCount)
  return shardCount - shardCountOf(mergeRanges(alike.flatMap(({ shards }) => [...shards])))
}
