/** The network as a page sees it: relays it is connected to, the nodes they know, and blobs to and from those. */
import { circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { identify } from '@libp2p/identify'
import type { Connection, Libp2p, ServiceMap } from '@libp2p/interface'
import { noise } from '@libp2p/noise'
import { peerIdFromString } from '@libp2p/peer-id'
import { ping } from '@libp2p/ping'
import { webSockets } from '@libp2p/websockets'
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import {
  askPeerDirectory,
  createAsker,
  createPaths,
  DEFAULT_TIMINGS,
  type DirectoryAnswer,
  type DirectoryPeer,
  skip,
  steadyYamux,
  type Timings,
  untilAborted,
  wait
} from '../../node/portable.ts'
import { NoNodeError, RelayUnreachableError } from '../errors.ts'
import type { StorageNetwork } from '../storage.ts'
import { dialRule, type RelayPlace } from './relays.ts'

const KIB = 1024
const MIB = 1024 * KIB
/** Connections of a page at once: its relays and some nodes. */
const MAX_CONNECTIONS = 64
const MAX_PARALLEL_DIALS = 16
const MAX_DIAL_QUEUE = 128
const MAX_STREAMS_PER_CONNECTION = 256
/** Those of the nodes, by default. */
const INITIAL_WINDOW_BYTES = 256 * KIB
const MAX_WINDOW_BYTES = 2 * MIB
const MAX_MESSAGE_BYTES = 64 * KIB
const READ_BUFFER_BYTES = 4 * MIB
const WRITE_BUFFER_BYTES = 8 * MIB
const STREAM_INACTIVITY_MS = 120_000
/** Nodes that are kept of all directories, those seen last. */
const MAX_NODES = 1000
/** Addresses of one node that are kept. */
const MAX_NODE_ADDRESSES = 16
/** A node that its relay heard of no longer ago than this is probably up: it says so every minute. */
const LATELY_MS = 70_000
/** What relays said is asked again after so long. */
const DIRECTORY_LIFE_MS = 10_000
/** A relay that knows no node yet is asked again. */
const ASK_AGAIN_MS = 500

/** A storage node as the page sees it. */
export interface BrowserNode {
  peerId: string
  /** What it calls itself. */
  nodeId: string
  /** Whether a relay vouches for it: by the chain's registry, where it reads one. */
  isRegistered: boolean
  /** When a relay last heard of it, ms since the epoch, by the relay's clock. */
  lastSeen: number
  /** Where it says it is reached. */
  multiaddrs: readonly string[]
  /** How this client is connected to it, or null. */
  path: 'direct' | 'relayed' | null
}

export interface BrowserNetwork extends StorageNetwork {
  /** What the relays know now. @throws RelayUnreachableError */
  nodes: (signal?: AbortSignal) => Promise<BrowserNode[]>
  /** Resolves when a node is known. @throws NoNodeError when none is after `timeoutMs`, RelayUnreachableError */
  ready: (timeoutMs: number, signal?: AbortSignal) => Promise<void>
  stop: () => Promise<void>
}

/** What a relay said of a node, and whether it had heard of it lately then. */
type Known = DirectoryPeer & { isLately: boolean }

interface Services extends ServiceMap {
  parts: Parts
}
/** The part of libp2p's inside that circuits are dialled with. */
interface Parts {
  transportManager: { dial: (address: Multiaddr, options: { signal: AbortSignal }) => Promise<Connection> }
}

/** Starts; resolves when one relay is connected. @throws RelayUnreachableError when none can be */
export async function createBrowserNetwork(options: {
  relays: readonly RelayPlace[]
  timings?: Partial<Timings>
  signal?: AbortSignal
}): Promise<BrowserNetwork> {
  const { relays } = options
  const timings: Timings = { ...DEFAULT_TIMINGS, ...options.timings }
  const libp2p = await compose(relays)
  const known = new Map<string, Known>()
  let asked: { answer: Promise<void>; atMs: number } | undefined

  const connectionTo = (peerId: string): Connection | undefined =>
    libp2p.getConnections(peerIdFromString(peerId)).find(({ direct, status }) => direct && status === 'open')
  const paths = createPaths({
    libp2p,
    parts: libp2p.services.parts,
    anchors: {
      circuitsTo: peerId =>
        relays
          .map(relay => ({ relay, connected: connectionTo(relay.peerId) !== undefined }))
          .sort((a, b) => Number(b.connected) - Number(a.connected))
          .map(({ relay }) => relay.addresses[0]!.encapsulate(`/p2p-circuit/p2p/${peerId}`))
    },
    connectTimeoutMs: timings.connectTimeoutMs
  })
  const asker = createAsker(paths, timings)

  async function connect(relay: RelayPlace, signal: AbortSignal): Promise<Connection> {
    return connectionTo(relay.peerId) ?? (await libp2p.dial([...relay.addresses], { signal }))
  }

  function learn({ peers, timestamp }: DirectoryAnswer): void {
    for (const peer of peers) {
      const before = known.get(peer.peerId)
      if (peer.peerId === libp2p.peerId.toString() || (before !== undefined && before.lastSeen > peer.lastSeen))
        continue
      known.delete(peer.peerId)
      const multiaddrs = peer.multiaddrs.slice(0, MAX_NODE_ADDRESSES)
      known.set(peer.peerId, { ...peer, multiaddrs, isLately: timestamp - peer.lastSeen < LATELY_MS })
    }
    const spare = [...known.values()].sort((a, b) => b.lastSeen - a.lastSeen).slice(MAX_NODES)
    for (const { peerId } of spare) known.delete(peerId)
  }

  /** Asks all relays; those that nobody knows any more are forgotten once all of them answered. */
  async function askAll(): Promise<void> {
    const answers = await Promise.allSettled(
      relays.map(async relay => {
        const signal = AbortSignal.timeout(timings.connectTimeoutMs)
        return await askPeerDirectory(await connect(relay, signal), { signal })
      })
    )
    const told = answers.flatMap(answer => (answer.status === 'fulfilled' ? [answer.value] : []))
    const failures = answers.flatMap(answer => (answer.status === 'rejected' ? [answer.reason as Error] : []))
    if (failures.length === relays.length) throw unreachable(failures)
    if (failures.length === 0) known.clear()
    for (const answer of told) learn(answer)
    await Promise.all([...known.values()].map(peer => remember(libp2p, peer)))
  }

  /** All who ask at one time share an answer; one's signal ends only its own waiting. */
  async function refresh(maxAgeMs: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted()
    if (asked === undefined || performance.now() - asked.atMs > maxAgeMs) {
      const answer = askAll()
      asked = { answer, atMs: performance.now() }
      answer.catch(() => {
        asked = undefined
      })
    }
    await untilAborted(asked.answer, signal)
  }

  const network: BrowserNetwork = {
    self: libp2p.peerId.toString(),
    members: () =>
      [...known.values()].map(({ peerId, isLately }) => ({ peerId, reachable: isLately && paths.reachable(peerId) })),
    connections: paths.all,
    store(peerId, { sizeBytes, mimeType, open, openAt }, { signal } = {}) {
      const source = { sizeBytes, open: openAt ?? ((offset: number) => skip(open(), offset)) }
      return asker.store(peerId, source, { ...(mimeType ? { mimeType } : {}), ...(signal ? { signal } : {}) })
    },
    retrieve: (peerId, cid, range) => asker.retrieve(peerId, cid, range),
    async nodes(signal) {
      await refresh(0, signal)
      const connected = new Map(paths.all().map(({ peerId, path }) => [peerId, path]))
      for (const { peerId, path } of paths.all()) if (path === 'direct') connected.set(peerId, path)
      return [...known.values()]
        .sort((a, b) => b.lastSeen - a.lastSeen)
        .map(({ peerId, nodeId, isRegistered, lastSeen, multiaddrs }) => {
          return { peerId, nodeId, isRegistered, lastSeen, multiaddrs, path: connected.get(peerId) ?? null }
        })
    },
    async ready(timeoutMs, signal) {
      const end = performance.now() + timeoutMs
      for (let maxAgeMs = DIRECTORY_LIFE_MS; ; maxAgeMs = 0) {
        try {
          await refresh(maxAgeMs, signal)
        } catch (error) {
          // Relays that are away hide no node that is known already.
          signal?.throwIfAborted()
          if (known.size === 0) throw error
        }
        if (known.size > 0) return
        if (performance.now() > end) throw new NoNodeError('the relays know none')
        await wait(ASK_AGAIN_MS, signal)
      }
    },
    async stop() {
      await libp2p.stop()
    }
  }

  try {
    const limit = AbortSignal.timeout(timings.connectTimeoutMs)
    const signal = options.signal === undefined ? limit : AbortSignal.any([limit, options.signal])
    await libp2p.start()
    await untilAborted(
      Promise.any(relays.map(relay => connect(relay, signal))).catch((error: AggregateError) => {
        options.signal?.throwIfAborted()
        throw unreachable(error.errors as Error[])
      }),
      options.signal
    )
    return network
  } catch (error) {
    await libp2p.stop()
    throw error
  }
}

async function compose(relays: readonly RelayPlace[]): Promise<Libp2p<Services>> {
  const page = (globalThis as { location?: { protocol: string } }).location
  const isDenied = dialRule({ relays, isSecurePage: page?.protocol === 'https:' })
  return await createLibp2p<Services>({
    start: false,
    nodeInfo: { name: 'warren', version: '0.1.0', userAgent: 'warren/0.1.0 (browser)' },
    addresses: { listen: [] },
    transports: [webSockets(), circuitRelayTransport()],
    connectionEncrypters: [noise()],
    streamMuxers: [
      steadyYamux({
        maxInboundStreams: MAX_STREAMS_PER_CONNECTION,
        maxOutboundStreams: MAX_STREAMS_PER_CONNECTION,
        maxMessageSize: MAX_MESSAGE_BYTES,
        streamOptions: {
          initialStreamWindowSize: INITIAL_WINDOW_BYTES,
          maxStreamWindowSize: MAX_WINDOW_BYTES,
          inactivityTimeout: STREAM_INACTIVITY_MS,
          maxReadBufferLength: READ_BUFFER_BYTES,
          maxWriteBufferLength: WRITE_BUFFER_BYTES
        }
      })
    ],
    connectionGater: { denyDialMultiaddr: isDenied },
    connectionManager: {
      maxConnections: MAX_CONNECTIONS,
      maxParallelDials: MAX_PARALLEL_DIALS,
      maxDialQueueLength: MAX_DIAL_QUEUE
    },
    services: {
      identify: identify({ runOnLimitedConnection: true }),
      ping: ping({ runOnLimitedConnection: true }),
      parts: ({ transportManager }: Parts): Parts => ({ transportManager })
    } as never
  })
}

/** Where to dial a node. It is the relay's word, and leads nowhere without the node's key. */
async function remember(libp2p: Libp2p, { peerId, multiaddrs }: DirectoryPeer): Promise<void> {
  try {
    const addresses = multiaddrs.map(text => multiaddr(text))
    if (addresses.length > 0) await libp2p.peerStore.merge(peerIdFromString(peerId), { multiaddrs: addresses })
  } catch {
    // Nonsense of one entry: this node is tried through the relays alone.
  }
}

function unreachable(failures: readonly Error[]): RelayUnreachableError {
  const cause = new AggregateError(failures)
  return new RelayUnreachableError(failures.map(({ message }) => message).join('; '), { cause })
}
