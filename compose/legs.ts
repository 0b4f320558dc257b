/** Environment of the leg program (`dist/leg.js`): a router, or the leg of a host with a network of its own. */
import {
  behaviourOf,
  isShaped,
  LOOP_SYSCTLS,
  LOOP_SYSCTLS_IPV6,
  labNames,
  type NatBehaviour,
  type Plan,
  type PlannedHost,
  type PlannedIpv6Edge,
  type PlannedLink,
  type PlannedRouter
} from '../netem/index.ts'

const links = (list: Array<{ address: string; link: PlannedLink }>): string =>
  JSON.stringify(list.filter(({ link }) => isShaped(link)).map(({ address, link }) => ({ address, ...link })))

/** A router: its NAT kind, its two attachments, and the impairments of its access line. */
export function routerEnv(plan: Plan, router: PlannedRouter): Record<string, string> {
  const env: Record<string, string> = {
    NAT_KIND: router.kind,
    ...natWords(router),
    NAT_INSIDE: `${router.inside.address}/${router.inside.prefixLength}`,
    NAT_OUTSIDE: `${router.outside.address}/${router.outside.prefixLength}`,
    NAT_GATEWAY: `${router.insideGateway}/${router.inside.prefixLength}`,
    ROUTES: JSON.stringify([...router.routes, ...(router.ipv6?.routes ?? [])]),
    LINKS: links([{ address: router.outside.address, link: router.link }])
  }
  if (router.insideHost !== null) env.NAT_HOST = router.insideHost
  if (router.ipv6 !== undefined) Object.assign(env, ipv6Env(plan, router.name, router.ipv6))
  if (router.outsideGateway !== null) env.NAT_UPLINK = router.outsideGateway
  return { ...env, ...portMappingWords(router) }
}

/** The port mapping server it runs, if any. */
function portMappingWords({ portMapping }: PlannedRouter): Record<string, string> {
  if (portMapping === undefined) return {}
  const { protocols, fault, leaseS, saysAddress } = portMapping
  return {
    PORT_MAPPING: protocols.join(','),
    ...(fault === null ? {} : { PORT_MAPPING_FAULT: fault }),
    ...(leaseS === null ? {} : { PORT_MAPPING_LEASE_S: String(leaseS) }),
    ...(saysAddress === null ? {} : { PORT_MAPPING_SAYS: saysAddress })
  }
}

function ipv6Env(plan: Plan, name: string, edge: PlannedIpv6Edge): Record<string, string> {
  return {
    NODE_ID: name,
    IPV6_SUBNET: edge.subnet,
    IPV6_INSIDE: edge.inside,
    IPV6_OUTSIDE: edge.outside,
    IPV6_GATEWAY: edge.gateway,
    IPV6_FILTER: edge.filter,
    ...(edge.uplink === null ? {} : { IPV6_UPLINK: edge.uplink }),
    ...(edge.nat64 === null ? {} : { NAT64_ADDRESS: edge.nat64, LAB_NAMES: JSON.stringify(labNames(plan)) })
  }
}

const word = (value: string | number | boolean): string =>
  typeof value === 'boolean' ? (value ? 'yes' : 'no') : String(value)

/** What the topology changes of the kind, so that the kind alone stands where nothing is changed. */
function natWords({ kind, behaviour }: PlannedRouter): Record<string, string> {
  const preset = behaviourOf(kind)
  const words = (of: NatBehaviour): Record<string, string | number | boolean> => ({
    NAT_MAPPING: of.mapping,
    NAT_FILTERING: of.filtering,
    NAT_ALLOCATION: of.allocation,
    NAT_BLOCK_PORTS: of.blockPorts,
    NAT_HAIRPIN: of.hairpin,
    NAT_UDP_BLOCKED: of.udpBlocked,
    NAT_UDP_TIMEOUT_S: of.timeouts.udpS,
    NAT_UDP_STREAM_TIMEOUT_S: of.timeouts.udpStreamS,
    NAT_TCP_TIMEOUT_S: of.timeouts.tcpEstablishedS
  })
  const usual = words(preset)
  return Object.fromEntries(
    Object.entries(words(behaviour)).flatMap(([name, value]) => (value === usual[name] ? [] : [[name, word(value)]]))
  )
}

/** A host's leg: the impairments of its own attachment and the ways it needs. */
export function legEnv(host: PlannedHost): Record<string, string> {
  return {
    ROUTES: JSON.stringify([...host.routes, ...(host.ipv6?.routes ?? [])]),
    LINKS: JSON.stringify([{ address: host.attachment.address, ...host.link }])
  }
}

/** What a leg's network must be set to before it starts: it cannot do so itself. */
export const routerSysctls = (router: PlannedRouter): Record<string, string> => ({
  'net.ipv4.ip_forward': '1',
  ...(router.ipv6 === undefined ? {} : { 'net.ipv6.conf.all.forwarding': '1', 'net.ipv6.conf.all.disable_ipv6': '0' })
})

/** The same for a host's leg: what it sends may be shaped on a detour through its own loopback, now or later. */
export const legSysctls = (host: PlannedHost): Record<string, string> => ({
  ...LOOP_SYSCTLS,
  ...(host.ipv6 === undefined ? {} : LOOP_SYSCTLS_IPV6)
})
