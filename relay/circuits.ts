/**
 * The circuit relay v2 server. Reservations are js-libp2p's; what it does with a circuit is done here, because it can
 * neither hold a peer to a rate nor say how many bytes went, and buffers without bound what the far end does not take.
 *
 * https://github.com/libp2p/specs/blob/master/relay/circuit-v2.md
 */
import { type CircuitRelayService, circuitRelayServer } from '@libp2p/circuit-relay-v2'
import type { Connection, PeerId, Stream } from '@libp2p/interface'
import { peerIdFromMultihash } from '@libp2p/peer-id'
import { CODE_P2P_CIRCUIT, type Multiaddr } from '@multiformats/multiaddr'
import * as Digest from 'multiformats/hashes/digest'
import { hostOf, type Log, type RelayLimits } from '../node/index.ts'
import type { Accounting } from './accounting.ts'
import { encodeStatus, type HopStatus } from './hop-status.ts'
import { createPlaces, type Place } from './places.ts'
import type { Rates } from './rates.ts'
import { CIRCUIT_ENDS, type CircuitEnd, type Splice, splice } from './splice.ts'

/** Why a reservation or a circuit was refused. */
export const CIRCUIT_REFUSALS = [
  'reservations-full',
  'host-reservations-full',
  'no-reservation',
  'circuits-full',
  'peer-circuits-full',
  'host-circuits-full',
  'target-unreachable',
  'over-circuit',
  'malformed'
] as const
export type CircuitRefusal = (typeof CIRCUIT_REFUSALS)[number]

export interface Circuits {
  /** For the composition of libp2p. */
  server: typeof circuitRelayServer
  /** Peers that may be reached through this relay. */
  reserved: () => string[]
  /** Circuits open now. */
  open: () => number
  /** Refused since the start. */
  refused: () => Readonly<Record<CircuitRefusal, number>>
  /** Ended since the start. */
  ended: () => Readonly<Record<CircuitEnd, number>>
  /** The peer has no connection any more: it cannot be reached, and its place is for another. */
  forget: (peerId: PeerId) => void
}

/** What of js-libp2p's server is used; it is its class, whose type is not exported. */
interface StockServer extends CircuitRelayService {
  reservationStore: {
    reservations: { values: () => Iterable<StockReservation> }
    reserve: (peerId: PeerId, address: Multiaddr, ...rest: unknown[]) => { status: string }
    get: (peerId: PeerId) => StockReservation | undefined
    removeReservation: (peerId: PeerId) => void
  }
  shutdownController: AbortController
  stopHop: (
    request: { connection: Pick<Connection, 'remotePeer' | 'newStream'>; request: object },
    options: { signal: AbortSignal }
  ) => Promise<Stream | undefined>
  handleConnect: (hop: Hop, options: { signal: AbortSignal }) => Promise<void>
}

interface StockReservation {
  limit?: { data?: bigint; duration?: number }
  signal: AbortSignal & { clear: () => void }
}

/** A CONNECT as js-libp2p's server gives it on. */
interface Hop {
  stream: {
    pb: (codec: { encode: (bytes: Uint8Array) => Uint8Array; decode: (bytes: Uint8Array) => Uint8Array }) => {
      write: (bytes: Uint8Array, options?: { signal: AbortSignal }) => Promise<void>
    }
    unwrap: () => Stream
  }
  connection: Connection
  request: { peer?: { id: Uint8Array } }
}

const AS_IT_IS = { encode: (bytes: Uint8Array) => bytes, decode: (bytes: Uint8Array) => bytes }
const SECOND_MS = 1000

