/** The lab of the punching scenarios: a NAT and a peer for every side of every pair, two relays, and one of stock js-libp2p. */
import { relayAddresses } from '../../compose/index.ts'
import type { Link, Plan, Topology } from '../../netem/index.ts'
import { behaviourAt, type Place, type PunchTransport } from './expected.ts'
import type { PunchingSettings } from './settings.ts'

export const STOCK_RELAY = 'stock-relay'
/** The product's relay may stand beside it on one host. */
const STOCK_RELAY_PORT = 4101
/** A client host that is this program instead. */
const PUNCHER = { CLIENT_PROGRAM: 'puncher' }

export function hostAt(side: 'a' | 'b', place: Place): string {
  return `${side}-${place}`
}

/** The network of that host; its router is `<network>-nat`. */
export function homeAt(side: 'a' | 'b', place: Place): string {
  // The longest kind leaves room for one letter; Compose keeps x- for itself.
  return `${side === 'a' ? 'p' : 'q'}-${place}`
}

export function punchingTopology({ pairs, linkMs, lossPct }: PunchingSettings): Topology {
  const link: Link | undefined = linkMs + lossPct === 0 ? undefined : { delayMs: linkMs, lossPct }
  const access = link === undefined ? {} : { link }
  const networks: Topology['networks'] = { internet: {} }
  const hosts: Topology['hosts'] = {
    'relay-1': { role: 'relay', on: 'internet' },
    'relay-2': { role: 'relay', on: 'internet' },
    [STOCK_RELAY]: { role: 'client', on: 'internet', env: PUNCHER }
  }
  for (const pair of pairs) {
    for (const side of ['a', 'b'] as const) {
      const place = pair[side]
      const host = hostAt(side, place)
      if (place === 'public') hosts[host] = { role: 'client', on: 'internet', env: PUNCHER, ...access }
      else {
        const home = homeAt(side, place)
        // Links are proved by UDP: one that lets none through could not be, so it is left perfect.
        networks[home] = { behind: 'internet', nat: place, ...(behaviourAt(place).udpBlocked ? {} : access) }
        hosts[host] = { role: 'client', on: home, env: PUNCHER }
      }
    }
  }
  return {
    name: 'hole-punching',
    description: 'A NAT and a peer for every side of every pair, two relays, and one of stock js-libp2p.',
    networks,
    hosts
  }
}

/**
 * Of the product's relays, the addresses by which a peer reaches them: those of its transports, so that only these are
 * observed and punched. Where that leaves none (QUIC alone and no UDP), by a WebSocket, which is no punch.
 */
export function relaysFor(
  plan: Plan,
  transports: readonly PunchTransport[],
  { isUdpBlocked = false, family = 4 }: { isUdpBlocked?: boolean; family?: 4 | 6 } = {}
): string[] {
  const all = relayAddresses(plan).filter(address => address.startsWith(`/ip${family}/`))
  const kindOf = (address: string): 'quic' | 'ws' | 'tcp' =>
    address.includes('/quic-v1/') ? 'quic' : address.includes('/ws/') ? 'ws' : 'tcp'
  const wanted = transports.filter(transport => !(transport === 'quic' && isUdpBlocked))
  return all.filter(address =>
    wanted.length === 0 ? kindOf(address) === 'ws' : wanted.some(transport => transport === kindOf(address))
  )
}

/** Where the stock relay listens, the peer id to be added. */
export function stockRelay(
  plan: Plan,
  transport: PunchTransport
): { address: string; port: number; multiaddr: string } {
  const { address } = plan.hosts.find(({ name }) => name === STOCK_RELAY)!.attachment
  const port = STOCK_RELAY_PORT
  const multiaddr = transport === 'tcp' ? `/ip4/${address}/tcp/${port}` : `/ip4/${address}/udp/${port}/quic-v1`
  return { address, port, multiaddr }
}
