/**
 * Port mapping servers on routers as data: what is spoken, what goes wrong on purpose, and the texts that make Debian's
 * miniupnpd do it. Pure; `port-mapper.ts` runs the daemon.
 *
 * A router's mappings have a table of their own, so that loading the NAT's rules again loses none. What came in through
 * one carries a mark: the NAT's forward chain lets that pass, whatever its own filtering is.
 */

/** UPnP IGD (1 and 2), NAT-PMP (RFC 6886) and PCP (RFC 6887). */
export const PORT_MAPPING_PROTOCOLS = ['upnp', 'nat-pmp', 'pcp'] as const
export type PortMappingProtocol = (typeof PORT_MAPPING_PROTOCOLS)[number]

export const PORT_MAPPING_FAULTS = [
  /** Answers, and grants nothing: UPnP error 606 or 718, NAT-PMP result 2, PCP NOT_AUTHORIZED. */
  'refuse',
  /**
   * No mapping lasts longer than `leaseS`. PCP says so in its answer; UPnP and NAT-PMP promise what was asked and
   * forget early, as home routers do whose table is small or that restart.
   */
  'short-lease',
  /** Grants, and names an outer address that is nobody's, as a router behind another NAT does that does not know it. */
  'lying-address'
] as const
export type PortMappingFault = (typeof PORT_MAPPING_FAULTS)[number]

/** Seconds. Below two the daemon's clock, which has whole seconds, would take a mapping away before it is used. */
export const LEASE_LIMITS = { min: 2, max: 86_400 } as const
export const DEFAULT_SHORT_LEASE_S = 5

/** What an author asks of a router. */
export interface PortMappingSpec {
  protocols: PortMappingProtocol[]
  fault?: PortMappingFault
  /** Seconds that any mapping lasts at most, with `short-lease` only. Default 5. */
  leaseS?: number
}

/** The same worked out. */
export interface PlannedPortMapping {
  protocols: PortMappingProtocol[]
  fault: PortMappingFault | null
  /** Seconds; null without the fault `short-lease`. */
  leaseS: number | null
  /** The outer address it claims with the fault `lying-address`; null: its own. */
  saysAddress: string | null
}

/** Name of the nftables table that holds a router's granted mappings. */
export const PORT_MAPPING_TABLE = 'warren_portmap'
/** The daemon's chain of granted mappings in it. */
export const GRANTED_CHAIN = 'granted'
/** Chains the daemon insists on; nothing jumps to them. */
const UNUSED_CHAINS = { filter: 'granted_filter', snat: 'granted_snat' } as const
/** conntrack mark of flows that came in through a granted mapping. */
const GRANTED_MARK = '0x77706d'

/** UDP port of NAT-PMP and PCP, RFC 6887 section 19.2. */
export const PCP_PORT = 5351
/** UDP port of SSDP, where UPnP devices are looked for. */
export const SSDP_PORT = 1900
/** TCP port of the daemon's descriptions and SOAP. */
export const UPNP_HTTP_PORT = 5000
/** First byte of a request on the common port of NAT-PMP and PCP. */
const VERSIONS: Record<'nat-pmp' | 'pcp', number> = { 'nat-pmp': 0, pcp: 2 }
/** Ports a client may ask for, at both ends. */
const ASKABLE_PORTS = '1024-65535'
/** Seconds. The daemon's own upper bound. */
const LONGEST_LEASE_S = 86_400

/** What an author wrote, worked out. `nobody`: an address outside that no one has. */
export function plannedPortMapping(spec: PortMappingSpec, nobody: string): PlannedPortMapping {
  const fault = spec.fault ?? null
  return {
    protocols: PORT_MAPPING_PROTOCOLS.filter(protocol => spec.protocols.includes(protocol)),
    fault,
    leaseS: fault === 'short-lease' ? (spec.leaseS ?? DEFAULT_SHORT_LEASE_S) : null,
    saysAddress: fault === 'lying-address' ? nobody : null
  }
}

/** Rules of the NAT's input chain: what the daemon is asked from inside, in the protocols it shall speak. */
export function portMappingInput({ protocols }: PlannedPortMapping, insideInterface: string): string[] {
  const from = `iifname "${insideInterface}"`
  const spoken = protocols.filter(protocol => protocol !== 'upnp').map(protocol => VERSIONS[protocol])
  return [
    // The daemon has one switch for both; a request in the other's version gets no answer.
    ...(spoken.length === 0 ? [] : [`${from} udp dport ${PCP_PORT} @th,64,8 { ${spoken.join(', ')} } accept`]),
    ...(protocols.includes('upnp')
      ? [
          `${from} udp dport ${SSDP_PORT} accept`,
          `${from} tcp dport ${UPNP_HTTP_PORT} accept`,
          // UPnP's events are calls of the daemon's own.
          `${from} ct state established accept`
        ]
      : [])
  ]
}

