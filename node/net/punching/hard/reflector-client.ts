/** What a peer learns from the relays it is connected to: their reflectors, and where they see whom. */
import type { Connection, Libp2p } from '@libp2p/interface'
import { CODE_P2P, CODE_P2P_CIRCUIT, type Multiaddr } from '@multiformats/multiaddr'
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
   * The reflectors of the relays we have direct IPv4 connections to, that of `first` in front; those that do not answer
   * are left out. Never rejects but with the signal's reason.
   */
  places: (options: { signal: AbortSignal; first?: string }) => Promise<ReflectorPlace[]>
  /**
   * Let `peerId` learn from this relay where it sees us, and learn where it sees the peer.
   * @throws when the relay cannot be asked, or the signal's reason
   */
  consent: (relay: string, peerId: string, signal: AbortSignal) => Promise<Consent>
}

/** A relay that told the peer may learn of us. */
export interface Consent {
  /** Where the relay sees the peer, once that permitted it too; null when it does not say. */
  address: () => Promise<string | null>
  end: () => void
}

/** Relays asked at most. */
const MAX_RELAYS = 4
/** A token is used for this share of its time. */
const USED_SHARE = 0.5

/** The relay of a relayed connection's address; null for a direct one. */
export function relayOf(address: Multiaddr): string | null {
  const parts = address.getComponents()
  const circuit = parts.findIndex(({ code }) => code === CODE_P2P_CIRCUIT)
  return circuit < 0 ? null : (parts.slice(0, circuit).findLast(({ code }) => code === CODE_P2P)?.value ?? null)
}

export function createReflectorClient(libp2p: Pick<Libp2p, 'getConnections' | 'peerStore'>): ReflectorClient {
  /** By connection: another connection may be to a relay that restarted, with another secret. */
  const known = new WeakMap<Connection, { places: ReflectorPlace[]; untilMs: number }>()

  function direct(): Connection[] {
    return libp2p
      .getConnections()
      .filter(({ direct, status, remoteAddr }) => direct && status === 'open' && ipv4Of(remoteAddr) !== null)
  }

  function to(relay: string): Connection {
    const connection = direct().find(({ remotePeer }) => String(remotePeer) === relay)
    if (connection === undefined) throw new Error(`There is no direct IPv4 connection to the relay ${relay}.`)
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
    const all = hosts.length > 0 ? hosts : [ipv4Of(connection.remoteAddr)!]
    const places = all.map((host, nth) => ({
      host,
      ports,
      hasOtherAddress: hasOtherAddress && nth === 0,
      token: Uint8Array.from(Buffer.from(token, 'hex'))
    }))
    known.set(connection, { places, untilMs: performance.now() + ttlMs * USED_SHARE })
    return places
  }

  return {
    async places({ signal, first }) {
      const byRelay = new Map(direct().map(connection => [String(connection.remotePeer), connection]))
      const relays = [...byRelay].sort(([a], [b]) => Number(b === first) - Number(a === first))
      const answers: ReflectorPlace[] = []
      const asked = await Promise.allSettled(relays.map(([, connection]) => placesOf(connection, signal)))
      signal.throwIfAborted()
      for (const answer of asked) if (answer.status === 'fulfilled') answers.push(...answer.value)
      return answers.slice(0, MAX_RELAYS)
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
