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
import { accountOf, apiKeyOf, identityOf, registryOf } from './keys.ts'
import { readLink } from './links.ts'
import { routerNameOf } from './names.ts'
import { behaviourOf, kindOf } from './nat-kinds.ts'
import type { Plan, PlannedChain, PlannedHost, PlannedNetwork, PlannedRoute, PlannedRouter } from './plan.types.ts'
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
  const problems = validate(topology, slot)
  if (problems.length > 0) throw new TopologyInvalidError(String(topology?.name), problems)
  const spaces = spacesOf(topology, slot)
  const routers = planRouters(topology, spaces)
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
    const { subnet, gateway } = spaces.get(name)!
    return {
      name,
      subnet: formatCidr(subnet),
      prefixLength: subnet.prefixLength,
      bridge: `wn${slot}-${index}-${name}`.slice(0, BRIDGE_NAME_LENGTH).replace(/-+$/, ''),
      bridgeAddress: formatAddress(subnet.base + BRIDGE_OFFSET),
      defaultGateway: formatAddress(gateway),
      router: network.behind === undefined ? null : routerNameOf(name)
    }
  })
}

function planRouters(topology: Topology, spaces: Map<string, AddressSpace>): PlannedRouter[] {
  const taken = new Map<string, number>()
  const routers: PlannedRouter[] = []
  for (const [name, network] of Object.entries(topology.networks)) {
    if (network.behind === undefined || network.nat === undefined) continue
    const inner = spaces.get(name)!
    const outer = spaces.get(network.behind)!
    const nth = taken.get(network.behind) ?? 0
    taken.set(network.behind, nth + 1)
    routers.push({
      name: routerNameOf(name),
      nat: name,
      kind: kindOf(network.nat),
      behaviour: behaviourOf(network.nat),
      inside: {
        network: name,
        address: formatAddress(inner.subnet.base + ROUTER_OFFSET),
        prefixLength: inner.subnet.prefixLength
      },
      outside: {
        network: network.behind,
        address: formatAddress(outer.outerRouter(nth)!),
        prefixLength: outer.subnet.prefixLength
      },
      insideSubnet: formatCidr(inner.subnet),
      insideHost: Object.values(topology.hosts).some(({ on }) => on === name) ? formatAddress(inner.host(0, 0)!) : null,
      insideGateway: formatAddress(inner.gateway),
      outsideGateway: topology.networks[network.behind]!.behind === undefined ? null : formatAddress(outer.gateway),
      routes: [],
      link: readLink(network.link)
    })
  }
  for (const router of routers) {
    router.routes = [
      ...routesOn(router.outside.network, routers, router.name),
      ...routesOn(router.inside.network, routers, router.name)
    ]
  }
  return routers
}

/** Ways that whoever is attached to a network has to networks which routers of kind `none` there route to. */
function routesOn(network: string, routers: PlannedRouter[], self: string | null): PlannedRoute[] {
  return routers
    .filter(router => router.outside.network === network && isRouted(router) && router.name !== self)
    .flatMap(router => routedBehind(router, routers).map(to => ({ to, via: router.outside.address })))
}

/** Whether those outside can address its hosts themselves. */
function isRouted({ behaviour }: PlannedRouter): boolean {
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
    return {
      name,
      role: host.role,
      attachment: {
        network: host.on,
        address: formatAddress(space.host(nth, besides)!),
        prefixLength: space.subnet.prefixLength
      },
      defaultGateway: isLan ? formatAddress(space.gateway) : null,
      nat: isLan ? host.on : null,
      natKind: isLan ? kindOf(network.nat!) : null,
      link,
      routes,
      leg: link.up !== null || link.down !== null || routes.length > 0,
      volume: host.volume ?? name,
      env: Object.fromEntries(Object.entries(host.env ?? {}).sort(([a], [b]) => (a < b ? -1 : 1))),
      controlPort: CONTROL_PORT_BASE + PORTS_PER_SLOT * slot + index,
      identity: host.role === 'chain' ? null : identityOf(seed, name),
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
