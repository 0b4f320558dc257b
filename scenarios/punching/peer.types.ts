/** What the harness and a peer of the lab say to each other: JSON over the host's HTTP port, one verb a path. */
import type { PunchTransport, Stack } from './expected.ts'
import type { SocketKind } from './process-holds.ts'

/** Milliseconds of the machine's monotonic clock, which all processes of a testnet share. */
export type ClockMs = number

export interface OpenRequest {
  /** Of this run; a peer process may hold several. */
  id: string
  stack: Stack
  /** Transports that are listened on and may be punched. */
  transports: PunchTransport[]
  /** IP version that is listened on and punched. */
  family: 4 | 6
  /** `relay`: serve circuits, of the stock stack only; the product's relay is a role of its own. */
  role: 'peer' | 'relay'
  /** Multiaddrs with peer id. */
  relays: string[]
  /** Own address, where it may be told to others. */
  publicAddress?: string
  /** TCP and UDP port to listen on; 0: any. */
  port?: number
  /** Whether the hard pairs may be tried. Default: as the product ships. */
  hardPunch?: boolean
  /** Punches under way at one time. Default: as in all of the lab. */
  punchesAtOnce?: number
  /** For a dial, and for one address of it. Default: as in all of the lab. */
  dialWithinMs?: number
  withinMs: number
}

export interface Opened {
  peerId: string
  /** Own multiaddrs, those through relays included. */
  addresses: string[]
}

export interface MeetRequest {
  id: string
  peerId: string
  /** Multiaddrs through relays. */
  via: string[]
  /** From the relayed connection on, until it must be direct. */
  withinMs: number
}

/** One connection to a peer, as it was seen. */
export interface SeenConnection {
  address: string
  isDirect: boolean
  openAtMs: ClockMs
  closedAtMs: ClockMs | null
  /**
   * Bytes that came in by it since `mark`; both sides together are what crossed the relay. Of relayed connections only:
   * QUIC does not show its own.
   */
  bytesSinceMark: number
}

export interface PeerFacts {
  connections: SeenConnection[]
  /** Punches that were begun. */
  attempts: number | null
  /** Why those that failed did, by the product's names. */
  failures: string[]
}

export interface TransferRequest {
  id: string
  peerId: string
  bytes: number
  withinMs: number
}

export interface Transferred {
  tookMs: number
  /** Of what came. */
  sha256: string
  /** Whether they are the bytes that were sent. */
  isIntact: boolean
}

/** A transfer that begins as soon as the peer is met through a relay. */
export interface MovingRequest extends TransferRequest {
  /** Multiaddrs through relays. */
  via: string[]
}

export interface Moved extends Transferred {
  /** Whether there was no direct connection yet when the first bytes came. */
  beganRelayed: boolean
  /** Bytes that came in through relays from the peer meanwhile, and while the last eighth came. */
  relayedBytes: number
  relayedBytesInLast: number
  /** Moves of a transfer to a direct connection, and goings-on after a cut, as the product counts them. */
  moves: number
  resumes: number
}

/** What a process holds, beside the harness's own connections to it. */
export interface Held {
  /** Another one is another process. */
  pid: number
  /** Peers that are open. */
  peers: number
  /** libp2p's, relays' among them; each has sockets of its own. */
  connections: number
  sockets: Record<SocketKind, number>
  /** After everything that nobody holds was collected. */
  heapBytes: number
  rssBytes: number
}

/** Requests one after another, each begun `everyMs` after the one before whether that is answered or not. */
export interface StreamRequest {
  id: string
  peerId: string
  everyMs: number
  /** A request without an answer after so long is lost. */
  answerWithinMs: number
}

export interface StreamedRequest {
  beganAtMs: ClockMs
  /** null: it was lost. */
  answeredAtMs: ClockMs | null
  /** Whether a direct connection carried it: nothing of its size came through a relay meanwhile. */
  isDirect: boolean
  /** Why it was lost. */
  problem?: string
}
