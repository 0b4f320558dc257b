/** Ways to a peer: which connection to use, how to make one, and how a connection is described. */
import type { Connection, Libp2p, PeerId, Stream } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import { CODE_P2P, CODE_P2P_CIRCUIT, type Multiaddr } from '@multiformats/multiaddr'
import { PeerUnreachableError, RequestInvalidError, TransferCutError } from '../errors.ts'
import type { Anchors } from './anchors.ts'
import type { ConnectionPath } from './protocols.ts'
import { deadline } from './timings.ts'

/** A peer whose dial failed is asked last for so long. */
const UNREACHABLE_MS = 30_000
const ROUTING_TIMEOUT_MS = 5000

export interface Paths {
  /** A connection to the peer, direct if there is one, made if there is none. */
  connect: (peerId: string, options?: { signal?: AbortSignal }) => Promise<Connection>
  /** A stream on such a connection. */
  open: (peerId: string, protocol: string, options?: { signal?: AbortSignal }) => Promise<Stream>
  /** False only while the last dial failed lately and nothing was heard since. */
  reachable: (peerId: string) => boolean
  /** Every open connection. */
  all: () => ConnectionPath[]
}

export function createPaths(libp2p: Libp2p, anchors: Anchors, connectTimeoutMs: number): Paths {
  const failedAtMs = new Map<string, number>()

  const existing = (peer: PeerId): Connection | undefined =>
    libp2p
      .getConnections(peer)
      .filter(({ status }) => status === 'open')
      .sort((a, b) => Number(b.direct) - Number(a.direct) || bytesLeft(b) - bytesLeft(a))[0]

  async function addresses(peer: PeerId): Promise<Multiaddr[]> {
    const known = await libp2p.peerStore.get(peer).then(
      found => found.addresses.map(({ multiaddr }) => multiaddr),
      () => []
    )
    return [...known.map(address => named(address, peer)), ...anchors.circuitsTo(peer.toString())]
  }

  async function dial(peer: PeerId, signal: AbortSignal): Promise<Connection> {
    const tried = await addresses(peer)
    if (tried.length > 0) {
      try {
        return await libp2p.dial(tried, { signal })
      } catch (error) {
        if (signal.aborted) throw error
      }
    }
    const found = await libp2p.peerRouting.findPeer(peer, {
      signal: AbortSignal.any([signal, AbortSignal.timeout(ROUTING_TIMEOUT_MS)])
    })
    return await libp2p.dial(
      found.multiaddrs.map(address => named(address, peer)),
      { signal }
    )
  }

  async function connect(peerId: string, options: { signal?: AbortSignal } = {}): Promise<Connection> {
    const peer = parsePeer(peerId)
    const open = existing(peer)
    if (open !== undefined) return open
    // The signal of a dial stays with the connection it made: it is only aborted while the dial runs.
    const limit = deadline(connectTimeoutMs, options.signal)
    try {
      const connection = await dial(peer, limit.signal)
      failedAtMs.delete(peerId)
      return connection
    } catch (cause) {
      const given = options.signal
      // A caller who lost interest says nothing of the peer; one whose time ran out does.
      const withdrawn = given?.aborted === true && (given.reason as Error | undefined)?.name !== 'TimeoutError'
      if (!withdrawn) failedAtMs.set(peerId, performance.now())
      given?.throwIfAborted()
      throw new PeerUnreachableError(peerId, { cause })
    } finally {
      limit.clear()
    }
  }

  return {
    connect,
    async open(peerId, protocol, options = {}) {
      const connection = await connect(peerId, options)
      try {
        return await connection.newStream(protocol, {
          runOnLimitedConnection: true,
          ...(options.signal ? { signal: options.signal } : {})
        })
      } catch (cause) {
        options.signal?.throwIfAborted()
        throw new TransferCutError(`${peerId} did not open a stream`, { cause })
      }
    },
    reachable(peerId) {
      const failed = failedAtMs.get(peerId)
      if (failed === undefined) return true
      if (performance.now() - failed > UNREACHABLE_MS || existing(parsePeer(peerId)) !== undefined) {
        failedAtMs.delete(peerId)
        return true
      }
      return false
    },
    all: () => libp2p.getConnections().map(describe)
  }
}

/** libp2p wants all addresses of one dial with the same peer id; its own store keeps them without. */
function named(address: Multiaddr, peer: PeerId): Multiaddr {
  const last = address.getComponents().at(-1)
  return last?.code === CODE_P2P ? address : address.encapsulate(`/p2p/${peer.toString()}`)
}

function bytesLeft({ limits }: Connection): number {
  return limits?.bytes === undefined ? Number.MAX_SAFE_INTEGER : Number(limits.bytes)
}

function parsePeer(peerId: string): PeerId {
  try {
    return peerIdFromString(peerId)
  } catch {
    throw new RequestInvalidError(`"${peerId.slice(0, 80)}" is not a peer id.`)
  }
}

function describe(connection: Connection): ConnectionPath {
  const addr = connection.remoteAddr.toString()
  const peerId = connection.remotePeer.toString()
  if (connection.direct) return { peerId, path: 'direct', addr }
  const parts = connection.remoteAddr.getComponents()
  const circuit = parts.findIndex(part => part.code === CODE_P2P_CIRCUIT)
  const via = parts.slice(0, circuit).findLast(part => part.code === CODE_P2P)?.value
  return { peerId, path: 'relayed', ...(via === undefined ? {} : { via }), addr }
}
