/** The network as the rest of a role sees it: members, blobs to and from peers, providers, health. */
import type { Connection, PeerId, Transport } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import { CID } from 'multiformats/cid'
import type { BlobHandlers, BlobMember, BlobNetwork } from '../blobs/network.types.ts'
import { PeerUnreachableError } from '../errors.ts'
import type { Identity } from '../identity.ts'
import type { Log } from '../log.ts'
import type { AskProof } from '../proofs/auditor.ts'
import type { Prover } from '../proofs/prover.ts'
import type { AnchorState } from './anchors.ts'
import { type Announcement, createAnnouncements } from './announce.ts'
import { type Asker, createAsker, type TransferCounters, type UploadSource } from './ask.ts'
import { createProofAsker } from './ask-proof.ts'
import { STANDING, type Standing } from './heard.ts'
import { createHeartbeats, type Heartbeat } from './heartbeats.ts'
import type { NetworkNode } from './libp2p.ts'
import { type ConnectionLife, createConnectionLife, type LifeCounters, type LifeLimits } from './life/life.ts'
import { createLiveness, type LivenessLimits } from './life/liveness.ts'
import { DEFAULT_LIMITS, type NetworkLimits } from './limits.ts'
import { createPaths, describeConnection } from './paths.ts'
import type { ConnectionPath, HealthReport, StoreReply } from './protocols.ts'
import { type PunchingTransport, punchingTransport } from './punching/punch.types.ts'
import type { Reachability } from './reachability/reachability.types.ts'
import { createReachability, type DetectKind, type ReachabilityTracker } from './reachability/tracker.ts'
import { serveProtocols } from './serve.ts'
import { skip } from './sources.ts'
import { DEFAULT_TIMINGS, type Timings } from './timings.ts'

/** An active registered node; without a chain, a node that announced itself. */
export interface Member extends BlobMember {
  /** Address of its owner's account, or empty without a chain. */
  owner: string
  /** What the registry has as its url: `/p2p/<peerId>`. */
  url: string
}

/** What the registry knows of a node; rows whose peer id does not belong to their key are not among them. */
export interface RegisteredNode {
  /** keccak256 of the public key, `0x…`. */
  nodeId: string
  peerId: string
  owner: string
  url: string
}

/** Where members come from: the chain's registry, or null. */
export interface MemberSource {
  /** null until it was read once. */
  nodes: () => readonly RegisteredNode[] | null
}

/** What this node says of itself; read anew each time it is said. */
export interface OwnFacts {
  nodeId: string
  owner: string
  shards: ReadonlyArray<{ start: number; end: number }>
  shardCount: number
  failureGroup: string
  /** Whether `shards` are its operator's or assigned from the registry; then they change. Default: fixed. */
  shardMode?: 'fixed' | 'auto'
  /** Room for blobs, bytes. */
  capacityBytes?: number
}

/** What the health handler of a role answers; the network adds peers, addresses and the own facts. */
export interface HealthFacts {
  /** `healthy`, `degraded` or `unhealthy`. */
  status: string
  storedBlobs: number
  /** Bytes. */
  totalSize: number
  /** Bytes it may keep. */
  capacityBytes?: number
  /** Blobs waiting for replicas. */
  underReplicated?: number
}

/** What `serve` takes: the blob service's handlers and the counters of the node. */
export interface NetworkHandlers extends BlobHandlers {
  health: () => HealthFacts
  /** Left out by roles that keep no blobs. */
  prove?: Prover['prove']
}

