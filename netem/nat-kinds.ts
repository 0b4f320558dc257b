/**
 * NAT kinds as data, in RFC 4787's and RFC 5382's terms. A preset is a whole behaviour; a topology may override any of
 * its words. Pure. `nat.ts` turns a behaviour into nftables text.
 */

/** RFC 4787 sections 4.1 and 5: what a mapping, or who may answer through it, depends on. */
export type Dependence = 'endpoint-independent' | 'address-dependent' | 'address-and-port-dependent'

/** How the outer port of a new mapping is chosen (RFC 4787 section 4.2, RFC 7422 for blocks). */
export type PortAllocation = 'preserving' | 'random' | 'sequential' | 'deterministic' | 'block'

/** How long a mapping without traffic stays, seconds. RFC 4787 REQ-5, RFC 5382 REQ-5. */
export interface MappingTimeouts {
  /** UDP before anything came back. */
  udpS: number
  /** UDP once packets went both ways. */
  udpStreamS: number
  /** An established TCP connection. */
  tcpEstablishedS: number
}

/** How packets of one address family cross the edge of a network. */
export type Translation =
  /** Routed both ways without translation or filter. */
  | 'none'
  /** Routed without translation; what nobody inside asked for is dropped. */
  | 'firewall'
  /** One outer address for one inner host, every port. */
  | 'one-to-one'
  /** Many inner endpoints share one outer address (NAPT). */
  | 'napt'

/** One NAT, described as a network engineer would. */
export interface NatBehaviour {
  translation: Translation
  /** Whether another destination gets another mapping. Read with `napt` only. */
  mapping: Dependence
  /** From whom packets come in through a mapping. Read with `napt` only; `firewall` is address-and-port-dependent. */
  filtering: Dependence
  /** Read with `napt` only. */
  allocation: PortAllocation
  /** Ports of one subscriber's block. Read with `allocation: 'block'` only. */
  blockPorts: number
  /** Whether two hosts inside reach each other by their outer addresses (RFC 4787 section 6). Read with `napt` only. */
  hairpin: boolean
  timeouts: MappingTimeouts
  /** UDP is dropped both ways, as some offices do. */
  udpBlocked: boolean
}

/** A behaviour with a name, and where it is met. */
export interface NatPreset extends NatBehaviour {
  /** What real equipment behaves so. */
  seenAt: string
}

/** Linux's defaults, which most home routers keep. TCP: 5 days. */
const LINUX_TIMEOUTS: MappingTimeouts = { udpS: 30, udpStreamS: 120, tcpEstablishedS: 432_000 }
/** RFC 4787 REQ-5 asks for 5 minutes, RFC 5382 REQ-5 for 2 hours 4 minutes. */
const RFC_TIMEOUTS: MappingTimeouts = { udpS: 300, udpStreamS: 300, tcpEstablishedS: 7440 }
/** What carriers and office firewalls keep: scarce ports come back soon. */
const SHORT_TIMEOUTS: MappingTimeouts = { udpS: 30, udpStreamS: 60, tcpEstablishedS: 3600 }

const BASE: NatBehaviour = {
  translation: 'napt',
  mapping: 'endpoint-independent',
  filtering: 'address-and-port-dependent',
  allocation: 'preserving',
  blockPorts: 1024,
  hairpin: false,
  timeouts: LINUX_TIMEOUTS,
  udpBlocked: false
}

const SYMMETRIC: NatBehaviour = { ...BASE, mapping: 'address-and-port-dependent', allocation: 'random' }

