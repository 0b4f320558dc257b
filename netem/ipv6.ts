/** IPv6 of a plan: its addresses, and which networks have it. Pure; tolerates topologies that are not valid. */
import type { AddressSpace } from './addresses.ts'
import type { PlannedRoute } from './plan.types.ts'
import type { NetworkSpec, Topology } from './topology.ts'

export const IPV6_PREFIX_LENGTH = 64
/** RFC 6052's well-known prefix: an IPv4 address behind it is reached through NAT64. */
export const NAT64_PREFIX = '64:ff9b::'
export const NAT64_PREFIX_LENGTH = 96
/**
 * Inner side of a NAT64 router's translator: IPv4 addresses that stand for its IPv6 hosts until the NAT behind it
 * translates again. Never seen outside that router.
 */
export const NAT64_POOL = '198.19.64.0/24'
export const NAT64_POOL_ROUTER = '198.19.64.1'
/** Zone of the names that a NAT64 router's DNS64 answers (RFC 6761: `.test` is nobody's). */
export const LAB_ZONE = 'warren.test'

/** First group of every lab address: global unicast that libp2p counts as public. */
const FIRST_GROUP = 0x2a11
/** Groups start here, so that no address has a zero that could be written in two ways. */
const SLOT_BASE = 0x10
const NETWORK_BASE = 1
/** Own address of the translator on its network (offset), beside the router's. */
const TRANSLATOR_OFFSET = 0x64

export const hasIpv6 = (network: NetworkSpec | undefined): boolean => network?.ipv6 !== undefined

/** A network's /64: `2a11:10:1::` is the internet of slot 0. */
export function ipv6Prefix(topology: Topology, network: string, slot: number): string {
  const nth = Object.keys(topology.networks).indexOf(network)
  return `${FIRST_GROUP.toString(16)}:${(SLOT_BASE + slot).toString(16)}:${(NETWORK_BASE + nth).toString(16)}::`
}

/** The address that has the same place in its IPv6 network as an IPv4 address has in its own. */
export function ipv6Address(prefix: string, space: AddressSpace, address: number): string {
  return `${prefix}${(address - space.subnet.base).toString(16)}`
}

export const translatorAddress = (prefix: string): string => `${prefix}${TRANSLATOR_OFFSET.toString(16)}`

/** Address of an IPv4 host as IPv6-only hosts see it (RFC 6052 section 2.2). */
export function nat64Address(ipv4: string): string {
  const [a = 0, b = 0, c = 0, d = 0] = ipv4.split('.').map(Number)
  return `${NAT64_PREFIX}${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`
}

/** What a router does for IPv6. */
export interface PlannedIpv6Edge {
  /** CIDR of the inner network. */
  subnet: string
  /** Its own addresses, without prefix length; `gateway` is the hosts' default route. */
  inside: string
  outside: string
  gateway: string
  /** Next hop for everything else, or null when outside is the internet. */
  uplink: string | null
  /** Ways to inner networks of routers next to it. */
  routes: PlannedRoute[]
  /** `firewall` drops what nobody inside asked for (RFC 6092 section 3). */
  filter: 'firewall' | 'none'
  /** The translator's address where the inner network has no IPv4, else null. */
  nat64: string | null
}
