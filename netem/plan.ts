/**
 * Topology + seed + slot → plan: every address, port, name and key of a testnet. Pure: the same arguments give
 * the same bytes, so whoever holds the arguments knows the whole testnet.
 */
import {
  type AddressSpace,
  BRIDGE_OFFSET,
  formatAddress,
  formatCidr,
  internetSpace,
  lanSpace,
  ROUTER_OFFSET
} from './addresses.ts'
import { SlotOutOfRangeError, TopologyInvalidError } from './errors.ts'
import {
  hasIpv6,
  IPV6_PREFIX_LENGTH,
  ipv6Address,
  ipv6Prefix,
  type PlannedIpv6Edge,
  translatorAddress
} from './ipv6.ts'
import { accountOf, apiKeyOf, identityOf, registryOf } from './keys.ts'
import { readLink } from './links.ts'
import { routerNameOf } from './names.ts'
import { behaviourOf, kindOf } from './nat-kinds.ts'
import type { Plan, PlannedChain, PlannedHost, PlannedNetwork, PlannedRoute, PlannedRouter } from './plan.types.ts'
import { plannedPortMapping } from './port-mapping.ts'
import { CONTROL_PORT_BASE, PORTS_PER_SLOT, SLOTS, subnetsOf } from './slots.ts'
import type { Topology } from './topology.ts'
import { validate } from './validate.ts'

/** Chain id of every testnet's chain, Hardhat's own. */
export const CHAIN_ID = 31_337
/** Port of the chain's JSON-RPC inside the lab. */
export const CHAIN_RPC_PORT = 8545
/** Linux interface names have 15 characters (IFNAMSIZ less its zero). */
const BRIDGE_NAME_LENGTH = 15

/**
 * Work a topology out. `slot` (0 to 15) moves addresses, bridge names and ports so that testnets live side by
 * side; keys depend on the seed alone.
 * @throws TopologyInvalidError with every problem; SlotOutOfRangeError
 */
export function plan(topology: Topology, seed: string, slot = 0): Plan {
  if (!Number.isInteger(slot) || slot < 0 || slot >= SLOTS) throw new SlotOutOfRangeError(slot, SLOTS)
  const problems = validate(topology, slot).filter(({ severity }) => severity !== 'warning')
  if (problems.length > 0) throw new TopologyInvalidError(String(topology?.name), problems)
  const spaces = spacesOf(topology, slot)
  const routers = planRouters(topology, slot, spaces)
  const hosts = planHosts(topology, seed, slot, spaces, routers)
  return {
    topology: topology.name,
    description: topology.description,
    seed,
    slot,
    networks: planNetworks(topology, slot, spaces),
    routers,
    hosts,
    chain: planChain(seed, hosts),
    apiKey: apiKeyOf(seed)
  }
}

function spacesOf(topology: Topology, slot: number): Map<string, AddressSpace> {
  const spaces = new Map<string, AddressSpace>()
  for (const [name, subnet] of subnetsOf(topology, slot)) {
    spaces.set(name, topology.networks[name]!.behind === undefined ? internetSpace(subnet) : lanSpace(subnet))
  }
  return spaces
}

function planNetworks(topology: Topology, slot: number, spaces: Map<string, AddressSpace>): PlannedNetwork[] {
  return Object.entries(topology.networks).map(([name, network], index) => {
    const space = spaces.get(name)!
    const { subnet, gateway } = space
    const prefix = ipv6Prefix(topology, name, slot)
    return {
      name,
      subnet: formatCidr(subnet),
      prefixLength: subnet.prefixLength,
      bridge: `wn${slot}-${index}-${name}`.slice(0, BRIDGE_NAME_LENGTH).replace(/-+$/, ''),
      bridgeAddress: formatAddress(subnet.base + BRIDGE_OFFSET),
      defaultGateway: formatAddress(gateway),
      ...(hasIpv6(network)
        ? {
            ipv6: {
              subnet: `${prefix}/${IPV6_PREFIX_LENGTH}`,
              bridgeAddress: ipv6Address(prefix, space, subnet.base + BRIDGE_OFFSET),
              defaultGateway: ipv6Address(prefix, space, gateway)
            }
          }
        : {}),
      ...(network.ipv6 === 'only' ? { isIpv6Only: true } : {}),
      router: network.behind === undefined ? null : routerNameOf(name)
    }
  })
}