/** Every kind by name. */
export const NAT_PRESETS = {
  /** A router between two networks that have routes to each other. */
  none: {
    ...BASE,
    translation: 'none',
    filtering: 'endpoint-independent',
    hairpin: true,
    seenAt: 'a router between two networks that have routes to each other: a data centre, a campus without a firewall'
  },
  /** A stateful firewall before hosts with addresses of their own. */
  firewall: {
    ...BASE,
    translation: 'firewall',
    seenAt: 'offices and universities with public addresses behind pf, ASA or FortiGate; every home router for IPv6'
  },
  /** Static 1:1 NAT: one inner host owns the whole outer address. */
  'one-to-one': {
    ...BASE,
    translation: 'one-to-one',
    filtering: 'endpoint-independent',
    hairpin: true,
    seenAt: 'cloud instances with an elastic address (AWS, GCE, Azure), the "DMZ host" of home routers'
  },
  /** RFC 3489 "full cone": once open, everybody may use the mapping. */
  'full-cone': {
    ...BASE,
    filtering: 'endpoint-independent',
    hairpin: true,
    timeouts: RFC_TIMEOUTS,
    seenAt:
      'RFC 4787 as recommended: Cisco and Juniper CGNs with EIF, OpenWrt with fullcone, game modes of home routers'
  },
  /** Full cone that never keeps the port. */
  'full-cone-random': {
    ...BASE,
    filtering: 'endpoint-independent',
    allocation: 'random',
    timeouts: RFC_TIMEOUTS,
    seenAt: 'NATs that randomise ports after RFC 6056 and still map independently: PAN-OS with persistent DIPP'
  },
  /** RFC 3489 "restricted cone": whoever was sent to may answer from any port. */
  'address-restricted': {
    ...BASE,
    filtering: 'address-dependent',
    timeouts: RFC_TIMEOUTS,
    seenAt: 'older DSL routers (D-Link, Netgear, "address and endpoint filtering" settings), Windows ICS'
  },
  /** RFC 3489 "port-restricted cone" with its own port for each inner endpoint and a loopback inside. */
  'port-restricted': {
    ...BASE,
    hairpin: true,
    seenAt: 'home routers with NAT loopback: Fritz!Box, OpenWrt with reflection, most Broadcom firmwares'
  },
  /** The same without keeping the port. */
  'port-restricted-random': {
    ...BASE,
    allocation: 'random',
    seenAt: 'netfilter with EIM modules and random ports, hypervisor NATs (VMware NAT, slirp)'
  },
  /** Linux masquerade: independent as long as the inner port is free outside. */
  'port-preserving': {
    ...BASE,
    seenAt: 'plain Linux masquerade: Android tethering, Docker, most home routers without loopback'
  },
  /** Another mapping for each address spoken to. */
  'address-dependent': {
    ...BASE,
    mapping: 'address-dependent',
    filtering: 'address-dependent',
    allocation: 'random',
    seenAt: 'some Cisco ISR and Check Point set-ups, TURN-like middleboxes; rare at homes'
  },
  /** RFC 3489 "symmetric": another random port for each endpoint spoken to. */
  symmetric: {
    ...SYMMETRIC,
    seenAt: 'office firewalls and some carriers: pf and OPNsense by default, Cisco ASA, masquerade fully-random'
  },
  /** Symmetric, ports one after another: the next is guessed easily. */
  'symmetric-sequential': {
    ...SYMMETRIC,
    allocation: 'sequential',
    seenAt: 'older Cisco IOS, SonicWall and many DSL modems (RFC 5128 section 3.4: port prediction)'
  },
  /** Symmetric, the port a hash of the flow: the same flow gets it again. */
  'symmetric-hash': {
    ...SYMMETRIC,
    allocation: 'deterministic',
    seenAt: 'load-balanced and stateless NATs that hash flows (some NAT gateways and DS-Lite AFTRs)'
  },
  /** Symmetric within a block of ports for each subscriber. */
  'symmetric-block': {
    ...SYMMETRIC,
    allocation: 'block',
    seenAt: 'mobile carriers with bulk port allocation and per-flow mapping (Richter 2016)'
  },
  /** Carrier-grade NAT as RFC 6888 asks: independent, a block for each subscriber. */
  carrier: {
    ...BASE,
    filtering: 'endpoint-independent',
    allocation: 'block',
    hairpin: true,
    timeouts: RFC_TIMEOUTS,
    seenAt:
      'RFC 6888 CGNs of fixed-line and mobile carriers: A10 Thunder, Juniper MS-MPC, Cisco ASR with deterministic NAT'
  },
  /** Carrier-grade NAT with strict filtering and short timeouts. */
  'carrier-strict': {
    ...BASE,
    allocation: 'block',
    timeouts: SHORT_TIMEOUTS,
    seenAt: 'cellular carriers with port-restricted CGNs (Richter 2016: the most common cellular kind beside symmetric)'
  },
  /** An office that lets only TCP out. */
  'udp-blocked': {
    ...BASE,
    timeouts: SHORT_TIMEOUTS,
    udpBlocked: true,
    seenAt: 'offices, hotels and hospitals whose firewall lets only TCP out'
  }
} as const satisfies Record<string, NatPreset>

export type NatKind = keyof typeof NAT_PRESETS

export const NAT_KINDS = Object.keys(NAT_PRESETS) as readonly NatKind[]

/** A preset, or a preset with some of its words changed. */
export type NatSpec =
  | NatKind
  | ({ kind: NatKind } & Partial<Omit<NatBehaviour, 'timeouts' | 'translation'>> & {
        timeouts?: Partial<MappingTimeouts>
      })

/** The whole behaviour of what an author wrote, in one order of keys. Does not validate. */
export function behaviourOf(nat: NatSpec): NatBehaviour {
  const { kind, timeouts, ...words } = typeof nat === 'string' ? { kind: nat } : nat
  const preset: NatPreset = NAT_PRESETS[kind]
  const { translation, mapping, filtering, allocation, blockPorts, hairpin, udpBlocked } = { ...preset, ...words }
  const { udpS, udpStreamS, tcpEstablishedS } = { ...preset.timeouts, ...timeouts }
  return {
    translation,
    mapping,
    filtering,
    allocation,
    blockPorts,
    hairpin,
    timeouts: { udpS, udpStreamS, tcpEstablishedS },
    udpBlocked
  }
}

/** The preset's name of what an author wrote. */
export function kindOf(nat: NatSpec): NatKind {
  return typeof nat === 'string' ? nat : nat.kind
}
