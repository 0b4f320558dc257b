/** Everything that is wrong with a topology, all at once. Pure; takes whatever a file held without throwing. */
import { type Cidr, formatCidr, internetSpace, lanSpace, overlap, parseCidr } from './addresses.ts'
import { has, isName, NAME_RULE, routerNameOf, shown } from './names.ts'
import { MAX_LANS, PORTS_PER_SLOT, subnetsOf } from './slots.ts'
import type { HostSpec, NetworkSpec, Role, Topology } from './topology.ts'
import { validateLink } from './validate-link.ts'
import { checkNat } from './validate-nat.ts'
import { checkPortMapping } from './validate-port-mapping.ts'
import { checkRoles, checkVolumes } from './validate-roles.ts'

/** One thing that is wrong. */
export interface Problem {
  /** Where, in the author's words: `hosts.alice.on`, `networks.home-1.nat`. */
  path: string
  /** What is wrong and what would be right. */
  message: string
  /** Stable, UPPER_SNAKE. */
  code: string
  /** Absent: it must be mended first. A warning is told, and planned all the same. */
  severity?: 'warning'
}

/** Notes one problem. */
export type Report = (path: string, code: string, message: string, severity?: 'warning') => void

export const ROLES: readonly Role[] = ['node', 'relay', 'gateway', 'chain', 'client']
const ENV_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/
const TOPOLOGY_KEYS = ['name', 'description', 'networks', 'hosts']
const NETWORK_KEYS = ['behind', 'nat', 'ipv6', 'ipv6Filter', 'portMapping', 'link', 'subnet']
const HOST_KEYS = ['role', 'on', 'link', 'volume', 'env']
/** Prefix lengths an author may fix: internet, and NATed networks. */
const FIXED_INTERNET_PREFIXES = [8, 20] as const
const FIXED_LAN_PREFIXES = [16, 28] as const

/** What a person should know of a topology that can be planned all the same. */
export function warningsOf(topology: Topology): Problem[] {
  return validate(topology).filter(({ severity }) => severity === 'warning')
}

/** Every problem of a topology in the slot it would run in, in order of reading; it can be planned when all are warnings. */
export function validate(topology: Topology, slot = 0): Problem[] {
  const problems: Problem[] = []
  const report: Report = (path, code, message, severity) =>
    problems.push({ path, code, message, ...(severity === undefined ? {} : { severity }) })
  if (!isObject(topology)) {
    report('', 'BAD_TOPOLOGY', 'a topology is an object with name, description, networks and hosts')
    return problems
  }
  unknownKeys(topology, TOPOLOGY_KEYS, '', report)
  checkName(topology.name, 'name', report)
  if (typeof topology.description !== 'string' || topology.description === '') {
    report('description', 'BAD_DESCRIPTION', 'say in one sentence what this topology is for')
  }
  const sound: Topology = {
    ...topology,
    networks: onlyObjects(topology.networks, 'networks', report),
    hosts: onlyObjects(topology.hosts, 'hosts', report)
  }
  checkNetworks(sound, report)
  checkSubnets(sound, slot, report)
  checkHosts(sound, report)
  checkNames(sound, report)
  checkCapacity(sound, slot, report)
  checkRoles(sound, report)
  checkVolumes(sound, report)
  return problems
}

function checkNetworks(topology: Topology, report: Report): void {
  const entries = Object.entries(topology.networks)
  for (const [name, network] of entries) {
    const path = `networks.${name}`
    unknownKeys(network, NETWORK_KEYS, path, report)
    if (network.nat !== undefined) checkNat(topology, name, network.nat, `${path}.nat`, report)
    checkPortMapping(network, `${path}.portMapping`, report)
    if (network.behind === undefined && network.nat !== undefined) {
      report(`${path}.nat`, 'NAT_WITHOUT_BEHIND', 'a NAT stands between two networks; say which one this is `behind`')
    }
    if (network.behind !== undefined && network.nat === undefined) {
      report(
        `${path}.behind`,
        'BEHIND_WITHOUT_NAT',
        "say which `nat` stands at its edge ('none' routes without translation)"
      )
    }
    if (network.behind === undefined && network.link !== undefined) {
      report(`${path}.link`, 'LINK_WITHOUT_NAT', 'only a network behind a NAT has an access line')
    }
    if (network.behind !== undefined && !has(topology.networks, network.behind)) {
      report(`${path}.behind`, 'UNKNOWN_NETWORK', `there is no network ${shown(network.behind)}`)
    } else if (isCyclic(topology, name)) {
      report(`${path}.behind`, 'CYCLIC_BEHIND', `'${name}' is behind itself: ${chainOf(topology, name).join(' → ')}`)
    }
    if (network.link !== undefined) validateLink(network.link, `${path}.link`, report)
    checkIpv6(topology, network, path, report)
  }
  const internets = entries.filter(([, network]) => network.behind === undefined).map(([name]) => name)
  if (internets.length === 0)
    report('networks', 'NO_INTERNET', 'one network must not be `behind` another: the internet')
  for (const name of internets.slice(1)) {
    report(
      `networks.${name}`,
      'TWO_INTERNETS',
      `'${internets[0]}' is the internet already; put this \`behind\` it with a \`nat\``
    )
  }
  const lans = entries.length - internets.length
  if (lans > MAX_LANS)
    report('networks', 'TOO_MANY_NETWORKS', `${lans} networks are behind NATs; a slot has subnets for ${MAX_LANS}`)
}