function planRouters(topology: Topology, slot: number, spaces: Map<string, AddressSpace>): PlannedRouter[] {
  const taken = new Map<string, number>()
  const routers: PlannedRouter[] = []
  for (const [name, network] of Object.entries(topology.networks)) {
    if (network.behind === undefined || network.nat === undefined) continue
    const inner = spaces.get(name)!
    const outer = spaces.get(network.behind)!
    const nth = taken.get(network.behind) ?? 0
    taken.set(network.behind, nth + 1)
    const edge = planEdge(topology, slot, name, spaces, nth)
    routers.push({
      name: routerNameOf(name),
      nat: name,
      kind: kindOf(network.nat),
      behaviour: behaviourOf(network.nat),
      inside: {
        network: name,
        address: formatAddress(inner.subnet.base + ROUTER_OFFSET),
        prefixLength: inner.subnet.prefixLength,
        ...(edge === null ? {} : { ipv6: edge.inside })
      },
      outside: {
        network: network.behind,
        address: formatAddress(outer.outerRouter(nth)!),
        prefixLength: outer.subnet.prefixLength,
        ...(edge === null ? {} : { ipv6: edge.outside })
      },
      insideSubnet: formatCidr(inner.subnet),
      insideHost: Object.values(topology.hosts).some(({ on }) => on === name) ? formatAddress(inner.host(0, 0)!) : null,
      insideGateway: formatAddress(inner.gateway),
      outsideGateway: topology.networks[network.behind]!.behind === undefined ? null : formatAddress(outer.gateway),
      routes: [],
      ...(edge === null ? {} : { ipv6: edge }),
      link: readLink(network.link),
      ...(network.portMapping === undefined
        ? {}
        : { portMapping: plannedPortMapping(network.portMapping, nobodyIn(spaces, topology)) })
    })
  }
  for (const router of routers) {
    router.routes = [
      ...routesOn(router.outside.network, routers, router.name),
      ...routesOn(router.inside.network, routers, router.name)
    ]
    if (router.ipv6 === undefined) continue
    router.ipv6.routes = [
      ...ipv6RoutesOn(router.outside.network, routers, router.name),
      ...ipv6RoutesOn(router.inside.network, routers, router.name)
    ]
  }
  return routers
}

/** An address of the internet that no one has. */
function nobodyIn(spaces: Map<string, AddressSpace>, topology: Topology): string {
  const internet = Object.entries(topology.networks).find(([, { behind }]) => behind === undefined)!
  return formatAddress(spaces.get(internet[0])!.gateway)
}

/** Ways that whoever is attached to a network has to networks which routers of kind `none` there route to. */
export function routesOn(network: string, routers: PlannedRouter[], self: string | null): PlannedRoute[] {
  return routers
    .filter(router => router.outside.network === network && isRouted(router) && router.name !== self)
    .flatMap(router => routedBehind(router, routers).map(to => ({ to, via: router.outside.address })))
}

/** What the router before a network does for IPv6, or null when the network has none. */
function planEdge(
  topology: Topology,
  slot: number,
  name: string,
  spaces: Map<string, AddressSpace>,
  nth: number
): PlannedIpv6Edge | null {
  const network = topology.networks[name]!
  const outerName = network.behind!
  if (!hasIpv6(network)) return null
  const [inner, outer] = [spaces.get(name)!, spaces.get(outerName)!]
  const [prefix, outerPrefix] = [ipv6Prefix(topology, name, slot), ipv6Prefix(topology, outerName, slot)]
  return {
    subnet: `${prefix}/${IPV6_PREFIX_LENGTH}`,
    inside: ipv6Address(prefix, inner, inner.subnet.base + ROUTER_OFFSET),
    outside: ipv6Address(outerPrefix, outer, outer.outerRouter(nth)!),
    gateway: ipv6Address(prefix, inner, inner.gateway),
    uplink: topology.networks[outerName]!.behind === undefined ? null : ipv6Address(outerPrefix, outer, outer.gateway),
    routes: [],
    filter: network.ipv6Filter ?? 'firewall',
    nat64: network.ipv6 === 'only' ? translatorAddress(prefix) : null
  }
}