/** What the NAT's forward chain matches of granted mappings. */
export const GRANTED_MATCH = `ct mark ${GRANTED_MARK} ct status dnat`

/** The table as `nft -f` reads it; loading it again forgets every mapping. */
export function portMappingRuleset(outsideInterface: string): string {
  const from = `iifname "${outsideInterface}"`
  return [
    `table inet ${PORT_MAPPING_TABLE}`,
    `delete table inet ${PORT_MAPPING_TABLE}`,
    `table inet ${PORT_MAPPING_TABLE} {`,
    ...[GRANTED_CHAIN, ...Object.values(UNUSED_CHAINS)].flatMap(name => [`  chain ${name} {`, '  }']),
    '  chain inwards {',
    // Before the NAT's own mappings: what was granted by name is not left to chance.
    '    type nat hook prerouting priority dstnat - 10; policy accept;',
    `    ${from} ct mark set ${GRANTED_MARK}`,
    `    ${from} jump ${GRANTED_CHAIN}`,
    // Only what was translated ends its way above.
    `    ${from} ct mark set 0`,
    '  }',
    '}',
    ''
  ].join('\n')
}

/** Where a daemon works. */
export interface PortMapperPlace {
  outsideInterface: string
  /** The address clients know: their default gateway. */
  gateway: string
  prefixLength: number
  insideSubnet: string
  leaseFile: string
  /** Names the device in UPnP; any UUID that is the router's own. */
  uuid: string
}

/**
 * The daemon's configuration file. Without a lie it reads its outer address off the interface; one that is private or
 * a carrier's (100.64/10) makes it refuse, because nobody outside could use the mapping.
 */
export function portMapperConfig(
  { protocols, fault, leaseS, saysAddress }: PlannedPortMapping,
  place: PortMapperPlace
) {
  const speaks = (...any: PortMappingProtocol[]): string =>
    any.some(protocol => protocols.includes(protocol)) ? 'yes' : 'no'
  const permission = fault === 'refuse' ? [] : [`allow ${ASKABLE_PORTS} ${place.insideSubnet} ${ASKABLE_PORTS}`]
  return [
    `ext_ifname=${place.outsideInterface}`,
    ...(saysAddress === null ? [] : [`ext_ip=${saysAddress}`]),
    `listening_ip=${place.gateway}/${place.prefixLength}`,
    `http_port=${UPNP_HTTP_PORT}`,
    `enable_upnp=${speaks('upnp')}`,
    `enable_natpmp=${speaks('nat-pmp', 'pcp')}`,
    'ipv6_disable=yes',
    // PCP only: it grants no less and no more.
    'min_lifetime=1',
    `max_lifetime=${leaseS ?? LONGEST_LEASE_S}`,
    `upnp_table_name=${PORT_MAPPING_TABLE}`,
    `upnp_nat_table_name=${PORT_MAPPING_TABLE}`,
    `upnp_nat_chain=${GRANTED_CHAIN}`,
    `upnp_forward_chain=${UNUSED_CHAINS.filter}`,
    `upnp_nat_postrouting_chain=${UNUSED_CHAINS.snat}`,
    `lease_file=${place.leaseFile}`,
    'secure_mode=yes',
    `uuid=${place.uuid}`,
    ...permission,
    'deny 0-65535 0.0.0.0/0 0-65535',
    ''
  ].join('\n')
}

/** One line of the daemon's lease file. */
export interface Lease {
  transport: 'udp' | 'tcp'
  outerPort: number
}

/** Leases by transport and outer port, `udp 7000`, each with what the file says of it: another text is a renewal. */
export function readLeases(file: string): Map<string, Lease & { said: string }> {
  const leases = new Map<string, Lease & { said: string }>()
  for (const line of file.split('\n')) {
    const [, transport, port] = /^(UDP|TCP):(\d+):/.exec(line) ?? []
    if (transport === undefined) continue
    const lease: Lease = { transport: transport === 'UDP' ? 'udp' : 'tcp', outerPort: Number(port) }
    const key = `${lease.transport} ${lease.outerPort}`
    leases.set(key, { ...lease, said: `${leases.get(key)?.said ?? ''}${line}\n` })
  }
  return leases
}

const PROTOCOL_NUMBERS = { tcp: '0x0?6', udp: '0x11' } as const

/** Handles of a lease's rules in `nft -a list chain`. The daemon matches the protocol by its place in the header. */
export function handlesOf(listed: string, { transport, outerPort }: Lease): number[] {
  const rules = new RegExp(`(@nh,72,8 ${PROTOCOL_NUMBERS[transport]} th|${transport}) dport ${outerPort} dnat `)
  return listed
    .split('\n')
    .filter(rule => rules.test(rule))
    .flatMap(rule => [...rule.matchAll(/# handle (\d+)/g)].map(([, handle]) => Number(handle)))
}
