/**
 * What whoever coordinates a punch (DCUtR, the hard pairs) asks of a transport, and what a transport promises. The two
 * sides of this file know nothing else of each other.
 */
import type { Socket } from 'node:dgram'
import type { AbortOptions, Connection, Transport } from '@libp2p/interface'
import type { Multiaddr } from '@multiformats/multiaddr'

/** Mark of a transport that punches: `punchingTransport in transport`. */
export const punchingTransport = Symbol.for('@warren/punching-transport')

export interface PunchOptions extends AbortOptions {
  /**
   * Who is client of the handshakes: in DCUtR the peer that dialled through the relay and hears SYNC. Both sides of a
   * pair call `punch` at the same time, one with true and one with false.
   */
  initiator: boolean
  /** Ends the attempt, never the connection it made. */
  signal: AbortSignal
}

export interface PunchingTransport extends Transport {
  [punchingTransport]: true
  /** `tcp` or `quic-v1`: what the observed addresses that it can use are of. */
  punchProtocol: 'tcp' | 'quic-v1'
  /**
   * Open the own NAT towards an address of the peer (with its peer id) and resolve with the direct, upgraded connection,
   * whichever side's packets made it. Includes peer-reflexive addresses: ports that the peer turns out to come from.
   * @throws PunchFailedError with a named cause; nothing of the attempt stays open
   */
  punch: (address: Multiaddr, options: PunchOptions) => Promise<Connection>
  /**
   * Whether an address a peer observed of ours was sent from the port that `punch` sends from. Observations of
   * connections that left from another port say nothing of it.
   * @param connection the outbound connection whose far end observed us
   */
  dialledFromPunchPort: (connection: Connection) => boolean
}

/** QUIC only: a UDP socket that has already met the peer becomes the way to it. */
export interface AdoptingTransport extends PunchingTransport {
  /**
   * From now on everything to and from this address of the peer passes by `socket`, until the flow ends or stays idle.
   * Both ends adopt before either dials.
   * @param isPunch tells datagrams of the punch itself, which late ones may still be, from QUIC
   */
  adopt: (socket: Socket, remote: { host: string; port: number }, isPunch: (datagram: Uint8Array) => boolean) => void
}
