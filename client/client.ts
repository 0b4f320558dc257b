/** A light participant of the network: it listens on nothing, asks the DHT, and speaks to the nodes directly. */
import {
  type AnchorState,
  type ConnectionPath,
  type Connectivity,
  createGossip,
  createNetwork,
  createNetworkNode,
  createRegistry,
  type DcutrMode,
  ephemeralIdentity,
  type Gossip,
  type HardPunchConfig,
  type HealthReport,
  type Identity,
  type Log,
  type Member,
  type NetworkLimits,
  type NetworkNodeOptions,
  type RegistryState,
  silentLog,
  type Timings,
  untilAborted
} from '../node/index.ts'
import { NoNodeError } from './errors.ts'
import { type ClientStorage, createStorage } from './storage.ts'

export interface ClientOptions {
  /** Multiaddrs with peer id of relays and public nodes; at least one. */
  bootstrapPeers: readonly string[]
  /** VaultRegistry, where nodes are found. Without it, nodes are those that announce themselves. */
  registry?: { rpcUrl: string; address: `0x${string}`; pollMs?: number }
  /** Default: a new one that is forgotten with the client. */
  identity?: Identity
  /** What it is to others; `gateway` also answers autonat. Default `client`. */
  role?: 'client' | 'gateway'
  /** How relayed connections become direct ones. Default `warren`: by punching. */
  dcutr?: DcutrMode
  /** Pairs of a cone and a symmetric NAT. Default: tried. */
  hardPunch?: Partial<HardPunchConfig>
  /** Told of every punch: `createPunchCounters`. */
  punching?: NetworkNodeOptions['punching']
  limits?: NetworkLimits
  timings?: Partial<Timings>
  log?: Log
  /** Longest wait for the first node to become known, ms. Default 15 s. */
  firstNodeTimeoutMs?: number
}

/** A storage node as the client sees it. */
export interface NodeView {
  /** keccak256 of its key; its own name without a chain. */
  nodeId: string
  peerId: string
  owner: string
  url: string
  /** How this client is connected to it, or null. */
  path: 'direct' | 'relayed' | null
  /** What it said, or null when it did not answer in time. */
  health: HealthReport | null
  /** Why there is no health, or null. */
  problem: string | null
}

export interface ClientNetwork {
  /** This client and what it is connected to. */
  status: () => {
    peerId: string
    /** Peers with an open connection. */
    peers: number
    anchors: AnchorState[]
    /** null without a registry. */
    registry: RegistryState | null
    /** Nodes that are known. */
    nodes: number
  }
  /** Every open connection. */
  peers: () => ConnectionPath[]
  /** How this client is reached, and what became of its connections. */
  connectivity: Connectivity
  /** Every known node with its health report; answers are shared for two seconds. */
  nodes: (options?: { signal?: AbortSignal }) => Promise<NodeView[]>
}

export interface Client {
  readonly peerId: string
  readonly storage: ClientStorage
  readonly network: ClientNetwork
  /** Topics of our own on the gossip of all peers. */
  readonly gossip: Gossip
  close: () => Promise<void>
}

const DEFAULT_FIRST_NODE_TIMEOUT_MS = 15_000
const HEALTH_TIMEOUT_MS = 3000
const HEALTH_AT_ONCE = 16
const HEALTH_SHARED_MS = 2000
const POLL_MS = 50

/** Starts a client; it connects in the background and each call waits for what it needs. */
export async function createClient(options: ClientOptions): Promise<Client> {
  const log = options.log ?? silentLog()
  const identity = options.identity ?? (await ephemeralIdentity())
  const limits = options.limits === undefined ? {} : { limits: options.limits }
  const node = await createNetworkNode({
    role: options.role ?? 'client',
    identity,
    bootstrap: options.bootstrapPeers,
    ...(options.dcutr === undefined ? {} : { dcutr: options.dcutr }),
    ...(options.hardPunch === undefined ? {} : { hardPunch: options.hardPunch }),
    ...(options.punching === undefined ? {} : { punching: options.punching }),
    ...limits,
    log
  })
  const registry = options.registry === undefined ? null : createRegistry({ ...options.registry, log })
  const network = createNetwork({
    node,
    identity,
    own: null,
    members: registry,
    ...limits,
    ...(options.timings === undefined ? {} : { timings: options.timings }),
    log
  })
  await network.start()
  registry?.start()
  const closing = new AbortController()

  /** Waits until some node is known. */
  async function wait(signal?: AbortSignal): Promise<void> {
    const end = performance.now() + (options.firstNodeTimeoutMs ?? DEFAULT_FIRST_NODE_TIMEOUT_MS)
    while (network.members().length === 0) {
      signal?.throwIfAborted()
      closing.signal.throwIfAborted()
      if (performance.now() > end) throw new NoNodeError(registry?.state().problem ?? 'none became known')
      await new Promise(resolve => setTimeout(resolve, POLL_MS))
    }
  }

  async function view(member: Member, signal?: AbortSignal): Promise<NodeView> {
    const { nodeId, peerId, owner, url } = member
    const limit = AbortSignal.any([AbortSignal.timeout(HEALTH_TIMEOUT_MS), closing.signal, ...(signal ? [signal] : [])])
    const health = await network.health(peerId, { signal: limit }).catch((error: Error) => error)
    const paths = network.connections().filter(connection => connection.peerId === peerId)
    const path = paths.some(connection => connection.path === 'direct') ? 'direct' : (paths[0]?.path ?? null)
    return health instanceof Error
      ? { nodeId, peerId, owner, url, path, health: null, problem: health.message }
      : { nodeId, peerId, owner, url, path, health, problem: null }
  }

  async function views(signal?: AbortSignal): Promise<NodeView[]> {
    const waiting = network.members().entries()
    const found: NodeView[] = []
    const worker = async () => {
      for (const [at, member] of waiting) found[at] = await view(member, signal)
    }
    await Promise.all(Array.from({ length: HEALTH_AT_ONCE }, worker))
    return found
  }

  let shared: { views: Promise<NodeView[]>; atMs: number } | undefined
  return {
    peerId: identity.peerId,
    storage: createStorage({ network, wait }),
    gossip: createGossip(node.libp2p),
    network: {
      status: () => ({
        peerId: identity.peerId,
        peers: new Set(network.connections().map(({ peerId }) => peerId)).size,
        anchors: network.anchors(),
        registry: registry?.state() ?? null,
        nodes: network.members().length
      }),
      peers: network.connections,
      connectivity: network,
      nodes(given = {}) {
        if (shared === undefined || performance.now() - shared.atMs > HEALTH_SHARED_MS) {
          // Shared by all who ask meanwhile, so one asker's signal must not end it for the others.
          shared = { views: views(), atMs: performance.now() }
        }
        const { signal } = given
        return untilAborted(shared.views, signal)
      }
    },
    async close() {
      closing.abort()
      await registry?.stop()
      await network.stop()
    }
  }
}
