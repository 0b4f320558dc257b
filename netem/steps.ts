/**
 * What must be done inside a network namespace to make it a host or a router of the plan. Pure: both runtimes run
 * these steps, one through a shell in a namespace, one in a container.
 */
import { IPV6_PREFIX_LENGTH, type PlannedIpv6Edge } from './ipv6.ts'
import { ipv6Ruleset, NAT64_INTERFACE } from './ipv6-rules.ts'
import { natRuleset } from './nat.ts'
import { nat64Steps } from './nat64.ts'
import type { PlannedHost, PlannedRoute, PlannedRouter } from './plan.types.ts'
import { portMappingRuleset } from './port-mapping.ts'
import {
  type HostAttachment,
  type Shape,
  type ShapedQueue,
  type ShapeOptions,
  type Standing,
  shapeHost,
  shapeRouter
} from './shape.ts'
import { LOOP_SYSCTLS, LOOP_SYSCTLS_IPV6 } from './shape-nfqueue.ts'

/** One command, with what it reads. */
export interface Step {
  argv: string[]
  input?: string
}

/** Steps, and the queues that a shaper must serve once they are done. */
export interface Fitting {
  /** To be written before the steps, `net.…` names to values. */
  sysctls: Record<string, string>
  steps: Step[]
  queues: ShapedQueue[]
  /** What shaping leaves, for the next time. */
  standing: Standing
}

/** Interfaces of a router by what they face. */
export interface RouterInterfaces {
  inside: string
  outside: string
}

/** The rule sets of a router. Loading them again replaces each in one step. */
export function routerRules(
  router: Pick<PlannedRouter, 'behaviour' | 'insideHost' | 'ipv6' | 'outside' | 'portMapping'>,
  interfaces: RouterInterfaces
): Step[] {
  const rules = natRuleset({
    behaviour: router.behaviour,
    // With NAT64 the inner side of the IPv4 translation is the translator.
    insideInterface: router.ipv6?.nat64 == null ? interfaces.inside : NAT64_INTERFACE,
    outsideInterface: interfaces.outside,
    outsideAddress: router.outside.address,
    insideHost: router.insideHost,
    portMapping: router.portMapping ?? null
  })
  const ipv6 =
    router.ipv6 === undefined
      ? []
      : [
          ipv6Ruleset({
            edge: router.ipv6,
            behaviour: router.behaviour,
            insideInterface: interfaces.inside,
            outsideInterface: interfaces.outside
          })
        ]
  return [rules, ...ipv6].map(input => ({ argv: ['nft', '-f', '-'], input }))
}

/** Rules, gateway address, routes and link of a router whose interfaces have their own addresses already. */
export function fitRouter(
  router: Pick<
    PlannedRouter,
    | 'name'
    | 'behaviour'
    | 'insideHost'
    | 'ipv6'
    | 'inside'
    | 'outside'
    | 'insideGateway'
    | 'outsideGateway'
    | 'routes'
    | 'link'
    | 'portMapping'
  >,
  interfaces: RouterInterfaces,
  how: Omit<ShapeOptions, 'ipv6'>
): Fitting {
  const shape = refitRouter(router, interfaces, how)
  const gateway = `${router.insideGateway}/${router.inside.prefixLength}`
  return {
    sysctls: {},
    steps: [
      ...routerRules(router, interfaces),
      ...(router.portMapping === undefined
        ? []
        : [{ argv: ['nft', '-f', '-'], input: portMappingRuleset(interfaces.outside) }]),
      ...shape.steps,
      { argv: ['ip', 'address', 'replace', gateway, 'dev', interfaces.inside] },
      ...(router.outsideGateway === null ? [] : [defaultRoute(router.outsideGateway)]),
      ...router.routes.map(routeStep),
      ...(router.ipv6 === undefined ? [] : ipv6RouterSteps(router.name, router.ipv6, interfaces)),
      // Last: nothing is forwarded before the rules are there.
      {
        argv: ['sh', '-c', 'test "$(cat /proc/sys/net/ipv4/ip_forward)" = 1 || echo 1 > /proc/sys/net/ipv4/ip_forward']
      }
    ],
    queues: shape.queues,
    standing: shape.standing
  }
}

function ipv6RouterSteps(name: string, edge: PlannedIpv6Edge, interfaces: RouterInterfaces): Step[] {
  const gateway = `${edge.gateway}/${IPV6_PREFIX_LENGTH}`
  return [
    { argv: ['ip', 'address', 'replace', gateway, 'dev', interfaces.inside, 'nodad'] },
    ...(edge.uplink === null ? [] : [defaultRoute(edge.uplink)]),
    ...edge.routes.map(routeStep),
    ...nat64Steps(name, edge),
    {
      argv: ['sh', '-c', 'f=/proc/sys/net/ipv6/conf/all/forwarding; test "$(cat $f)" = 1 || echo 1 > $f']
    }
  ]
}

