/** js-libp2p as its documentation composes it, nothing of ours in it: the row that must fail where upstream says so. */
import { quic } from '@chainsafe/libp2p-quic'
import { circuitRelayServer, circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { dcutr } from '@libp2p/dcutr'
import { identify } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { createLibp2p } from 'libp2p'
import type { OpenRequest } from './peer.types.ts'
import { ANY, type LabPeer, ownAddresses } from './peer-stack.ts'
import { watchConnections } from './watch.ts'

const MANY = 10_000

export async function createStockPeer(options: OpenRequest): Promise<LabPeer> {
  const { role, transports, family, relays, publicAddress } = options
  const own = (address: string): string[] => ownAddresses(options, address)
  const circuits = publicAddress === undefined ? relays.map(relay => `${relay}/p2p-circuit`) : []
  const libp2p = await createLibp2p({
    start: false,
    addresses: {
      listen: [...own(ANY[family]), ...circuits],
      announce: publicAddress === undefined ? [] : own(publicAddress)
    },
    transports: [...transports.map(transport => (transport === 'tcp' ? tcp() : quic())), circuitRelayTransport()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionManager: { inboundConnectionThreshold: MANY, maxIncomingPendingConnections: MANY },
    services: {
      identify: identify(),
      ping: ping(),
      dcutr: dcutr(),
      ...(role === 'relay' ? { relay: circuitRelayServer({ reservations: { maxReservations: MANY } }) } : {})
    }
  })
  const watch = watchConnections(libp2p)
  return {
    libp2p,
    watch,
    network: null,
    facts: () => ({ attempts: null, failures: [] }),
    isReady: () => relays.length === 0 || publicAddress !== undefined || throughRelays(libp2p).length > 0,
    isPunching: () => null,
    mostPunches: () => null,
    settle: async () => undefined,
    start: async () => await libp2p.start(),
    stop: async () => await libp2p.stop()
  }
}

function throughRelays(libp2p: LabPeer['libp2p']): string[] {
  return libp2p
    .getMultiaddrs()
    .map(String)
    .filter(address => address.includes('/p2p-circuit'))
}