export interface Network extends BlobNetwork {
  members: () => Member[]
  /**
   * Hand a blob to a peer over /bytecave/store. `openAt`, when given, begins at an offset and spares a resumed
   * transfer the bytes before it. `sizeBytes: null` when unknown.
   */
  store: (
    peerId: string,
    blob: {
      sizeBytes: number | null
      mimeType?: string
      open: () => AsyncIterable<Uint8Array>
      openAt?: (offset: number) => AsyncIterable<Uint8Array>
    },
    options?: { signal?: AbortSignal }
  ) => Promise<StoreReply>
  /** A node's own report, over /bytecave/health; the answer is remembered for `members`. */
  health: (peerId: string, options?: { signal?: AbortSignal }) => Promise<HealthReport>
  /** Connect to a peer at a multiaddr with its peer id. @throws PeerUnreachableError */
  connect: (address: string, options?: { signal?: AbortSignal }) => Promise<ConnectionPath>
  /** Ask a peer once for a proof of storage, over /bytecave/proof; what comes back is not checked (proofs/auditor.ts). */
  proof: AskProof
  /** Every open connection. */
  connections: () => ConnectionPath[]
  /** Relays and bootstrap peers. */
  anchors: () => AnchorState[]
  /** What a peer announced lately, its signature checked; null: nothing. */
  announced: (peerId: string) => Announcement | null
  /** Announce this node again soon: something it says of itself changed. */
  announceSoon: () => void
  /** Own addresses with peer id. */
  multiaddrs: () => string[]
  /** How other nodes said they are, lately. */
  heartbeats: () => Heartbeat[]
  /** Blob requests being served. */
  activeTransfers: () => number
  /** How others reach us, as it is now; `subscribe` tells of changes. */
  reachability: () => Reachability
  subscribeReachability: ReachabilityTracker['subscribe']
  /** Ports the own router opened for us, and why there are none. */
  portMapping: ReachabilityTracker['mapping']
  /** What became of connections and of the requests on them, since start. */
  counters: () => NetworkCounters
  /** Answer peers; called once, by the node. */
  serve: (handlers: NetworkHandlers) => Promise<void>
  start: () => Promise<void>
  stop: () => Promise<void>
}

export interface NetworkCounters extends TransferCounters, LifeCounters {
  /** Connections in use that were ended because they were silent. */
  silenced: number
}

const SECOND_MS = 1000

/**
 * @param options.own null for a role that stores nothing (gateway, client)
 * @param options.members null without a chain: members are then who announces itself
 */