function checkIpv6(topology: Topology, network: NetworkSpec, path: string, report: Report): void {
  const { ipv6, ipv6Filter, behind, nat } = network
  if (ipv6 !== undefined && ipv6 !== 'dual' && ipv6 !== 'only') {
    report(`${path}.ipv6`, 'BAD_IPV6', `${shown(ipv6)} is neither 'dual' nor 'only'`)
    return
  }
  if (ipv6Filter !== undefined && ipv6Filter !== 'firewall' && ipv6Filter !== 'none') {
    report(`${path}.ipv6Filter`, 'BAD_IPV6', `${shown(ipv6Filter)} is neither 'firewall' nor 'none'`)
  }
  if (ipv6Filter !== undefined && (ipv6 === undefined || behind === undefined)) {
    const why = 'only a network with IPv6 behind another has a filter for it; say ipv6 too, or leave it out'
    report(`${path}.ipv6Filter`, 'IPV6_CONTRADICTION', why)
  }
  if (ipv6 === undefined) return
  if (behind === undefined) {
    if (ipv6 === 'only') {
      report(`${path}.ipv6`, 'IPV6_CONTRADICTION', "the internet keeps IPv4, which NAT64 translates to; say 'dual'")
    }
    return
  }
  const outer = has(topology.networks, behind) ? topology.networks[behind] : undefined
  if (outer !== undefined && outer.ipv6 === undefined) {
    report(`${path}.ipv6`, 'IPV6_WITHOUT_UPLINK', `'${behind}' has no IPv6; say ipv6: 'dual' there`)
  } else if (outer?.ipv6 === 'only') {
    report(`${path}.behind`, 'IPV6_CONTRADICTION', `'${behind}' has no IPv4 for a router behind it; say 'dual' there`)
  }
  const kind = typeof nat === 'object' && nat !== null ? nat.kind : nat
  if (ipv6 === 'only' && (kind === 'none' || kind === 'firewall' || kind === 'one-to-one')) {
    const why = `its IPv6 hosts share the outer IPv4 address; '${kind}' does not translate ports, take another kind`
    report(`${path}.nat`, 'IPV6_CONTRADICTION', why)
  }
}

function checkSubnets(topology: Topology, slot: number, report: Report): void {
  for (const [name, network] of Object.entries(topology.networks)) {
    if (network.subnet === undefined) continue
    const path = `networks.${name}.subnet`
    const cidr = typeof network.subnet === 'string' ? parseCidr(network.subnet) : null
    const [shortest, longest] = network.behind === undefined ? FIXED_INTERNET_PREFIXES : FIXED_LAN_PREFIXES
    if (cidr === null) report(path, 'BAD_SUBNET', `${shown(network.subnet)} is not an IPv4 subnet such as 10.9.8.0/24`)
    else if (cidr.prefixLength < shortest || cidr.prefixLength > longest) {
      report(path, 'BAD_SUBNET', `/${cidr.prefixLength} does not do here; use /${shortest} to /${longest}`)
    }
  }
  const subnets = [...subnetsOf(topology, slot)]
  subnets.forEach(([name, subnet], index) => {
    for (const [other, otherSubnet] of subnets.slice(0, index)) {
      if (!overlap(subnet, otherSubnet)) continue
      const what = `${formatCidr(subnet)} overlaps ${formatCidr(otherSubnet)} of network '${other}'`
      report(`networks.${name}.subnet`, 'OVERLAPPING_SUBNETS', `${what}; give one of them another subnet`)
    }
  })
}

function checkHosts(topology: Topology, report: Report): void {
  for (const [name, host] of Object.entries(topology.hosts)) {
    const path = `hosts.${name}`
    unknownKeys(host, HOST_KEYS, path, report)
    if (!ROLES.includes(host.role)) {
      report(`${path}.role`, 'UNKNOWN_ROLE', `there is no role ${shown(host.role)}; the roles are ${ROLES.join(', ')}`)
    }
    if (!has(topology.networks, host.on)) {
      report(`${path}.on`, 'UNKNOWN_NETWORK', `there is no network ${shown(host.on)}`)
    }
    if (host.link !== undefined) validateLink(host.link, `${path}.link`, report)
    if (host.env !== undefined) checkEnv(host.env, `${path}.env`, report)
  }
}

