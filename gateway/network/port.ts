/** What the gateway needs of the network; `connect.ts` makes one of the client. */
import type { Connectivity, Gossip } from '../../node/index.ts'
import type { BlobNetwork } from '../storage/blobs.ts'
import type { Connection, HostObservation } from './hosts.types.ts'

export interface PeerFact {
  id: string
  addresses: readonly string[]
  connected: boolean
  /** Now while a connection is open; null when none was. */
  lastSeenAt: Date | null
}

export interface NetworkPort {
  /** Own peer id. */
  readonly peerId: string
  readonly blobs: BlobNetwork
  readonly gossip: Gossip
  /** Every registered or announced storage node, asked how it is. A silent one takes some seconds. */
  observeNodes: () => Promise<readonly HostObservation[]>
  /** Own open connections. */
  connections: () => readonly Connection[]
  /** Relays and bootstrap peers: it keeps a connection to each. */
  anchors: () => ReadonlyArray<{ peerId: string; connected: boolean }>
  /** Peers with a connection, and those that should have one. */
  peers: () => readonly PeerFact[]
  /** What is missing now, in plain words; empty when all is well. */
  waiting: () => readonly string[]
  /** The same until it was up once: a gateway that has started goes on serving what it can. */
  starting: () => readonly string[]
  /** How the gateway is reached, and what became of its connections. */
  readonly connectivity: Connectivity
  close: () => Promise<void>
}
