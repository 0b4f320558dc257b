/** What the DCUtR service takes and gives. */
import {
  type ComponentLogger,
  type Connection,
  type ConnectionGater,
  type Libp2pEvents,
  type PeerId,
  type PeerStore,
  type StreamHandler,
  type StreamHandlerOptions,
  serviceDependencies,
  type Transport,
  type TypedEventTarget
} from '@libp2p/interface'
import type { Multiaddr } from '@multiformats/multiaddr'
import type { NetworkLimits } from '../limits.ts'
import type { PunchProtocol } from './candidates.ts'
import type { PunchOutcome } from './dcutr-errors.ts'
import type { ObservedAddresses } from './observed.ts'

/**
 * Part in a punch, by who is client of the handshakes: the initiator heard SYNC, the responder opened the stream and
 * said it. For an ordinary punch the initiator is who dialled through the relay.
 */
export type PunchRole = 'initiator' | 'responder'

/** One line for the counters: what became of one transport in one attempt. */
export interface PunchReport {
  peerId: string
  role: PunchRole
  /** `none` when the attempt ended before any transport was used. */
  transport: PunchProtocol | 'other' | 'none'
  outcome: PunchOutcome
  /** From 1; always 1 where the other side counts. */
  attempt: number
  /** From the beginning of this attempt, ms. */
  elapsedMs: number
  /** Round trip through the relay, ms, where it was measured. */
  rttMs?: number
}

/** What a method for pairs that an ordinary punch does not connect is given. */
export interface HardPunchContext {
  /** The relayed connection to the peer. */
  connection: Connection
  role: PunchRole
  signal: AbortSignal
}

export type DcutrLimits = Pick<
  NetworkLimits,
  | 'punchesAtOnce'
  | 'punchesPerPeer'
  | 'punchesPerMinute'
  | 'punchesPerHost'
  | 'punchAddresses'
  | 'punchAttempts'
  | 'punchTimeoutMs'
  | 'punchNegotiationMs'
  | 'punchUnilateralMs'
>

export interface DcutrInit {
  /** Those that are absent have their defaults from `limits.ts`. */
  limits?: Partial<DcutrLimits>
  /** Which addresses are sent and punched. Default: public ones only; a lab on loopback gives its own. */
  isUsable?: (address: Multiaddr) => boolean
  /** Observed addresses shared with somebody else, who stops them. Default: own ones. */
  observed?: ObservedAddresses
  /** A direct connection is up. The relayed one is left as it is: whoever has streams on it knows when it is idle. */
  onDirect?: (peerId: PeerId, connection: Connection) => void
  onReport?: (report: PunchReport) => void
  /**
   * Called on the side that opened the stream, with role `responder`, beside the ordinary attempts: `hardAfterMs` after
   * they began, or once they failed. The first connection ends the others. Resolves with null when the pair is none of
   * its kind.
   */
  hardPunch?: (context: HardPunchContext) => Promise<Connection | null>
  /** Default 1000. */
  hardAfterMs?: number
  /** Whether `hardPunch` goes first and the ordinary attempts follow when it gave null. Default: never. */
  isHard?: (context: HardPunchContext) => boolean
}

/** What libp2p gives a service, as far as this one needs it. */
export interface DcutrComponents {
  peerId: PeerId
  logger: ComponentLogger
  events: TypedEventTarget<Libp2pEvents>
  peerStore: PeerStore
  connectionGater: ConnectionGater
  registrar: {
    handle: (protocol: string, handler: StreamHandler, options?: StreamHandlerOptions) => Promise<void>
    unhandle: (protocol: string) => Promise<void>
  }
  addressManager: { getAddresses: () => Multiaddr[] }
  transportManager: {
    getTransports: () => Transport[]
    getAddrs: () => Multiaddr[]
    dial: (address: Multiaddr, options: { signal: AbortSignal }) => Promise<Connection>
    dialTransportForMultiaddr: (address: Multiaddr) => Transport | undefined
  }
  connectionManager: {
    getConnections: (peerId?: PeerId) => Connection[]
    openConnection: (addresses: Multiaddr[], options: { signal: AbortSignal; force: boolean }) => Promise<Connection>
  }
}

/** The service, as `libp2p.services` has it. */
export interface Dcutr {
  readonly [Symbol.toStringTag]: string
  readonly [serviceDependencies]: string[]
  readonly observed: ObservedAddresses
  /**
   * Punch now, over the relayed connection that is open, whoever dialled it: after a network change, say. Joins the
   * punch with this peer that is under way. A direct connection that is there does not count; whoever holds it for
   * dead ends it first, because its pair of ports cannot be used twice.
   * @throws DcutrError or PunchFailedError of the last attempt
   */
  repunch: (peerId: PeerId, options?: { signal?: AbortSignal }) => Promise<Connection>
  /** This machine's addresses changed: whoever can observe the new ones is asked at once. */
  networkChanged: () => void
  /** Peers with a punch under way. */
  active: () => number
  start: () => Promise<void>
  stop: () => Promise<void>
}
