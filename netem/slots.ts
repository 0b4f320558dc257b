/** What a slot decides: subnets and ports. Pure; tolerates topologies that are not valid. */
import { type Cidr, parseCidr } from './addresses.ts'
import type { Topology } from './topology.ts'

/** How many testnets can live side by side on one machine. */
export const SLOTS = 16
/** First control port of slot 0, on 127.0.0.1. */
export const CONTROL_PORT_BASE = 28_000
/** Control ports of one slot, so hosts of one testnet. */
export const PORTS_PER_SLOT = 256
/** Second octet of slot 0's LANs: 10.40.0.0/16. */
const LAN_SECOND_OCTET = 40
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
      subnets.set(name, { base: octets(10, LAN_SECOND_OCTET + slot, lan), prefixLength: LAN_PREFIX_LENGTH })
    }
  }
  return subnets
}

function octets(a: number, b: number, c: number): number {
  return a * 2 ** 24 + b * 2 ** 16 + c * 2 ** 8
}
