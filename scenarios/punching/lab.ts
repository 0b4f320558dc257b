/** The lab of the punching scenarios: a NAT and a peer for every side of every pair, two relays, and one of stock js-libp2p. */
import { relayAddresses } from '../../compose/index.ts'
import type { Link, Plan, Topology } from '../../netem/index.ts'
import type { Place, PunchTransport } from './expected.ts'
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
  // The longest kind leaves room for one letter.
  return `${side === 'a' ? 'x' : 'y'}-${place}`
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
        networks[home] = { behind: 'internet', nat: place, ...access }
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

/** Of the product's relays, those that a peer reaches by the transport; where UDP is blocked, by what is no punch. */
export function relaysFor(plan: Plan, transport: PunchTransport, isUdpBlocked: boolean): string[] {
  const [wanted, other] = transport === 'quic' && !isUdpBlocked ? ['/quic-v1/', '/ws/'] : ['/tcp/', '/ws/']
  const all = relayAddresses(plan).filter(address => address.startsWith('/ip4/'))
  return transport === 'quic' && isUdpBlocked
    ? all.filter(address => address.includes('/ws/'))
    : all.filter(address => address.includes(wanted) && !address.includes(other))
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