/** Only what a router's link asks. Rules come before what leads packets to them: a link is dead, never perfect. */
export function refitRouter(
  { link, ipv6 }: Pick<PlannedRouter, 'link' | 'ipv6'>,
  interfaces: RouterInterfaces,
  how: Omit<ShapeOptions, 'ipv6'>
): Shape {
  return shapeRouter(link, interfaces, { ...how, ipv6: ipv6 !== undefined })
}

/** Where a host is attached. */
export type HostInterface = Pick<HostAttachment, 'interfaceName' | 'address' | 'subnet' | 'control'> & {
  /** Its IPv6 address and network; absent where it has none. */
  ipv6?: { address: string; subnet: string }
}

type FittedHost = Pick<PlannedHost, 'defaultGateway' | 'routes' | 'ipv6' | 'isIpv6Only' | 'link'>

/** Routes and link of a host whose interface has its address already. */
export function fitHost(host: FittedHost, at: HostInterface, how: Omit<ShapeOptions, 'ipv6'>): Fitting {
  const { defaultGateway } = host
  const { sysctls, steps, queues, standing } = refitHost(host, at, how)
  return {
    sysctls,
    steps: [
      ...(defaultGateway === null ? [] : [defaultRoute(defaultGateway)]),
      ...host.routes.map(routeStep),
      ...(host.ipv6?.defaultGateway == null ? [] : [defaultRoute(host.ipv6.defaultGateway)]),
      ...(host.ipv6?.routes ?? []).map(routeStep),
      ...steps
    ],
    queues,
    standing
  }
}

/** Only what a host's link asks. */
export function refitHost(host: FittedHost, at: HostInterface, how: Omit<ShapeOptions, 'ipv6'>): Fitting {
  const toNames = (routes: PlannedRoute[]): string[] => routes.map(({ to }) => to)
  const { ipv6: ownIpv6, ...own } = at
  const { defaultGateway = null, routes = [] } = host.ipv6 ?? {}
  const ipv6 = ownIpv6 === undefined ? {} : { ipv6: { ...ownIpv6, defaultGateway, routes: toNames(routes) } }
  const only = host.isIpv6Only ? { isIpv6Only: host.isIpv6Only } : {}
  const attachment = { ...own, ...ipv6, ...only, defaultGateway: host.defaultGateway, routes: toNames(host.routes) }
  const shape = shapeHost(host.link, attachment, { ...how, ipv6: ownIpv6 !== undefined })
  const loop = { ...LOOP_SYSCTLS, ...(ownIpv6 === undefined ? {} : LOOP_SYSCTLS_IPV6) }
  return { sysctls: shape.standing.looped ? loop : {}, ...shape }
}

export function defaultRoute(via: string): Step {
  return { argv: ['ip', 'route', 'replace', 'default', 'via', via] }
}

export function routeStep({ to, via }: PlannedRoute): Step {
  return { argv: ['ip', 'route', 'replace', to, 'via', via] }
}

const END_OF_INPUT = 'WARREN_END_OF_INPUT'

/** Steps as a shell script that stops at the first failure. `ip` commands in a row run in one process. */
export function scriptOf({ sysctls, steps }: Pick<Fitting, 'sysctls' | 'steps'>): string {
  const lines = ['set -e']
  for (const [name, value] of Object.entries(sysctls)) {
    lines.push(`echo ${quote(value)} > ${quote(`/proc/sys/${name.replaceAll('.', '/')}`)}`)
  }
  for (const { argv, input } of batchIp(steps)) {
    const command = argv.map(quote).join(' ')
    if (input === undefined) lines.push(command)
    else lines.push(`${command} <<'${END_OF_INPUT}'`, input.replace(/\n$/, ''), END_OF_INPUT)
  }
  return `${lines.join('\n')}\n`
}

function batchIp(steps: Step[]): Step[] {
  const batched: Step[] = []
  for (const step of steps) {
    const last = batched.at(-1)
    const isIp = step.argv[0] === 'ip' && step.input === undefined
    const line = `${step.argv.slice(1).join(' ')}\n`
    if (isIp && last?.argv[0] === 'ip') last.input += line
    else batched.push(isIp ? { argv: ['ip', '-batch', '-'], input: line } : { ...step })
  }
  return batched
}

function quote(word: string): string {
  return /^[A-Za-z0-9_./:=@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}
