/** Ways to a peer: which connection to use, how to make one, and how a connection is described. */
import type { Connection, Libp2p, PeerId, Stream } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import { CODE_P2P, CODE_P2P_CIRCUIT, type Multiaddr } from '@multiformats/multiaddr'
import { PathMovedError, PeerUnreachableError, RequestInvalidError, TransferCutError } from '../errors.ts'
import { untilAborted } from '../until-aborted.ts'
import { relayOf } from './addresses.ts'
import type { Anchors } from './anchors.ts'
import { firstOf, type Runner } from './first-of.ts'
import type { NetworkParts } from './libp2p.ts'
import type { ConnectionPath } from './protocols.ts'
import { deadline } from './timings.ts'

/** A peer whose dial failed is asked last for so long. */
const UNREACHABLE_MS = 30_000
const ROUTING_TIMEOUT_MS = 5000
/** How long direct addresses are tried alone before a relay is asked too; js-libp2p would wait 6 s for each of them. */
const DIRECT_HEAD_START_MS = 300
/**
 * How long one relay is asked alone before the next is asked too. When all were asked and none has answered, each is
 * asked once more: a relay waits with us for a peer whose network changed, while that comes back by another connection.
 */
const NEXT_RELAY_MS = 400
/** Relays asked for one peer. */
const MAX_RELAYS_ASKED = 3
/** A peer to which a connection was open so lately may just have moved. */
const LATELY_MS = 30_000
/** Peers remembered as connected lately. */
const MAX_LATELY = 1000
/** Peers remembered as not in reach. */
export const MAX_UNREACHABLE = 1000

/** A stream and what is to be known of the connection it is on. */
export interface Opened {
  stream: Stream
  direct: boolean
  /** Aborts with a PathMovedError when the connection is relayed and a direct one is there: the request is to go on on that. */
  moved: AbortSignal
  /** Listens no longer; called when the request needs the stream no more. */
  release: () => void
}

export interface Paths {
  /** A connection to the peer, direct if there is one, made if there is none. */
  connect: (peerId: string, options?: { signal?: AbortSignal }) => Promise<Connection>
  /** A stream on such a connection. */
  open: (peerId: string, protocol: string, options?: { signal?: AbortSignal }) => Promise<Opened>
  /** False only while the last dial failed lately and nothing was heard since. */
  reachable: (peerId: string) => boolean
  /** Whether a connection to it is open or was a moment ago. */
  wasConnected: (peerId: string) => boolean
  /** Every open connection. */
  all: () => ConnectionPath[]
}

/** Told of every use of a connection, and asked which connections are better left alone. */
export interface PathUse {
  used: (connection: Connection) => void
  isSuspect: (connection: Connection) => boolean
}

