/** The storage node: store, libp2p, chain and HTTP put together, their order of start and stop. */
import type { Server } from 'node:http'
import { createLeaving } from './blobs/leaving.ts'
import { fixedShards, openAutoShards } from './blobs/own-shards.ts'
import { openRawAliases } from './blobs/raw-alias.ts'
import { createBlobService } from './blobs/service.ts'
import type { BlobService } from './blobs/service.types.ts'
import { openStore } from './blobs/store.ts'
import type { BlobStore } from './blobs/store.types.ts'
import { createRegistry, type Registry } from './chain/registry.ts'
import type { Environment, NodeConfig } from './config.ts'
import { lockDataDir } from './data-lock.ts'
import { ContentBlockedError, IdentityMismatchError } from './errors.ts'
import { loadAdminToken, requireAdmin } from './http/admin-token.ts'
import { listen } from './http/listen.ts'
import { createHttpServer } from './http/server.ts'
import { loadIdentity } from './identity.ts'
import { openBlockList } from './keeping/block-list.ts'
import { type Keeping, startKeeping } from './keeping/keeping.ts'
import type { Log } from './log.ts'
import type { LogFile } from './log-file.ts'
import { createMetrics, type Metrics } from './metrics.ts'
import { createNetworkNode } from './net/libp2p.ts'
import { createNetwork, type Network } from './net/network.ts'
import { createPunchCounters } from './net/punching/counters.ts'
import { createProver, type Prover } from './proofs/prover.ts'
import { createProves } from './proofs/proves.ts'
import { createSavedProofs } from './proofs/saved.ts'
import { createStatus } from './status.ts'

/** Characters of the peer id in a name that was not given. */
const NAME_TAIL = 8
/** The drain's share of the 10 s that a process has to end. */
export const DRAIN_MS = 7000

export interface StorageNode {
  readonly peerId: string
  readonly nodeId: string
  readonly blobs: BlobService
  readonly store: BlobStore
  readonly keeping: Keeping
  readonly network: Network
  readonly prover: Prover
  readonly metrics: Metrics
  /** Own addresses with peer id. */
  addresses: () => string[]
  /** Port of the HTTP server once it listens. */
  httpPort: () => number
  /** Why it does not do its whole work yet; empty when it does. */
  waiting: () => string[]
  /** HTTP answers and libp2p listens when this resolves; relays, peers and the chain are met in the background. */
  start: (env?: Environment) => Promise<void>
  /** Finish what is under way (bounded), then close everything. */
  stop: () => Promise<void>
}

export interface NodeOptions {
  config: NodeConfig
  log: Log
  /** Where the log's copy on disk goes, for the count of what it lost. */
  logFile?: Pick<LogFile, 'dropped'> | undefined
}

/** Put a node together. Opens its data directory and nothing else. @throws DataDirTakenError */
export async function createNode(options: NodeOptions): Promise<StorageNode> {
  const unlock = await lockDataDir(options.config.dataDir)
  try {
    return await assemble({ ...options, unlock })
  } catch (error) {
    await unlock()
    throw error
  }
}

