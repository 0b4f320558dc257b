/**
 * Gossipsub takes what is still in the stream of a peer that has left, and notes its topics again after it forgot them:
 * for ever, because nobody says a second time that the peer is gone. A peer with a new identity for each connection could
 * have up to 1 MiB kept each time, and have a relay follow topics on account of nobody (`follow-topics.ts`).
 */
import type { Libp2p, PeerId } from '@libp2p/interface'
import type { NetworkServices } from './libp2p.ts'

/** It is its class, whose type is not exported. */
interface Taking {
  handleReceivedRpc: (from: PeerId, rpc: unknown) => Promise<void>
}

/** Have gossip of peers that we have no connection to thrown away. */
export function ignoreGone(libp2p: Libp2p<NetworkServices>): void {
  const pubsub = libp2p.services.pubsub as unknown as Taking
  const take = pubsub.handleReceivedRpc.bind(pubsub)
  pubsub.handleReceivedRpc = async (from, rpc) => {
    if (libp2p.getConnections(from).length > 0) await take(from, rpc)
  }
}