export function createCircuits(options: {
  limits: RelayLimits
  rates: Rates
  accounting: Accounting
  log: Log
}): Circuits {
  const { limits, rates, accounting, log } = options
  const limit = { duration: Math.ceil(limits.circuitDurationMs / SECOND_MS), data: BigInt(limits.circuitDataBytes) }
  const refusals = zeros(CIRCUIT_REFUSALS)
  const ends = zeros(CIRCUIT_ENDS)
  /** Of circuits that are open or being built. */
  const places = createPlaces({
    total: limits.circuits,
    perPeer: limits.hopStreams,
    perHost: limits.circuitsPerHost,
    idleMs: limits.circuitIdleMs,
    staleMs: limits.circuitStaleMs
  })
  /** From which host each reservation was made or last renewed. */
  const hosts = new WeakMap<StockReservation, string>()
  let open = 0
  let stock: StockServer | undefined

  function reservedAt(reservations: Iterable<StockReservation>, host: string): number {
    let count = 0
    for (const reservation of reservations) if (hosts.get(reservation) === host) count++
    return count
  }

  async function connect(server: StockServer, connections: ConnectionsOf, hop: Hop, signal: AbortSignal) {
    const answer = (status: HopStatus) => {
      const told = encodeStatus(status, status === 'OK' ? limit : undefined)
      return hop.stream.pb(AS_IT_IS).write(told, { signal })
    }
    const refuse = async (why: CircuitRefusal, status: HopStatus) => {
      refusals[why]++
      await answer(status)
      await hop.stream.unwrap().close({ signal })
    }
    const from = hop.connection.remotePeer.toString()
    if (isCircuit(hop.connection)) return await refuse('over-circuit', 'PERMISSION_DENIED')
    const target = targetOf(hop)
    if (target === null) return await refuse('malformed', 'MALFORMED_MESSAGE')
    // First, because looking for a connection that lives makes us ask the target for signs of life.
    if (server.reservationStore.get(target) === undefined) return await refuse('no-reservation', 'NO_RESERVATION')
    const connection = usable(connections(target))
    if (connection === undefined) return await refuse('no-reservation', 'NO_RESERVATION')
    const building = new AbortController()
    let carried: Splice | undefined
    const place = places.take(from, hostOf(hop.connection.remoteAddr), {
      reclaim() {
        if (carried === undefined) building.abort(new Error('its place went to another'))
        else carried.cut('reclaimed')
      },
      hasWaiting: () => carried?.hasWaiting() ?? false
    })
    if (typeof place === 'string') return await refuse(place, 'RESOURCE_LIMIT_EXCEEDED')
    try {
      const far = await reach(server, connection, hop, AbortSignal.any([signal, building.signal]))
      if (far === null) return await refuse('target-unreachable', 'CONNECTION_FAILED')
      try {
        building.signal.throwIfAborted()
        await answer('OK')
        building.signal.throwIfAborted()
      } catch (error) {
        far.abort(error as Error)
        throw error
      }
      carried = carry([hop.stream.unwrap(), far], from, target.toString(), place, server.shutdownController.signal)
    } finally {
      if (carried === undefined) place.leave()
    }
  }

  /** The stream to whom the circuit leads, or null when it does not answer. */
  async function reach(server: StockServer, connection: Connection, hop: Hop, signal: AbortSignal) {
    const peer = { id: hop.connection.remotePeer.toMultihash().bytes, addrs: [] }
    let asked: Stream | undefined
    const asking = {
      remotePeer: connection.remotePeer,
      newStream: async (...args: Parameters<Connection['newStream']>) => {
        asked = await connection.newStream(...args)
        return asked
      }
    }
    try {
      const far = await server.stopHop({ connection: asking, request: { type: 'CONNECT', peer, limit } }, { signal })
      if (far !== undefined) return far
      throw new Error('it took no circuit')
    } catch (error) {
      // js-libp2p leaves it open when the time is over, and the peer could fill it.
      asked?.abort(error as Error)
      log.debug({ peer: connection.remotePeer.toString(), why: (error as Error).message }, 'no circuit to it')
      return null
    }
  }

  function carry(
    streams: readonly [Stream, Stream],
    from: string,
    to: string,
    place: Place,
    signal: AbortSignal
  ): Splice {
    const session = accounting.open(from, to)
    open++
    return splice({
      ends: streams,
      maxBytes: limits.circuitDataBytes,
      durationMs: limits.circuitDurationMs,
      stallMs: limits.circuitStallMs,
      signal,
      onBytes(end, bytes) {
        place.touch()
        session.add(end, bytes)
        const [sender, receiver] = end === 0 ? [from, to] : [to, from]
        return Math.max(rates.take(sender, 'up', bytes), rates.take(receiver, 'down', bytes))
      },
      onEnd(why) {
        open--
        ends[why]++
        session.close(why)
        place.leave()
      }
    })
  }

  return {
    server: init => components => {
      const server = circuitRelayServer({
        ...init,
        // Told to peers as it is, where the protocol has seconds; the time itself is kept by `splice`.
        reservations: { ...init?.reservations, defaultDurationLimit: limit.duration }
      })(components) as StockServer
      const connections: ConnectionsOf = peerId => components.connectionManager.getConnections(peerId)
      server.handleConnect = (hop, { signal }) => connect(server, connections, hop, signal)
      const reserve = server.reservationStore.reserve.bind(server.reservationStore)
      server.reservationStore.reserve = (peerId, address, ...rest) => {
        const { reservationStore: store } = server
        const host = hostOf(address)
        const known = store.get(peerId)
        // Renewed from where it was made it takes no other place.
        const isNewThere = known === undefined || hosts.get(known) !== host
        if (isNewThere && reservedAt(store.reservations.values(), host) >= limits.reservationsPerHost) {
          refusals['host-reservations-full']++
          return { status: 'RESERVATION_REFUSED' }
        }
        const result = reserve(peerId, address, ...rest)
        if (result.status !== 'OK') refusals['reservations-full']++
        const made = store.get(peerId)
        if (made !== undefined && result.status === 'OK') hosts.set(made, host)
        return result
      }
      stock = server
      return server
    },
    reserved: () => (stock === undefined ? [] : [...stock.reservations.keys()].map(String)),
    open: () => open,
    refused: () => refusals,
    ended: () => ends,
    forget(peerId) {
      // Else its end would, hours later, take away the reservation that the peer made meanwhile.
      stock?.reservationStore.get(peerId)?.signal.clear()
      stock?.reservationStore.removeReservation(peerId)
    }
  }
}

type ConnectionsOf = (peerId: PeerId) => Connection[]

const zeros = <K extends string>(keys: readonly K[]) =>
  Object.fromEntries(keys.map(key => [key, 0])) as Record<K, number>

const isCircuit = ({ remoteAddr }: Connection) =>
  remoteAddr.getComponents().some(({ code }) => code === CODE_P2P_CIRCUIT)

/** The composition of libp2p lists first which is not suspect and newest: older ones of a peer that moved may be dead. */
function usable(connections: Connection[]): Connection | undefined {
  return connections.find(connection => connection.status === 'open' && !isCircuit(connection))
}

function targetOf({ request }: Hop): PeerId | null {
  try {
    return request.peer === undefined ? null : peerIdFromMultihash(Digest.decode(request.peer.id) as never)
  } catch {
    return null
  }
}
