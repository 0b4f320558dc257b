/**
 * Gossipsub takes what is still in the stream of a peer that has left, and notes its topics again after it forgot them:
 * for ever, because nobody says a second time that the peer is gone. A peer with a new identity for each connection could
 * have up to 1 MiB kept each time, and have a relay follow topics on account of nobody (`follow-topics.ts`). The same holds
 * for a peer that does not say that it speaks gossip: gossipsub lets go of it, hears it all the same, and when it leaves
 * takes it for one that was never there.
 */
import type { Libp2p, PeerId } from '@libp2p/interface'
import type { NetworkServices } from './libp2p.ts'

/** It is its class, whose type is not exported. */
interface Peers {
  peers: Map<string, PeerId>
  peerTopicBytes: Map<string, number>
  addPeer: (peer: PeerId, ...how: unknown[]) => void
  removePeer: (peer: PeerId) => void
  handleReceivedRpc: (from: PeerId, rpc: unknown) => Promise<void>
}

/** Have gossip of peers that we have no connection to thrown away, and all that is known of them forgotten. */
export function ignoreGone(libp2p: Libp2p<NetworkServices>): void {
  const pubsub = libp2p.services.pubsub as unknown as Peers
  const isHere = (peer: PeerId) => libp2p.getConnections(peer).length > 0
  const take = pubsub.handleReceivedRpc.bind(pubsub)
  pubsub.handleReceivedRpc = async (from, rpc) => {
    if (isHere(from)) await take(from, rpc)
  }
  const add = pubsub.addPeer.bind(pubsub)
  pubsub.addPeer = (peer, ...how) => {
    if (isHere(peer)) add(peer, ...how)
  }
  libp2p.addEventListener('peer:disconnect', ({ detail: peer }) => {
    const name = peer.toString()
    if (!pubsub.peers.has(name) && !pubsub.peerTopicBytes.has(name)) return
    // Of one that it does not know it would forget nothing.
    pubsub.peers.set(name, peer)
    pubsub.removePeer(peer)
  })
}
