/** What a slot decides: subnets and ports. Pure; tolerates topologies that are not valid. */
import { type Cidr, parseCidr } from './addresses.ts'
import type { NetworkSpec, Topology } from './topology.ts'

/** How many testnets can live side by side on one machine. */
export const SLOTS = 16
/** First control port of slot 0, on 127.0.0.1. */
export const CONTROL_PORT_BASE = 28_000
/** Control ports of one slot, so hosts of one testnet. */
export const PORTS_PER_SLOT = 256
/** The first two octets of a slot's networks behind another, by what stands at their edge. */
const LAN_OCTETS = {
  /** RFC 1918: 10.40.0.0/16 in slot 0. */
  private: (slot: number): [number, number] => [10, 40 + slot],
  /** RFC 6598, shared between a carrier and its customers: 100.64.0.0/16 in slot 0. */
  shared: (slot: number): [number, number] => [100, 64 + slot],
  /** Addresses of their own, which everyone reaches: 11.64.0.0/16 in slot 0. */
  routed: (slot: number): [number, number] => [11, 64 + slot]
}
const LAN_PREFIX_LENGTH = 24
const INTERNET_PREFIX_LENGTH = 16
/** LANs of one slot: third octets 1 to 254. */
export const MAX_LANS = 254

/** By network name, in order of declaration. A network whose fixed subnet cannot be read, or for which none is left, is not in it. */
export function subnetsOf(topology: Topology, slot: number): Map<string, Cidr> {
  const subnets = new Map<string, Cidr>()
  let lan = 0
  for (const [name, network] of Object.entries(topology.networks)) {
    const isLan = network?.behind !== undefined
    if (isLan) lan++
    if (typeof network?.subnet === 'string') {
      const fixed = parseCidr(network.subnet)
      if (fixed !== null) subnets.set(name, fixed)
    } else if (!isLan) {
      subnets.set(name, { base: octets(11, slot, 0), prefixLength: INTERNET_PREFIX_LENGTH })
    } else if (lan <= MAX_LANS) {
      subnets.set(name, { base: octets(...LAN_OCTETS[edgeOf(network)](slot), lan), prefixLength: LAN_PREFIX_LENGTH })
    }
  }
  return subnets
}

function edgeOf({ nat }: NetworkSpec): keyof typeof LAN_OCTETS {
  const kind = typeof nat === 'object' ? nat?.kind : nat
  if (kind === 'none' || kind === 'firewall') return 'routed'
  return kind === 'carrier' || kind === 'carrier-strict' ? 'shared' : 'private'
}

/** What the addresses of a slot begin with: whoever uses one of them is in its way. */
export function prefixesOf(slot: number): string[] {
  return [[11, slot], ...Object.values(LAN_OCTETS).map(of => of(slot))].map(([a, b]) => `${a}.${b}.`)
}

function octets(a: number, b: number, c: number): number {
  return a * 2 ** 24 + b * 2 ** 16 + c * 2 ** 8
}
