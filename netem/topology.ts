/**
 * What a person writes down: networks, the NATs between them, hosts, and how good their links are.
 * Plain data. `plan()` works it out; nothing here runs anything.
 */

import type { NatSpec } from './nat-kinds.ts'
import type { PortMappingSpec } from './port-mapping.ts'

/** Which process a host runs. */
export type Role = 'node' | 'relay' | 'gateway' | 'chain' | 'client'

/**
 * What a link does to packets while it holds, one direction. The same words and meaning as `tc netem`.
 */
export interface Impairment {
  /** One-way delay added to every packet, milliseconds, 0 to 60000. */
  delayMs?: number
  /** Uniform spread around the delay, milliseconds; never more than the delay. */
  jitterMs?: number
  /** Independent random loss, per cent, 0 to 100. */
  lossPct?: number
  /** Rate limit, kilobit per second (1000 bit), at least 8. */
  rateKbit?: number
}

/** A link seen from its owner: `up` is what it sends, `down` what it receives. A plain impairment means both. */
export interface LinkSpec {
  up?: Impairment
  down?: Impairment
}

export interface NetworkSpec {
  /** The network this one reaches the world through. Absent: this is the internet, on routable-looking space. */
  behind?: string
  /** The NAT at its edge: a preset's name, or `{ kind, … }` with words of it changed. Needed exactly when `behind` is given. */
  nat?: NatSpec
  /**
   * `dual`: IPv6 beside IPv4. `only`: IPv6 alone; its router translates to the IPv4 world (NAT64 with DNS64), its `nat`
   * standing behind the translator. Default: IPv4 alone. A network behind another needs the other to have IPv6.
   */
  ipv6?: 'dual' | 'only'
  /** What its router does with IPv6 from outside that nobody inside asked for. Default `firewall`: drop it. */
  ipv6Filter?: 'firewall' | 'none'
  /** A server on the router that hosts inside ask for open ports, and what it does wrong. Only with a NAT that translates ports. */
  portMapping?: PortMappingSpec
  /** The router's own attachment to the outer network (an access line). */
  link?: Impairment | LinkSpec
  /**
   * CIDR the author fixes, `10.9.8.0/24` say; a NATed network from /16 to /28. Default: one that the slot decides.
   * A fixed subnet is the same in every slot, so two Docker testnets of such a topology cannot live side by side.
   */
  subnet?: string
}

export interface HostSpec {
  role: Role
  /** The network the host is attached to. */
  on: string
  /** The host's own attachment (Wi-Fi, say). */
  link?: Impairment | LinkSpec
  /** Hosts that name the same volume share one data directory. Default: a volume of the host's own. */
  volume?: string
  /** Environment that only this host gets, over what its role says. */
  env?: Record<string, string>
}

export interface Topology {
  /** Lower-case letters, digits and dashes, at most 24 characters. */
  name: string
  /** One sentence: what this is for. */
  description: string
  networks: Record<string, NetworkSpec>
  hosts: Record<string, HostSpec>
}
