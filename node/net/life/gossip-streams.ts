/**
 * Gossipsub keeps one outgoing stream a peer, on the connection it met first, and never makes another while the peer
 * stays connected. When a peer moves from a relayed connection to a direct one, or back, its stream moves by this.
 */
import type { Connection, PeerId, Stream } from '@libp2p/interface'

/** The part of gossipsub that we use; the package marks it private, and has no other way to move a stream. */
interface Gossip {
  streamsOutbound: Map<string, { rawStream: Stream; close: (options?: object) => Promise<void> }>
  createOutboundStream: (peer: PeerId, connection: Connection) => Promise<void>
}

/** Protocols whose streams stay open for as long as a connection. */
export const isGossip = (protocol: string): boolean =>
  protocol.startsWith('/meshsub/') || protocol.startsWith('/floodsub/')

/** Brings the stream of this connection's peer onto it, when gossipsub has one elsewhere or lost it. */
export async function moveGossip(pubsub: unknown, connection: Connection): Promise<void> {
  const gossip = pubsub as Partial<Gossip>
  if (gossip.streamsOutbound === undefined || gossip.createOutboundStream === undefined) return
  const peerId = connection.remotePeer.toString()
  const old = gossip.streamsOutbound.get(peerId)
  if (old !== undefined && connection.streams.includes(old.rawStream) && old.rawStream.status === 'open') return
  gossip.streamsOutbound.delete(peerId)
  await gossip.createOutboundStream(connection.remotePeer, connection)
  await old?.close({ signal: AbortSignal.timeout(CLOSE_TIMEOUT_MS) }).catch(() => undefined)
}

const CLOSE_TIMEOUT_MS = 1000
