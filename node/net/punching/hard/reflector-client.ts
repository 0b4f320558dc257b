/** What a peer learns from the relays it is connected to: their reflectors, and where they see whom. */
import type { Connection, Libp2p } from '@libp2p/interface'
import { isPrivateIp } from '@libp2p/utils'
import type { ReflectorPlace } from './observe.ts'
import {
  addressReply,
  ipv4Of,
  permitReply,
  REFLECTOR_PROTOCOL,
  reflectorReply,
  talkToRelay
} from './reflector-protocol.ts'

export interface ReflectorClient {
  /**
   * The reflectors of our relays, as far as we have direct IPv4 connections to them, that of `first` in front; those that
   * do not answer are left out. Never rejects but with the signal's reason.
   */
  places: (options: { signal: AbortSignal; first?: string }) => Promise<ReflectorPlace[]>
  /**
   * Let `peerId` learn from this relay where it sees us, and learn where it sees the peer.
   * @throws when the relay is none of ours or cannot be asked, or the signal's reason
   */
  consent: (relay: string, peerId: string, signal: AbortSignal) => Promise<Consent>
}

/** A relay that told the peer may learn of us. */
export interface Consent {
  /** Where the relay sees the peer, once that permitted it too; null when it does not say. */
  address: () => Promise<string | null>
  end: () => void
}

/** Relays whose reflectors are used, and addresses of one of them. */
const MAX_RELAYS = 4
const MAX_PLACES_PER_RELAY = 2
/** A token is used for this share of its time, whatever short one a relay names: for this long at least. */
const USED_SHARE = 0.5
const LEAST_USED_MS = 30_000

/**
 * Which of the addresses that a relay names for its reflector are asked: the one we reach it at, and public ones of a relay
 * that is public itself. Without names it is the one we reach it at.
 */
export function usableHosts(named: readonly string[], remote: string): string[] {
  if (named.length === 0) return [remote]
  const isPublic = (host: string): boolean => isPrivateIp(host) === false
  return [...new Set(named)]
    .filter(host => host === remote || (isPublic(remote) && isPublic(host)))
    .slice(0, MAX_PLACES_PER_RELAY)
}

/** The places of the first relays that have any, by relay: one with two addresses takes no other relay's part. */
export function ofFirstRelays<P>(byRelay: readonly P[][]): P[] {
  return byRelay
    .filter(places => places.length > 0)
    .slice(0, MAX_RELAYS)
    .flat()
}

/**
 * @param options.isRelay whether a peer is one of the relays that were configured here: any other could claim the protocol
 * and name targets for our datagrams
 */
export function createReflectorClient(
  libp2p: Pick<Libp2p, 'getConnections' | 'peerStore'>,
  { isRelay }: { isRelay: (peerId: string) => boolean }
): ReflectorClient {
  /** By connection: another connection may be to a relay that restarted, with another secret. */
  const known = new WeakMap<Connection, { places: ReflectorPlace[]; untilMs: number }>()

  function direct(): Connection[] {
    return libp2p
      .getConnections()
      .filter(({ direct, status, remoteAddr }) => direct && status === 'open' && ipv4Of(remoteAddr) !== null)
      .filter(({ remotePeer }) => isRelay(String(remotePeer)))
  }

  function to(relay: string): Connection {
    const connection = direct().find(({ remotePeer }) => String(remotePeer) === relay)
    if (connection === undefined)
      throw new Error(`There is no direct IPv4 connection to a relay of ours with the id ${relay}.`)
    return connection
  }

  async function placesOf(connection: Connection, signal: AbortSignal): Promise<ReflectorPlace[]> {
    const cached = known.get(connection)
    if (cached !== undefined && cached.untilMs > performance.now()) return cached.places
    const { protocols } = await libp2p.peerStore.get(connection.remotePeer, { signal })
    if (!protocols.includes(REFLECTOR_PROTOCOL)) return []
    const talk = await talkToRelay(connection, signal)
    const { ports, hosts, hasOtherAddress, token, ttlMs } = await talk
      .ask({ ask: 'reflector' }, reflectorReply, signal)
      .finally(talk.end)
    const places = usableHosts(hosts, ipv4Of(connection.remoteAddr)!).map((host, nth) => ({
      host,
      ports,
      hasOtherAddress: hasOtherAddress && nth === 0,
      token: Uint8Array.from(Buffer.from(token, 'hex'))
    }))
    known.set(connection, { places, untilMs: performance.now() + Math.max(LEAST_USED_MS, ttlMs * USED_SHARE) })
    return places
  }

  return {
    async places({ signal, first }) {
      const byRelay = new Map(direct().map(connection => [String(connection.remotePeer), connection]))
      const relays = [...byRelay].sort(([a], [b]) => Number(b === first) - Number(a === first))
      const asked = await Promise.allSettled(relays.map(([, connection]) => placesOf(connection, signal)))
      signal.throwIfAborted()
      return ofFirstRelays(asked.map(answer => (answer.status === 'fulfilled' ? answer.value : [])))
    },
    async consent(relay, peerId, signal) {
      const talk = await talkToRelay(to(relay), signal)
      try {
        await talk.ask({ ask: 'permit', peer: peerId }, permitReply, signal)
      } catch (error) {
        talk.end()
        throw error
      }
      return {
        async address() {
          try {
            return (await talk.ask({ ask: 'address', peer: peerId }, addressReply, signal)).host
          } catch {
            signal.throwIfAborted()
            return null
          }
        },
        end: talk.end
      }
    }
  }
}