export function createPaths(options: {
  libp2p: Libp2p
  parts: { transportManager: Pick<NetworkParts['transportManager'], 'dial'> }
  anchors: Pick<Anchors, 'circuitsTo'>
  connectTimeoutMs: number
  use?: PathUse
}): Paths {
  const { libp2p, parts, anchors, connectTimeoutMs, use } = options
  /** Peer id → when a dial of it failed last; in that order. */
  const failedAtMs = new Map<string, number>()
  /** Dials that are under way, by peer id; those beside a suspect connection ask relays only. */
  const full = new Map<string, Promise<Connection>>()
  const beside = new Map<string, Promise<Connection>>()
  /** Peer id → when a connection of it was used last; in that order. */
  const usedAtMs = new Map<string, number>()

  const rank = (connection: Connection): number =>
    Number(connection.direct) - 2 * Number(use?.isSuspect(connection) ?? false)
  const existing = (peer: PeerId): Connection | undefined =>
    libp2p
      .getConnections(peer)
      .filter(({ status }) => status === 'open')
      .sort((a, b) => rank(b) - rank(a) || bytesLeft(b) - bytesLeft(a))[0]

  async function addresses(peer: PeerId): Promise<{ known: Multiaddr[]; circuits: Multiaddr[] }> {
    const circuits = anchors.circuitsTo(peer.toString())
    const relays = new Set(circuits.map(relayOf))
    const stored = await libp2p.peerStore.get(peer).then(
      found => found.addresses.map(({ multiaddr }) => named(multiaddr, peer)),
      () => []
    )
    return { known: stored.filter(address => !isCircuit(address) || !relays.has(relayOf(address))), circuits }
  }

  /** Direct addresses first, then relays beside them: whoever answers first is used, a direct one that is later stays. */
  async function dial(peer: PeerId, signal: AbortSignal, relaysOnly: boolean): Promise<Connection> {
    const { known, circuits } = await addresses(peer)
    const direct = { headStartMs: DIRECT_HEAD_START_MS, run: () => libp2p.dial(known, { signal }) }
    try {
      return await firstOf(
        [
          ...(known.length === 0 || relaysOnly ? [] : [direct]),
          ...twice(circuits.slice(0, MAX_RELAYS_ASKED), (circuit, lost) =>
            throughRelay(circuit, AbortSignal.any([signal, lost]))
          )
        ],
        signal
      )
    } catch (error) {
      if (signal.aborted || relaysOnly) throw error
    }
    const found = await libp2p.peerRouting.findPeer(peer, {
      signal: AbortSignal.any([signal, AbortSignal.timeout(ROUTING_TIMEOUT_MS)])
    })
    return await libp2p.dial(
      found.multiaddrs.map(address => named(address, peer)),
      { signal }
    )
  }

  /** Through an anchor of ours. Without the dial queue, which would put this behind the peer's direct addresses. */
  async function throughRelay(circuit: Multiaddr, signal: AbortSignal): Promise<Connection> {
    const connection = await parts.transportManager.dial(circuit, { signal })
    if (signal.aborted) {
      await connection.close().catch((error: Error) => connection.abort(error))
      throw new Error('another path was faster')
    }
    return connection
  }

  async function connect(peerId: string, given: { signal?: AbortSignal } = {}): Promise<Connection> {
    const peer = parsePeer(peerId)
    const open = existing(peer)
    if (open !== undefined) {
      // By the time that it is known to be dead, another path is there. Nobody waits for that.
      if (use?.isSuspect(open) === true) dialOnce(peerId, peer, true).catch(() => undefined)
      return open
    }
    try {
      const connection = await untilAborted(dialOnce(peerId, peer), given.signal)
      failedAtMs.delete(peerId)
      return connection
    } catch (cause) {
      const { signal } = given
      // A caller who lost interest says nothing of the peer; one whose time ran out does.
      const withdrawn = signal?.aborted === true && (signal.reason as Error | undefined)?.name !== 'TimeoutError'
      if (!withdrawn) remember(failedAtMs, peerId, MAX_UNREACHABLE)
      signal?.throwIfAborted()
      throw new PeerUnreachableError(peerId, { cause })
    }
  }

  /**
   * All who want a peer at one time share one dial: each would build a circuit of its own. One by relays only is no
   * answer to who has no connection any more.
   */
  function dialOnce(peerId: string, peer: PeerId, relaysOnly = false): Promise<Connection> {
    const dialling = relaysOnly ? beside : full
    const running = full.get(peerId) ?? dialling.get(peerId)
    if (running !== undefined) return running
    // The signal of a dial stays with the connection it made: it is only aborted while the dial runs.
    const limit = deadline(connectTimeoutMs)
    const begun = dial(peer, limit.signal, relaysOnly).finally(() => {
      limit.clear()
      dialling.delete(peerId)
    })
    // Whoever asked may have left.
    begun.catch(() => undefined)
    dialling.set(peerId, begun)
    return begun
  }

  /** Tells when a relayed connection is no longer the best one to its peer. */
  function watch(connection: Connection): { moved: AbortSignal; release: () => void } {
    const controller = new AbortController()
    if (connection.direct) return { moved: controller.signal, release: () => undefined }
    const onOpen = ({ detail }: CustomEvent<Connection>) => {
      if (detail.direct && detail.remotePeer.equals(connection.remotePeer)) controller.abort(new PathMovedError())
    }
    libp2p.addEventListener('connection:open', onOpen)
    return { moved: controller.signal, release: () => libp2p.removeEventListener('connection:open', onOpen) }
  }

  return {
    connect,
    async open(peerId, protocol, given = {}) {
      const connection = await connect(peerId, given)
      use?.used(connection)
      remember(usedAtMs, peerId, MAX_LATELY)
      const watched = watch(connection)
      try {
        const stream = await connection.newStream(protocol, {
          runOnLimitedConnection: true,
          ...(given.signal ? { signal: given.signal } : {})
        })
        return { stream, direct: connection.direct, ...watched }
      } catch (cause) {
        watched.release()
        given.signal?.throwIfAborted()
        throw new TransferCutError(`${peerId} did not open a stream`, { cause })
      }
    },
    wasConnected(peerId) {
      const atMs = usedAtMs.get(peerId)
      return atMs !== undefined && performance.now() - atMs < LATELY_MS
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
    all: () => libp2p.getConnections().map(describeConnection)
  }
}

/** Asks each relay, then again those that have not answered. */
function twice<T>(
  circuits: readonly Multiaddr[],
  ask: (circuit: Multiaddr, lost: AbortSignal) => Promise<T>
): Array<Runner<T>> {
  const answers = new Map<Multiaddr, unknown>()
  const first = circuits.map(circuit => ({
    headStartMs: NEXT_RELAY_MS,
    run: async (lost: AbortSignal) => {
      const askedAtMs = performance.now()
      try {
        return await ask(circuit, lost)
      } catch (error) {
        // A late one tells that the relay had to find out: now it knows.
        if (performance.now() - askedAtMs < NEXT_RELAY_MS) answers.set(circuit, error)
        throw error
      }
    }
  }))
  const again = circuits.map(circuit => ({
    headStartMs: NEXT_RELAY_MS,
    run: async (lost: AbortSignal) => {
      if (answers.has(circuit)) throw answers.get(circuit)
      return await ask(circuit, lost)
    }
  }))
  return [...first, ...again]
}

/** Notes the time of a peer; of too many the oldest is forgotten. */
function remember(atMs: Map<string, number>, peerId: string, max: number): void {
  atMs.delete(peerId)
  atMs.set(peerId, performance.now())
  if (atMs.size > max) atMs.delete(atMs.keys().next().value!)
}

/** libp2p wants all addresses of one dial with the same peer id; its own store keeps them without. */
function named(address: Multiaddr, peer: PeerId): Multiaddr {
  const last = address.getComponents().at(-1)
  return last?.code === CODE_P2P ? address : address.encapsulate(`/p2p/${peer.toString()}`)
}

function isCircuit(address: Multiaddr): boolean {
  return address.getComponents().some(({ code }) => code === CODE_P2P_CIRCUIT)
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

/** A connection in words. */
export function describeConnection(connection: Connection): ConnectionPath {
  const addr = connection.remoteAddr.toString()
  const peerId = connection.remotePeer.toString()
  if (connection.direct) return { peerId, path: 'direct', addr }
  const via = relayOf(connection.remoteAddr)
  return { peerId, path: 'relayed', ...(via === null ? {} : { via }), addr }
}