/** Every inner IPv6 network is routed: ways that whoever is attached to a network has to those next to it. */
export function ipv6RoutesOn(network: string, routers: PlannedRouter[], self: string | null): PlannedRoute[] {
  const behind = (router: PlannedRouter): string[] =>
    router.ipv6 === undefined
      ? []
      : [router.ipv6.subnet, ...routers.filter(other => other.outside.network === router.nat).flatMap(behind)]
  return routers
    .filter(router => router.outside.network === network && router.name !== self && router.ipv6 !== undefined)
    .flatMap(router => behind(router).map(to => ({ to, via: router.ipv6!.outside })))
}

/** Whether those outside can address its hosts themselves. */
export function isRouted({ behaviour }: Pick<PlannedRouter, 'behaviour'>): boolean {
  return behaviour.translation === 'none' || behaviour.translation === 'firewall'
}

function routedBehind(router: PlannedRouter, routers: PlannedRouter[]): string[] {
  const deeper = routers.filter(other => other.outside.network === router.nat && isRouted(other))
  return [router.insideSubnet, ...deeper.flatMap(other => routedBehind(other, routers))]
}

function planHosts(
  topology: Topology,
  seed: string,
  slot: number,
  spaces: Map<string, AddressSpace>,
  routers: PlannedRouter[]
): PlannedHost[] {
  const taken = new Map<string, number>()
  return Object.entries(topology.hosts).map(([name, host], index) => {
    const space = spaces.get(host.on)!
    const nth = taken.get(host.on) ?? 0
    taken.set(host.on, nth + 1)
    const besides = routers.filter(router => router.outside.network === host.on).length
    const network = topology.networks[host.on]!
    const isLan = network.behind !== undefined
    const link = readLink(host.link)
    const routes = routesOn(host.on, routers, null)
    const address = space.host(nth, besides)!
    const prefix = ipv6Prefix(topology, host.on, slot)
    const ipv6 = hasIpv6(network)
      ? {
          defaultGateway: isLan ? ipv6Address(prefix, space, space.gateway) : null,
          routes: ipv6RoutesOn(host.on, routers, null)
        }
      : null
    return {
      name,
      role: host.role,
      attachment: {
        network: host.on,
        address: formatAddress(address),
        prefixLength: space.subnet.prefixLength,
        ...(ipv6 === null ? {} : { ipv6: ipv6Address(prefix, space, address) })
      },
      defaultGateway: isLan && network.ipv6 !== 'only' ? formatAddress(space.gateway) : null,
      nat: isLan ? host.on : null,
      natKind: isLan ? kindOf(network.nat!) : null,
      link,
      routes,
      ...(ipv6 === null ? {} : { ipv6 }),
      ...(network.ipv6 === 'only' ? { isIpv6Only: true } : {}),
      leg: host.link !== undefined || routes.length > 0 || (ipv6?.routes.length ?? 0) > 0,
      volume: host.volume ?? name,
      env: Object.fromEntries(Object.entries(host.env ?? {}).sort(([a], [b]) => (a < b ? -1 : 1))),
      controlPort: CONTROL_PORT_BASE + PORTS_PER_SLOT * slot + index,
      identity: host.role === 'chain' || host.role === 'client' ? null : identityOf(seed, name),
      account: host.role === 'node' ? accountOf(seed, name) : null
    }
  })
}

function planChain(seed: string, hosts: PlannedHost[]): PlannedChain | null {
  const host = hosts.find(({ role }) => role === 'chain')
  if (host === undefined) return null
  // A space is in no host name, so the deployer's account is nobody else's.
  const deployer = accountOf(seed, 'the deployer')
  return {
    host: host.name,
    rpcUrl: `http://${host.attachment.address}:${CHAIN_RPC_PORT}`,
    chainId: CHAIN_ID,
    deployer,
    registry: registryOf(deployer)
  }
}
