/**
 * Hole punching in a js-libp2p program of your own: two transports and a service, handed to createLibp2p.
 *
 *   node examples/punch.ts <relay multiaddr>             waits to be dialled and prints its peer id
 *   node examples/punch.ts <relay multiaddr> <peer id>   dials that peer through the relay
 *
 * Both print the direct connection when it is there. The relay is any circuit relay v2 with a public address.
 */
import { circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { identify } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { type DcutrInit, dcutr, punchingQuic, punchingTcp } from '../client/index.ts'

/** A started peer that punches; it listens for QUIC and through the relay. */
export async function startPeer(relay: string, init: DcutrInit = {}) {
  return await createLibp2p({
    addresses: { listen: ['/ip4/0.0.0.0/udp/0/quic-v1', `${relay}/p2p-circuit`] },
    transports: [punchingTcp(), punchingQuic(), circuitRelayTransport()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    // Relays by private addresses are dialled too; what is punched is public unless `isUsable` says otherwise.
    connectionGater: { denyDialMultiaddr: () => false },
    services: { identify: identify(), dcutr: dcutr(init) }
  })
}

/** Dials a peer through the relay; DCUtR, on its side, makes it direct. */
export async function dialThrough(peer: Awaited<ReturnType<typeof startPeer>>, relay: string, peerId: string) {
  return await peer.dial(multiaddr(`${relay}/p2p-circuit/p2p/${peerId}`))
}

if (import.meta.main) {
  const [relay, peerId] = process.argv.slice(2)
  if (relay === undefined) {
    process.stderr.write('usage: node examples/punch.ts <relay multiaddr> [peer id]\n')
    process.exit(2)
  }
  const peer = await startPeer(relay, {
    onDirect: (from, { remoteAddr }) => process.stdout.write(`direct to ${from} at ${remoteAddr}\n`),
    onReport: ({ transport, outcome, attempt }) => process.stderr.write(`attempt ${attempt}: ${transport} ${outcome}\n`)
  })
  process.stdout.write(`${peer.peerId}\n`)
  if (peerId !== undefined) await dialThrough(peer, relay, peerId)
}
