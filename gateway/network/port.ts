/** What the gateway needs of the network; `connect.ts` makes one of the client. */
import type { BlobNetwork } from '../storage/blobs.ts'
import type { Connection, HostObservation } from './hosts.types.ts'

export interface PeerFact {
  id: string
  addresses: readonly string[]
  connected: boolean
  lastSeenAt: Date
}

export interface NetworkPort {
  /** Own peer id. */
  readonly peerId: string
  /** Own multiaddrs. */
  addresses: () => readonly string[]
  readonly blobs: BlobNetwork
  /** Every registered or announced storage node, asked how it is within the deadline. */
  observeNodes: (options: { signal: AbortSignal }) => Promise<readonly HostObservation[]>
  /** Own open connections. */
  connections: () => readonly Connection[]
  /** Peers that are known, connected ones among them. */
  peers: () => Promise<readonly PeerFact[]>
  /** Whether a peer answers, over libp2p. For hosts that are no storage nodes. */
  ping: (peerId: string, options: { signal: AbortSignal }) => Promise<void>
  /** What it still waits for, in plain words; empty when it is up. */
  waiting: () => readonly string[]
  close: () => Promise<void>
}