function checkEnv(env: unknown, path: string, report: Report): void {
  if (!isObject(env)) {
    report(path, 'BAD_ENV', 'is an object of NAME: text')
    return
  }
  for (const [key, value] of Object.entries(env)) {
    if (!ENV_NAME.test(key)) report(`${path}.${key}`, 'BAD_ENV', 'is not a name an environment variable can have')
    if (typeof value !== 'string') report(`${path}.${key}`, 'BAD_ENV', 'must be text; write numbers in quotes')
    else if (value.includes('\0'))
      report(`${path}.${key}`, 'BAD_ENV', 'holds a zero character, which no environment can')
  }
}

/** Networks, their routers and hosts share one name space: they become namespaces, services and files side by side. */
function checkNames(topology: Topology, report: Report): void {
  const seen = new Map<string, string>()
  const take = (name: string, path: string) => {
    const key = name.toLowerCase()
    const first = seen.get(key)
    if (first === undefined) seen.set(key, path)
    else report(path, 'DUPLICATE_NAME', `'${name}' is taken by ${first} (upper and lower case count as the same)`)
  }
  for (const [name, network] of Object.entries(topology.networks)) {
    checkName(name, `networks.${name}`, report)
    take(name, `networks.${name}`)
    if (network.behind !== undefined) take(routerNameOf(name), `networks.${name} (its router)`)
  }
  for (const name of Object.keys(topology.hosts)) {
    checkName(name, `hosts.${name}`, report)
    take(name, `hosts.${name}`)
  }
}

function checkCapacity(topology: Topology, slot: number, report: Report): void {
  const subnets = subnetsOf(topology, slot)
  for (const [name, network] of Object.entries(topology.networks)) {
    const subnet: Cidr | undefined = subnets.get(name)
    if (subnet === undefined) continue
    const space = network.behind === undefined ? internetSpace(subnet) : lanSpace(subnet)
    const routers = Object.values(topology.networks).filter(other => other.behind === name).length
    const hosts = Object.values(topology.hosts).filter(host => host.on === name).length
    const capacity = space.hostCapacity(routers)
    if (routers > space.routerCapacity) {
      report(
        `networks.${name}`,
        'TOO_MANY_ROUTERS',
        `${routers} networks are behind it; it has addresses for ${space.routerCapacity}`
      )
    }
    if (hosts > capacity) {
      report(
        `networks.${name}`,
        'TOO_MANY_HOSTS',
        `${hosts} hosts are on it; ${formatCidr(subnet)} has addresses for ${capacity}`
      )
    }
  }
  const hosts = Object.keys(topology.hosts).length
  if (hosts === 0) report('hosts', 'NO_HOSTS', 'a testnet needs at least one host')
  if (hosts > PORTS_PER_SLOT) {
    report('hosts', 'TOO_MANY_HOSTS', `${hosts} hosts; a slot has control ports for ${PORTS_PER_SLOT}`)
  }
}

function checkName(name: unknown, path: string, report: Report): void {
  if (!isName(name)) report(path, 'BAD_NAME', `${shown(name)} is not a name: ${NAME_RULE}`)
}

/** The networks on the way out, up to the first that comes twice. */
function chainOf(topology: Topology, name: string): string[] {
  const chain = [name]
  for (let at = topology.networks[name]?.behind; has(topology.networks, at); at = topology.networks[at]?.behind) {
    chain.push(at)
    if (chain.indexOf(at) < chain.length - 1) break
  }
  return chain
}

function isCyclic(topology: Topology, name: string): boolean {
  const chain = chainOf(topology, name)
  return chain.length > 1 && chain.at(-1) === name
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function onlyObjects<T extends NetworkSpec | HostSpec>(
  group: Record<string, T>,
  path: string,
  report: Report
): Record<string, T> {
  if (!isObject(group)) {
    report(path, 'BAD_TOPOLOGY', 'is an object of name: description')
    return {}
  }
  return Object.fromEntries(
    Object.entries(group).filter(([name, value]) => {
      if (!isObject(value)) report(`${path}.${name}`, 'BAD_TOPOLOGY', 'is an object')
      return isObject(value)
    })
  )
}

function unknownKeys(value: object, known: string[], path: string, report: Report): void {
  for (const key of Object.keys(value)) {
    if (known.includes(key)) continue
    report(path === '' ? key : `${path}.${key}`, 'UNKNOWN_KEY', `is not a word here; the words are ${known.join(', ')}`)
  }
}