/** @param options.unlock lets the data directory go, at the end of everything */
async function assemble(options: NodeOptions & { unlock: () => Promise<void> }): Promise<StorageNode> {
  const { config, log, logFile, unlock } = options
  const { p2p, chain } = config
  const identity = await loadIdentity({
    dataDir: config.dataDir,
    ...(p2p.privateKeyFile === null ? {} : { importFile: p2p.privateKeyFile })
  })
  if (config.publicKey !== null && config.publicKey !== identity.publicKey) {
    throw new IdentityMismatchError(
      `PUBLIC_KEY is ${config.publicKey}, the key in ${config.dataDir}/keys is ${identity.publicKey}. Correct the one or restore the other.`
    )
  }
  const nodeId = config.nodeId || `node-${identity.peerId.slice(-NAME_TAIL)}`
  const opening = openStore({
    dataDir: config.dataDir,
    capacityBytes: config.maxStorageBytes,
    secret: identity.deriveSecret('blobs at rest v1'),
    packSmall: config.packSmallBlobs,
    log
  })
  const metrics = createMetrics('node')
  if (logFile !== undefined) {
    const help = 'Log lines the disk did not take; stderr has them'
    metrics.counter('warren_log_lines_dropped_total', help, [], () => logFile.dropped)
  }
  const building = createNetworkNode({
    role: 'node',
    identity,
    listen: p2p.enabled ? p2p.listen : [],
    announce: p2p.enabled ? p2p.announce : [],
    relays: p2p.enabled ? p2p.relays : [],
    bootstrap: p2p.enabled ? p2p.bootstrap : [],
    enableRelay: p2p.enabled && p2p.enableRelay,
    enableDht: p2p.enabled && p2p.enableDht,
    enableMdns: p2p.enabled && p2p.enableMdns,
    dcutr: p2p.dcutr,
    ...(p2p.socks === null ? {} : { socks: p2p.socks }),
    punching: createPunchCounters(metrics),
    hardPunch: p2p.hardPunch,
    limits: p2p.limits,
    log
  })
  const [store, networkNode, aliases] = await Promise.all([
    opening,
    building,
    openRawAliases({ dataDir: config.dataDir, log })
  ])
  const registry: Registry | null =
    chain === null
      ? null
      : createRegistry({
          rpcUrl: chain.rpcUrl,
          address: chain.registry,
          ...(chain.ownerKey === null
            ? {}
            : { own: { identity, ownerAddress: chain.ownerAddress, ownerKey: chain.ownerKey } }),
          log
        })
  const { shardCount, replicationFactor, failureGroup } = config
  const shards =
    config.shards !== 'auto'
      ? fixedShards(config.shards)
      : await openAutoShards({
          dataDir: config.dataDir,
          self: { peerId: identity.peerId, failureGroup, capacityBytes: config.maxStorageBytes },
          shardCount,
          replicationFactor,
          registered: () => registry?.nodes()?.map(({ peerId }) => peerId) ?? null,
          heard: peerId => network.announced(peerId),
          log
        })
  const network = createNetwork({
    node: networkNode,
    identity,
    own: {
      nodeId,
      owner: chain?.ownerAddress ?? '',
      get shards() {
        return shards.ranges()
      },
      shardMode: shards.mode,
      capacityBytes: config.maxStorageBytes,
      shardCount,
      failureGroup
    },
    members: registry,
    limits: p2p.limits,
    announced: p2p.enabled ? p2p.announce : [],
    portMapping: p2p.enabled && p2p.portMapping && p2p.socks === null,
    log
  })
  const { dataDir, keep } = config
  const shardsAssigned = () => shards.state().assigned
  const membersKnown = () => (registry === null || registry.nodes() !== null) && shardsAssigned()
  const leaving = createLeaving()
  const proves = createProves({ ask: network.proof, store })
  const adminToken = await loadAdminToken({ dataDir, file: keep.adminTokenFile })
  const blocked = await openBlockList({ dataDir, enabled: keep.blockedContent })
  let pinned: Keeping['pins'] | undefined
  const plainBlobs = createBlobService({
    store,
    network,
    shards: shards.ranges,
    shardsAssigned,
    shardCount,
    replicationFactor,
    quorum: config.replicationQuorum,
    timeoutMs: config.replicationTimeoutMs,
    maxBlobBytes: config.maxBlobBytes,
    membersKnown,
    isBlocked: blocked.has,
    // Until the pins are read nothing is known not to be one.
    isPinned: cid => pinned?.has(cid) ?? true,
    leaving,
    // Assigned ranges follow from what members say of themselves: who came to own a shard by that has only its word.
    proves: keep.gc.verifyProofs || shards.mode === 'auto' ? proves : undefined,
    log
  })
  const blobs = aliases.noting(plainBlobs)
  const keeping = await startKeeping({
    config: keep,
    dataDir,
    store,
    blobs,
    network,
    leaving,
    proves,
    blocked,
    replicationFactor,
    membersKnown,
    metrics,
    log
  })
  pinned = keeping.pins
  // A proof by leaves carries bytes of the blob.
  const provable: Pick<BlobStore, 'open'> = {
    open: async cid => {
      if (blocked.has(cid)) throw new ContentBlockedError(cid)
      return await store.open(cid)
    }
  }
  const prover = createProver({
    store: provable,
    identity,
    nodeId,
    saved: createSavedProofs({ dataDir: config.dataDir, log })
  })
  let running = false
  let port = 0
  const status = createStatus({
    config,
    nodeId,
    identity,
    store,
    blobs,
    keeping,
    network,
    registry,
    shards,
    membersKnown,
    metrics,
    lastProofMs: prover.lastProofMs,
    isRunning: () => running
  })
  const seconds = metrics.histogram('warren_http_request_seconds', 'HTTP answers by route', [
    'method',
    'route',
    'status'
  ])
  const http: Server = createHttpServer({
    blobs,
    store,
    prover,
    keeping,
    requireAdmin: requireAdmin(adminToken),
    aliases,
    maxBlobBytes: config.maxBlobBytes,
    listBlobs: config.listBlobs,
    shardCount,
    replicationFactor,
    contentTypes: config.contentTypes,
    http: config.http,
    nodeUrl: config.nodeUrl,
    connect: network.connect,
    status,
    log,
    onAnswer: facts =>
      seconds.observe({ method: facts.method, route: facts.route, status: String(facts.status) }, facts.seconds)
  })
  let stopping: Promise<void> | null = null

  async function stop(): Promise<void> {
    running = false
    const closed = new Promise<void>(resolve => http.close(() => resolve()))
    http.closeIdleConnections()
    // Requests under way may end by themselves for a while; then they are cut.
    const timer = setTimeout(() => http.closeAllConnections(), DRAIN_MS)
    if (http.listening || port !== 0) await closed
    clearTimeout(timer)
    await shards.stop()
    await keeping.stop()
    await blobs.stop()
    await aliases.flush()
    await registry?.stop()
    await network.stop()
    await store.close()
    await unlock()
  }

  return {
    peerId: identity.peerId,
    nodeId,
    blobs,
    store,
    keeping,
    network,
    prover,
    metrics,
    addresses: network.multiaddrs,
    httpPort: () => port,
    waiting: status.waiting,
    start: async (env = {}) => {
      try {
        const listening = listen(http, config.port, env).then(actual => {
          port = actual
        })
        await network.serve({
          put: (source, options) => blobs.put(source, options),
          putReplica: blobs.putReplica,
          get: blobs.get,
          prove: prover.prove,
          health: () => {
            const { storedBlobs, totalSizeBytes, capacityBytes } = store.stats()
            const { underReplicated } = blobs
            return { status: 'healthy', storedBlobs, totalSize: totalSizeBytes, capacityBytes, underReplicated }
          }
        })
        await Promise.all([listening, network.start()])
        running = true
        registry?.start()
        shards.start(() => {
          network.announceSoon()
          plainBlobs.shardsChanged()
        })
        log.info({ nodeId, peerId: identity.peerId, addresses: network.multiaddrs(), port }, 'node ready')
      } catch (error) {
        await stop().catch(() => {})
        throw error
      }
    },
    stop: () => {
      stopping ??= stop()
      return stopping
    }
  }
}