export function createNetwork(options: {
  node: NetworkNode
  identity: Identity
  own: OwnFacts | null
  members: MemberSource | null
  limits?: NetworkLimits
  timings?: Partial<Timings>
  /** Of connections' life, where it differs from `LIFE` and `LIVENESS`. */
  life?: LifeLimits
  liveness?: LivenessLimits
  /** For tests: where this machine's own addresses come from. */
  readInterfaces?: () => string[]
  /** Addresses the operator announces; a role that has them is public. */
  announced?: readonly string[]
  /** Ask the own router to open the ports we listen on. Default false. */
  portMapping?: boolean
  /** Asks reflectors for the NAT's kind. Default: those of the relays, where this role has a NAT at all. */
  detectKind?: DetectKind
  /** Told of each announcement of another whose signature holds. */
  onAnnouncement?: (announcement: Announcement) => void
  log: Log
}): Network {
  const { node, identity, own, log } = options
  const { libp2p, anchors } = node
  const timings: Timings = { ...DEFAULT_TIMINGS, ...options.timings }
  let life: ConnectionLife | undefined
  const liveness = createLiveness({
    libp2p,
    onSuspect: connection => life?.suspect(connection),
    ...(options.liveness ? { limits: options.liveness } : {}),
    log
  })
  node.watchCircuits({ isSuspect: liveness.isSuspect, probe: connection => liveness.glance(connection) })
  const paths = createPaths({
    libp2p,
    parts: node.parts,
    anchors,
    connectTimeoutMs: timings.connectTimeoutMs,
    use: {
      used(connection) {
        liveness.touch(connection)
        life?.want(connection.remotePeer.toString())
      },
      isSuspect: liveness.isSuspect
    }
  })
  life = createConnectionLife({
    libp2p,
    anchors,
    liveness,
    connect: paths.connect,
    onNetworkChange() {
      node.hardPunch?.networkChanged()
      node.dcutr?.networkChanged()
      reachability.networkChanged()
    },
    ...(options.life ? { limits: options.life } : {}),
    ...(options.readInterfaces ? { readInterfaces: options.readInterfaces } : {}),
    log
  })
  const reachability = createReachability({
    libp2p,
    parts: node.parts,
    announced: options.announced ?? [],
    portMapping: options.portMapping ?? false,
    detectKind: options.detectKind ?? node.hardPunch?.detect,
    isOwnPort: connection => node.parts.transportManager.getTransports().some(leftFromPunchPort(connection)),
    log
  })
  const asker: Asker = createAsker(paths, timings)
  const url = `/p2p/${identity.peerId}`
  /** Peers with a connection to us: they proved who they are. */
  const connected = new Set<string>()
  const isMember = memberTest(options.members)
  const standing = (peerId: string): Standing => {
    if (isMember(peerId)) return STANDING.member
    return connected.has(peerId) ? STANDING.connected : STANDING.stranger
  }
  const announcements = createAnnouncements({
    libp2p,
    own: own === null ? null : () => ({ ...own, shards: [...own.shards], url }),
    identity,
    isAnchor: peerId => anchors.states().some(anchor => anchor.peerId === peerId),
    standing,
    ...(options.onAnnouncement ? { onHeard: options.onAnnouncement } : {}),
    log
  })
  const reports = new Map<string, HealthReport>()
  // The words are those the ByteCave document has its operators look for.
  const onConnect = ({ detail }: CustomEvent<PeerId>) => {
    connected.add(detail.toString())
    log.info(firstConnection(detail), 'Peer connected')
  }
  const onDisconnect = ({ detail }: CustomEvent<PeerId>) => {
    connected.delete(detail.toString())
    log.info({ peer: detail.toString() }, 'Peer disconnected')
  }
  const firstConnection = (peer: PeerId): Record<string, unknown> => {
    const [connection] = libp2p.getConnections(peer)
    const path = connection === undefined ? {} : { direct: connection.direct, address: String(connection.remoteAddr) }
    return { peer: peer.toString(), ...path }
  }
  const startedAtMs = performance.now()
  let facts: (() => HealthFacts) | undefined
  const heartbeats = createHeartbeats({ libp2p, identity, own: ownHeartbeat, standing, log })
  let serving: Awaited<ReturnType<typeof serveProtocols>> | undefined

  function member({ nodeId, peerId, owner, url: at }: RegisteredNode): Member {
    if (peerId === identity.peerId && own !== null) return { ...own, nodeId, owner, peerId, url: at, reachable: true }
    const facts = announcements.of(peerId) ?? reports.get(peerId)
    const shardCount = facts?.shardCount ?? own?.shardCount ?? DEFAULT_SHARD_COUNT
    return {
      nodeId,
      peerId,
      owner,
      url: at,
      shards: facts?.shards ?? [{ start: 0, end: shardCount - 1 }],
      shardCount,
      // Nodes nothing is known of share no failure group with anybody.
      failureGroup: facts?.failureGroup || peerId,
      reachable: paths.reachable(peerId)
    }
  }

  function members(): Member[] {
    const registered = options.members?.nodes() ?? null
    if (registered !== null) return registered.map(member)
    const self = own === null ? [] : [member({ ...own, peerId: identity.peerId, url })]
    // With a chain that cannot be read yet, announcements are not enough to be trusted with a replica.
    return options.members === null ? [...self, ...announcements.all().map(member)] : self
  }

  async function health(facts: HealthFacts): Promise<HealthReport> {
    return {
      peerId: identity.peerId,
      nodeId: own?.nodeId ?? '',
      status: facts.status,
      storedBlobs: facts.storedBlobs,
      totalSize: facts.totalSize,
      uptime: Math.floor((performance.now() - startedAtMs) / SECOND_MS),
      failureGroup: own?.failureGroup ?? '',
      shards: [...(own?.shards ?? [])],
      shardCount: own?.shardCount ?? DEFAULT_SHARD_COUNT,
      multiaddrs: libp2p.getMultiaddrs().map(String),
      connections: paths.all()
    }
  }

  function ownHeartbeat(): Omit<Heartbeat, 'peerId' | 'timestamp'> | null {
    if (own === null || facts === undefined) return null
    const { status, storedBlobs, totalSize, capacityBytes = 0, underReplicated = 0 } = facts()
    const connections = paths.all()
    const direct = connections.filter(({ path }) => path === 'direct').length
    return {
      nodeId: own.nodeId,
      status: status === 'healthy' || status === 'degraded' ? status : 'unhealthy',
      uptimeS: Math.floor((performance.now() - startedAtMs) / SECOND_MS),
      storedBlobs,
      usedBytes: totalSize,
      capacityBytes,
      underReplicated,
      direct,
      relayed: connections.length - direct
    }
  }

  return {
    self: identity.peerId,
    heartbeats: heartbeats.all,
    members,
    async connect(address, { signal } = {}) {
      const limit = AbortSignal.timeout(timings.connectTimeoutMs)
      try {
        const signals = signal === undefined ? [limit] : [limit, signal]
        const connection = await libp2p.dial(multiaddr(address), { signal: AbortSignal.any(signals) })
        return describeConnection(connection)
      } catch (cause) {
        signal?.throwIfAborted()
        throw new PeerUnreachableError(address, { cause })
      }
    },
    connections: paths.all,
    anchors: anchors.states,
    announced: announcements.of,
    announceSoon: announcements.refresh,
    multiaddrs: () => libp2p.getMultiaddrs().map(String),
    activeTransfers: () => serving?.active() ?? 0,
    reachability: reachability.current,
    subscribeReachability: reachability.subscribe,
    portMapping: reachability.mapping,
    counters: () => ({ ...asker.counters(), ...life.counters(), silenced: liveness.ended() }),
    replicate: (peerId, { cid, sizeBytes, mimeType, open }, { signal }) =>
      asker.replicate(peerId, { sizeBytes, open }, { cid, mimeType, signal }),
    store(peerId, { sizeBytes, mimeType, open, openAt }, { signal } = {}) {
      const source: UploadSource = { sizeBytes, open: openAt ?? (offset => skip(open(), offset)) }
      return asker.store(peerId, source, { ...(mimeType ? { mimeType } : {}), ...(signal ? { signal } : {}) })
    },
    retrieve: (peerId, cid, range) => asker.retrieve(peerId, cid, range),
    async health(peerId, { signal } = {}) {
      const report = await asker.health(peerId, signal ? { signal } : {})
      if (report.peerId === peerId) reports.set(peerId, report)
      return report
    },
    proof: createProofAsker(paths, timings),
    async provide(cid) {
      if (libp2p.services.dht === undefined) return
      await libp2p.contentRouting.provide(CID.parse(cid), { signal: AbortSignal.timeout(PROVIDE_TIMEOUT_MS) })
    },
    async *findProviders(cid, { signal }) {
      if (libp2p.services.dht === undefined) return
      const limit = AbortSignal.any([signal, AbortSignal.timeout(PROVIDE_TIMEOUT_MS)])
      try {
        for await (const { id } of libp2p.contentRouting.findProviders(CID.parse(cid), { signal: limit })) {
          yield id.toString()
        }
      } catch (error) {
        // A look-up that ends without an answer found nobody; being told to stop is another matter.
        signal.throwIfAborted()
        log.debug({ cid, why: (error as Error).message }, 'no providers found')
      }
    },
    async serve(handlers) {
      const { health: ask, ...blobs } = handlers
      facts = ask
      serving = await serveProtocols({
        libp2p,
        handlers: { ...blobs, health: () => health(ask()) },
        limits: options.limits ?? DEFAULT_LIMITS,
        timings,
        onUse: liveness.touch,
        log
      })
    },
    async start() {
      libp2p.addEventListener('peer:connect', onConnect)
      libp2p.addEventListener('peer:disconnect', onDisconnect)
      await announcements.start()
      heartbeats.start()
      life.start()
      liveness.start()
      reachability.start()
      await node.start()
    },
    async stop() {
      libp2p.removeEventListener('peer:connect', onConnect)
      libp2p.removeEventListener('peer:disconnect', onDisconnect)
      announcements.stop()
      heartbeats.stop()
      liveness.stop()
      await Promise.all([life.stop(), reachability.stop()])
      await serving?.stop()
      await node.stop()
    }
  }
}

/** Whether the registry has a peer, as it was read last. */
function memberTest(members: MemberSource | null): (peerId: string) => boolean {
  let read: readonly RegisteredNode[] | null = null
  let ids = new Set<string>()
  return peerId => {
    const rows = members?.nodes() ?? null
    if (rows !== read) ids = new Set(rows?.map(row => row.peerId))
    read = rows
    return ids.has(peerId)
  }
}

/** Whether a transport that punches made this connection from the port it punches from. */
const leftFromPunchPort =
  (connection: Connection) =>
  (transport: Transport): boolean =>
    punchingTransport in transport && (transport as PunchingTransport).dialledFromPunchPort(connection)

/** The seed's. */
const DEFAULT_SHARD_COUNT = 1024
const PROVIDE_TIMEOUT_MS = 30_000
