/**
 * What must be done to a router or host that stands already to change it: another public address, another NAT kind,
 * mappings forgotten, a link down, another network. Pure: one runtime runs the steps in a namespace, the other in or
 * beside a container. Each set of steps says the whole state that is wanted, so it is right from whatever state the
 * last one left, and running it twice is harmless.
 */
import { ChangeRefusedError } from './errors.ts'
import { IPV6_PREFIX_LENGTH } from './ipv6.ts'
import { isShaped, readLink } from './links.ts'
import { forgetRuleset } from './nat.ts'
import { behaviourOf, kindOf, NAT_KINDS, NAT_PRESETS, type NatBehaviour, type NatSpec } from './nat-kinds.ts'
import { outerAddresses, type Place } from './places.ts'
import { isRouted } from './plan.ts'
import type { Plan, PlannedHost, PlannedLink, PlannedRouter } from './plan.types.ts'
import { defaultRoute, type RouterInterfaces, routerRules, routeStep, type Step } from './steps.ts'
import type { Link } from './topology.ts'
import { validateLink } from './validate-link.ts'
import { checkNatWords } from './validate-nat.ts'

/** What can change of a router while it stands. */
export interface RouterState {
  /** Its address outside. */
  address: string
  behaviour: NatBehaviour
}

export function plannedState({ outside, behaviour }: PlannedRouter): RouterState {
  return { address: outside.address, behaviour }
}

const HOLD_TABLE = 'warren_hold'

/**
 * Nothing crosses while a router changes: between two steps a flow could leave by a mapping that is half forgotten,
 * and be remembered by it. In forward, so that what the shaper lets go meanwhile is caught too.
 */
const HOLD: Step = {
  argv: ['nft', '-f', '-'],
  input: [
    `table ip ${HOLD_TABLE} {`,
    '  chain forward {',
    '    type filter hook forward priority filter - 10; policy drop;',
    '  }',
    '}',
    ''
  ].join('\n')
}
const RELEASE: Step = { argv: ['nft', '-f', '-'], input: `table ip ${HOLD_TABLE}\ndelete table ip ${HOLD_TABLE}\n` }
const FORGET_FLOWS: Step = { argv: ['sh', '-c', 'conntrack -F 2>/dev/null'] }

/** Forget every mapping, as a NAT does that was switched off and on. Kind and address stay. */
export function rebindSteps({ behaviour }: Pick<RouterState, 'behaviour'>): Step[] {
  const input = forgetRuleset(behaviour)
  return [HOLD, ...(input === '' ? [] : [{ argv: ['nft', '-f', '-'], input }]), FORGET_FLOWS, RELEASE]
}

/** Make a router what `state` says; every mapping is forgotten. */
export function routerSteps(router: PlannedRouter, state: RouterState, interfaces: RouterInterfaces): Step[] {
  const { address, behaviour } = state
  const outside = { ...router.outside, address }
  return [
    HOLD,
    { argv: ['sh', '-c', `ip -4 address flush dev ${interfaces.outside} scope global`] },
    { argv: ['ip', 'address', 'add', `${address}/${outside.prefixLength}`, 'dev', interfaces.outside] },
    // The old address took the routes through that network along.
    ...(router.outsideGateway === null ? [] : [defaultRoute(router.outsideGateway)]),
    ...router.routes.map(routeStep),
    ...routerRules({ ...router, outside, behaviour }, interfaces),
    FORGET_FLOWS,
    RELEASE
  ]
}

/**
 * The state with the next of the router's addresses.
 * @throws ChangeRefusedError when others have routes to its address, or it has no other
 */
export function withNextAddress(plan: Plan, router: PlannedRouter, state: RouterState): RouterState {
  if (isRouted(state)) {
    throw new ChangeRefusedError(
      `${router.name} translates nothing, and its neighbours have routes to ${state.address}: only a NAT that translates has a public address of its own to change`
    )
  }
  const ring = outerAddresses(plan, router)
  if (ring.length === 1) {
    throw new ChangeRefusedError(
      `${router.name} has no other address on '${router.outside.network}': only the first seven routers behind a LAN have`
    )
  }
  return { ...state, address: ring[(ring.indexOf(state.address) + 1) % ring.length]! }
}

/**
 * The state with another NAT.
 * @throws ChangeRefusedError with every problem
 */
export function withNat(plan: Plan, router: PlannedRouter, state: RouterState, nat: NatSpec): RouterState {
  const problems = problemsOf(plan, router, nat)
  if (problems.length > 0) {
    throw new ChangeRefusedError(`${router.name} cannot get this NAT:\n${problems.map(line => `  ${line}`).join('\n')}`)
  }
  return { ...state, behaviour: behaviourOf(nat) }
}

