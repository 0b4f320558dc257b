/**
 * What a person writes down: networks, the NATs between them, hosts, and how good their links are.
 * Plain data. `plan()` works it out; nothing here runs anything.
 */

import type { Distribution } from './jitter.ts'
import type { LinkPreset } from './link-presets.ts'
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
  /** Spread around the delay, milliseconds, never more than the delay: the bound where it is uniform, else about one standard deviation. */
  jitterMs?: number
  /** How jitter is spread; `uniform` when not said. */
  distribution?: Distribution
  /** Random loss, per cent, 0 to 100. */
  lossPct?: number
  /** Mean length of a run of lost packets, at least 1 (Gilbert-Elliott); without it each packet is lost or not by itself. */
  lossBurst?: number
  /** Rate limit, kilobit per second (1000 bit); at least one full packet a second, 12.112. */
  rateKbit?: number
  /** Packets that are not delayed and so overtake the others, per cent, 0 to 100. Needs a delay. */
  reorderPct?: number
  /** Packets that come twice, per cent, 0 to 100. */
  duplicatePct?: number
  /** Packets with one bit flipped, per cent, 0 to 100; their receiver's kernel drops nearly all of them. */
  corruptPct?: number
  /** How many packets the link holds, 1 to 1000000; the next one is lost. Default: what rate and delay need. */
  limitPackets?: number
}

/** A link seen from its owner: `up` is what it sends, `down` what it receives. */
export interface Directions {
  up?: Impairment
  down?: Impairment
}

export interface LinkSpec extends Directions {
  /**
   * Other impairments for the way to and from some peers, by CIDR: `{ '11.0.0.0/24': { delayMs: 80 } }`. The longest
   * prefix wins. A direction not named is that of the link itself; `{}` is a perfect one.
   */
  peers?: Record<string, Impairment | Directions>
}

/** A preset with words of it changed, both directions alike or each by itself. */
export type LinkVariant = { preset: LinkPreset } & (Impairment | LinkSpec)

/** A link as an author may write it: a preset's name, a preset with changes, one impairment for both directions, or each. */
export type Link = LinkPreset | LinkVariant | Impairment | LinkSpec

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
  link?: Link
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
  link?: Link
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
