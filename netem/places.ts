/**
 * Where hosts and routers may be put while a testnet runs: spare outer addresses of routers, and the address a host
 * has on a network that is not its own. Pure: whoever holds the plan knows them before anything moves.
 */
import {
  type AddressSpace,
  BRIDGE_OFFSET,
  FIRST_HOST_OFFSET,
  formatAddress,
  internetSpace,
  lanSpace,
  parseCidr,
  ROUTER_OFFSET
} from './addresses.ts'
import { NoAddressLeftError, UnknownNetworkError } from './errors.ts'
import { ipv6Address } from './ipv6.ts'
import { ipv6RoutesOn, routesOn } from './plan.ts'
import type { Plan, PlannedHost, PlannedNetwork, PlannedRouter } from './plan.types.ts'

/** On the internet each router has this many addresses besides its own, each in a /24 of its own. */
const INTERNET_SPARES = 4
const INTERNET_SPARE_STRIDE = 256
/** On a LAN what lies between its router and its first host is for the first few routers behind it. */
const FIRST_LAN_SPARE_OFFSET = Math.max(BRIDGE_OFFSET, ROUTER_OFFSET) + 1
const LAN_SPARES = FIRST_HOST_OFFSET - FIRST_LAN_SPARE_OFFSET

/** A host's attachment to a network, and the ways it has from there. */
export type Place = Pick<PlannedHost, 'attachment' | 'defaultGateway' | 'routes' | 'ipv6' | 'isIpv6Only'>

/**
 * Every address that may be a router's outside, its own first, in the order in which `setPublicAddress` goes round.
 * Only its own: there is no other.
 */
export function outerAddresses(plan: Plan, router: PlannedRouter): string[] {
  const { outside } = router
  const network = networkNamed(plan, outside.network)
  const beside = plan.routers.filter(other => other.outside.network === outside.network)
  const nth = beside.findIndex(({ name }) => name === router.name)
  const { subnet, outerRouter } = spaceOf(network)
  const spares =
    network.router === null
      ? Array.from({ length: INTERNET_SPARES }, (_, n) => outerRouter(nth)! + (n + 1) * INTERNET_SPARE_STRIDE)
      : nth < LAN_SPARES
        ? [subnet.base + FIRST_LAN_SPARE_OFFSET + nth]
        : []
  return [outside.address, ...spares.map(formatAddress)]
}

/**
 * Where a host is when it is on that network: as planned on its own, else at an address that no other host or
 * router ever has there.
 * @throws UnknownNetworkError; NoAddressLeftError when the network is too full for visitors
 */
export function placeOn(plan: Plan, host: PlannedHost, name: string): Place {
  const network = networkNamed(plan, name)
  if (host.attachment.network === name) return host
  const space = spaceOf(network)
  const residents = plan.hosts.filter(({ attachment }) => attachment.network === name).length
  const strangers = plan.hosts.filter(({ attachment }) => attachment.network !== name)
  const nth = residents + strangers.findIndex(other => other.name === host.name)
  const address = space.host(nth, plan.routers.filter(({ outside }) => outside.network === name).length)
  if (address === null) throw new NoAddressLeftError(name, network.subnet)
  const { ipv6, isIpv6Only, prefixLength, defaultGateway, router } = network
  const isLan = router !== null
  const attachment = { network: name, address: formatAddress(address), prefixLength }
  const place: Place = {
    attachment,
    defaultGateway: isLan && isIpv6Only !== true ? defaultGateway : null,
    routes: routesOn(name, plan.routers, null)
  }
  if (ipv6 === undefined) return place
  const [prefix = ''] = ipv6.subnet.split('/')
  return {
    ...place,
    attachment: { ...attachment, ipv6: ipv6Address(prefix, space, address) },
    ipv6: { defaultGateway: isLan ? ipv6.defaultGateway : null, routes: ipv6RoutesOn(name, plan.routers, null) },
    ...(isIpv6Only === true ? { isIpv6Only } : {})
  }
}

/** The routers between a network and the internet, the innermost first. */
export function routersAbove(plan: Plan, network: string): PlannedRouter[] {
  const router = plan.routers.find(({ nat }) => nat === network)
  return router === undefined ? [] : [router, ...routersAbove(plan, router.outside.network)]
}

/** @throws UnknownNetworkError */
export function networkNamed(plan: Plan, name: string): PlannedNetwork {
  const network = plan.networks.find(each => each.name === name)
  if (network === undefined)
    throw new UnknownNetworkError(
      name,
      plan.networks.map(each => each.name)
    )
  return network
}

function spaceOf({ subnet, router }: PlannedNetwork): AddressSpace {
  const cidr = parseCidr(subnet)!
  return router === null ? internetSpace(cidr) : lanSpace(cidr)
}