function problemsOf(plan: Plan, router: PlannedRouter, nat: NatSpec): string[] {
  const isSpec = typeof nat === 'string' || (typeof nat === 'object' && nat !== null)
  if (!isSpec || !Object.hasOwn(NAT_PRESETS, kindOf(nat))) {
    return [`UNKNOWN_NAT kind: there is no such NAT kind; the kinds are ${NAT_KINDS.join(', ')}`]
  }
  const problems: string[] = []
  checkNatWords(nat, 'nat', (path, code, message) => problems.push(`${code} ${path}: ${message}`))
  const { translation } = NAT_PRESETS[kindOf(nat)]
  const isNowRouted = isRouted(router)
  const willBeRouted = isRouted({ behaviour: { ...router.behaviour, translation } })
  if (isNowRouted !== willBeRouted) {
    problems.push(
      willBeRouted
        ? `NEEDS_ROUTES nat.kind: '${kindOf(nat)}' translates nothing, and nobody outside has a route to ${router.insideSubnet}; plan the network with it, or take a kind that translates`
        : `HAS_ROUTES nat.kind: '${kindOf(nat)}' translates, and others have routes to ${router.insideSubnet} past it; plan the network with it, or take 'none' or 'firewall'`
    )
  }
  const inside = plan.hosts.filter(({ attachment }) => attachment.network === router.nat).length
  if (translation === 'one-to-one' && inside > 1) {
    problems.push(
      `NAT_ONE_TO_ONE nat.kind: ${inside} hosts are on '${router.nat}'; one-to-one has an outer address for one`
    )
  }
  return problems
}

/** @throws ChangeRefusedError when a host's own link cannot go where the host goes; `link` is what it is now */
export function refuseMove({ name, link }: Pick<PlannedHost, 'name' | 'link'>): void {
  if (!isShaped(link)) return
  throw new ChangeRefusedError(
    `${name} has impairments of its own, which are tied to its interface and address: impair its network's access line instead, or move another host`
  )
}

/**
 * A link that a host or router is to get while it stands, worked out; null: a perfect one.
 * @throws ChangeRefusedError with every problem
 */
export function linkToBe(owner: string, link: Link | null): PlannedLink {
  if (link === null) return { up: null, down: null }
  const problems: string[] = []
  validateLink(link, 'link', (path, code, message, severity) => {
    if (severity === undefined) problems.push(`  ${code} ${path}: ${message}`)
  })
  if (problems.length > 0) throw new ChangeRefusedError(`${owner} cannot get this link:\n${problems.join('\n')}`)
  return readLink(link)
}

/** Give the interface of a host the addresses and the ways of a place, instead of those it had. */
export function placeSteps(place: Place, interfaceName: string): Step[] {
  const { attachment, isIpv6Only, ipv6 } = place
  const add = (cidr: string, ...more: string[]): Step => ({
    argv: ['ip', 'address', 'add', cidr, 'dev', interfaceName, ...more]
  })
  return [
    // With the last address go all routes of the interface.
    { argv: ['ip', 'address', 'flush', 'dev', interfaceName, 'scope', 'global'] },
    { argv: ['sh', '-c', speaksIpv6(interfaceName, ipv6 !== undefined)] },
    ...(isIpv6Only === true ? [] : [add(`${attachment.address}/${attachment.prefixLength}`)]),
    ...(attachment.ipv6 === undefined ? [] : [add(`${attachment.ipv6}/${IPV6_PREFIX_LENGTH}`, 'nodad')]),
    ...waySteps(place)
  ]
}

/** Where a network has no IPv6, nothing may speak it by itself; where it has, addresses are the plan's alone. */
function speaksIpv6(interfaceName: string, speaks: boolean): string {
  const settings = { accept_ra: 0, autoconf: 0, accept_dad: 0, disable_ipv6: speaks ? 0 : 1 }
  const folder = `/proc/sys/net/ipv6/conf/${interfaceName}`
  const lines = Object.entries(settings).map(([name, value]) => `echo ${value} > ${folder}/${name}`)
  return `test ! -e ${folder} || { ${lines.join(' && ')}; }`
}

/**
 * Take the carrier of an interface, or give it back with what went with it: routes, and addresses of IPv6. For a
 * runtime that can reach one end of the link only. The interface is found by its IPv4 address, which stays.
 */
export function plugSteps(place: Place, isPlugged: boolean): Step[] {
  const { address, ipv6 } = place.attachment
  const found = `"$(ip -o -4 address show to ${address} | cut -d' ' -f2)"`
  const shell = (command: string): Step => ({ argv: ['sh', '-c', command] })
  if (!isPlugged) return [shell(`ip link set ${found} down`)]
  return [
    shell(`ip link set ${found} up`),
    ...(ipv6 === undefined ? [] : [shell(`ip address replace ${ipv6}/${IPV6_PREFIX_LENGTH} dev ${found} nodad`)]),
    ...waySteps(place)
  ]
}

/** The ways of a place, once its interface has its addresses. */
export function waySteps({ defaultGateway, routes, ipv6 }: Omit<Place, 'attachment'>): Step[] {
  const gateways = [defaultGateway, ipv6?.defaultGateway ?? null].filter(gateway => gateway !== null)
  return [...gateways.map(defaultRoute), ...[...routes, ...(ipv6?.routes ?? [])].map(routeStep)]
}

/** Name of the interface that holds one of these addresses, by what `ip -json address show` says. */
export function interfaceHolding(json: string, addresses: readonly string[]): string | undefined {
  const links = JSON.parse(json) as Array<{ ifname: string; addr_info: Array<{ local?: string }> }>
  return links.find(({ addr_info }) => addr_info.some(({ local }) => addresses.includes(local ?? '')))?.ifname
}
