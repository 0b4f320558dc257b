/** Environment of a leg, checked. Pure. */
import { isIPv6 } from 'node:net'
import { z } from 'zod'
import { formatAddress, parseAddress } from './addresses.ts'
import type { PlannedIpv6Edge } from './ipv6.ts'
import { DISTRIBUTIONS, type Distribution } from './jitter.ts'
import { checkPortMappingEnv, PORT_MAPPING_ENV, portMappingOf } from './leg-port-mapping.ts'
import {
  behaviourOf,
  type Dependence,
  NAT_KINDS,
  type NatBehaviour,
  type NatKind,
  type NatSpec,
  type PortAllocation
} from './nat-kinds.ts'
import type { LabNames } from './nat64.ts'
import type { PlannedLink, PlannedPeer, PlannedRoute } from './plan.types.ts'
import type { PlannedPortMapping } from './port-mapping.ts'
import type { Impairment } from './topology.ts'
import { IMPAIRMENT_LIMITS, isPrefix } from './validate-link.ts'
import { ALLOCATIONS, BLOCK_PORTS_LIMITS, checkNatWords, DEPENDENCES, TIMEOUT_LIMITS } from './validate-nat.ts'

/** An own address with the length of its network's prefix. */
export interface LegAddress {
  address: string
  prefixLength: number
}

export interface LegConfig {
  /** Null: a host's leg. */
  router: {
    name: string
    behaviour: NatBehaviour
    ipv6: PlannedIpv6Edge | null
    insideHost: string | null
    inside: LegAddress
    gateway: LegAddress
    outside: LegAddress
    uplink: string | null
    portMapping: PlannedPortMapping | null
  } | null
  /** Of either family. */
  routes: PlannedRoute[]
  /** What a NAT64 router's DNS64 answers. */
  names: LabNames
  /** Links by own address. A router's is that of its outer address. */
  links: Array<{ address: string } & PlannedLink>
  readyFile: string
}

/** Thrown when the environment is not a leg's; lists every problem by name. */
export class LegConfigInvalidError extends Error {
  override readonly name = 'LegConfigInvalidError'
  readonly code = 'LEG_CONFIG_INVALID'

  constructor(problems: string[]) {
    super(
      `the leg's environment has ${problems.length} problem(s); mend them:\n${problems.map(p => `  ${p}`).join('\n')}`
    )
  }
}

const address = z.string().refine(text => parseAddress(text) !== null, 'is not an IPv4 address')
const ipv6Address = z.string().refine(isIPv6, 'is not an IPv6 address')
const attachment = z.string().transform((text, context): LegAddress => {
  const [own = '', prefix = ''] = text.split('/')
  const prefixLength = Number(prefix)
  if (parseAddress(own) === null || !/^\d{1,2}$/.test(prefix) || prefixLength > 30) {
    context.addIssue({ code: 'custom', message: `'${text}' is not an address with prefix length such as 10.40.1.2/24` })
    return z.NEVER
  }
  return { address: own, prefixLength }
})
const within = ({ min, max }: { min: number; max: number }) => z.number().min(min).max(max).optional()
const impairment = z
  .strictObject({
    delayMs: within(IMPAIRMENT_LIMITS.delayMs),
    jitterMs: within(IMPAIRMENT_LIMITS.jitterMs),
    distribution: z.enum(DISTRIBUTIONS as [Distribution, ...Distribution[]]).optional(),
    lossPct: within(IMPAIRMENT_LIMITS.lossPct),
    lossBurst: within(IMPAIRMENT_LIMITS.lossBurst),
    rateKbit: within(IMPAIRMENT_LIMITS.rateKbit),
    reorderPct: within(IMPAIRMENT_LIMITS.reorderPct),
    duplicatePct: within(IMPAIRMENT_LIMITS.duplicatePct),
    corruptPct: within(IMPAIRMENT_LIMITS.corruptPct),
    limitPackets: within(IMPAIRMENT_LIMITS.limitPackets)
  })
  .transform(
    given => Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as Impairment
  )
  .nullable()
  .default(null)

const peer = z.strictObject({
  prefix: z.string().refine(isPrefix, 'is not a subnet such as 11.0.0.0/24'),
  up: impairment,
  down: impairment
})

/** Absent is no key at all, so that a link read is the link written. */
function withoutAbsent({ peers, ...link }: { address: string } & PlannedLink & { peers?: PlannedPeer[] | undefined }) {
  return { ...link, ...(peers === undefined ? {} : { peers }) }
}

function json<T extends z.ZodType>(schema: T, absent = '[]') {
  return z
    .string()
    .default(absent)
    .transform((text, context): unknown => {
      try {
        return JSON.parse(text)
      } catch {
        context.addIssue({ code: 'custom', message: 'is not JSON' })
        return z.NEVER
      }
    })
    .pipe(schema)
}

const flag = z
  .enum(['yes', 'no'])
  .transform(word => word === 'yes')
  .optional()
const whole = ({ min, max }: { min: number; max: number }) => z.coerce.number().int().min(min).max(max).optional()

const schema = z
  .object({
    NAT_KIND: z.enum(NAT_KINDS as [NatKind, ...NatKind[]]).optional(),
    NAT_INSIDE: attachment.optional(),
    NAT_GATEWAY: attachment.optional(),
    NAT_OUTSIDE: attachment.optional(),
    NAT_UPLINK: address.optional(),
    NAT_HOST: address.optional(),
    ...PORT_MAPPING_ENV,
    PORT_MAPPING_SAYS: address.optional(),
    IPV6_SUBNET: z.string().optional(),
    IPV6_INSIDE: ipv6Address.optional(),
    IPV6_OUTSIDE: ipv6Address.optional(),
    IPV6_GATEWAY: ipv6Address.optional(),
    IPV6_UPLINK: ipv6Address.optional(),
    IPV6_FILTER: z.enum(['firewall', 'none']).default('firewall'),
    NAT64_ADDRESS: ipv6Address.optional(),
    LAB_NAMES: json(
      z.record(z.string(), z.strictObject({ ipv4: address.nullable(), ipv6: ipv6Address.nullable() })),
      '{}'
    ),
    NAT_MAPPING: z.enum(DEPENDENCES as [Dependence, ...Dependence[]]).optional(),
    NAT_FILTERING: z.enum(DEPENDENCES as [Dependence, ...Dependence[]]).optional(),
    NAT_ALLOCATION: z.enum(ALLOCATIONS as [PortAllocation, ...PortAllocation[]]).optional(),
    NAT_BLOCK_PORTS: whole(BLOCK_PORTS_LIMITS),
    NAT_HAIRPIN: flag,
    NAT_UDP_BLOCKED: flag,
    NAT_UDP_TIMEOUT_S: whole(TIMEOUT_LIMITS.udpS),
    NAT_UDP_STREAM_TIMEOUT_S: whole(TIMEOUT_LIMITS.udpStreamS),
    NAT_TCP_TIMEOUT_S: whole(TIMEOUT_LIMITS.tcpEstablishedS),
    ROUTES: json(
      z.array(
        z.strictObject({
          to: z.string().regex(/^[0-9a-f.:]+\/\d+$/, 'is not a subnet'),
          via: z.union([address, ipv6Address])
        })
      )
    ),
    LINKS: json(
      z.array(
        z
          .strictObject({ address, up: impairment, down: impairment, peers: z.array(peer).optional() })
          .transform(withoutAbsent)
      )
    ),
    NODE_ID: z.string().min(1).default('router'),
    LEG_READY_FILE: z.string().startsWith('/').default('/run/leg/ready')
  })
  .superRefine((env, context) => {
    if (env.NAT_KIND !== undefined) {
      checkNatWords(natOf(env), 'NAT', (path, _code, message) =>
        context.addIssue({ code: 'custom', path: [path], message })
      )
    }
    checkPortMappingEnv(env, (path, message) => context.addIssue({ code: 'custom', path: [path], message }))
    const parts = ['NAT_KIND', 'NAT_INSIDE', 'NAT_GATEWAY', 'NAT_OUTSIDE'] as const
    const given = parts.filter(part => env[part] !== undefined)
    const ipv6Parts = ['IPV6_SUBNET', 'IPV6_INSIDE', 'IPV6_OUTSIDE', 'IPV6_GATEWAY'] as const
    const ipv6Given = ipv6Parts.filter(part => env[part] !== undefined)
    for (const part of ipv6Given.length === 0 ? [] : ipv6Parts.filter(name => env[name] === undefined)) {
      const message = `is needed where ${ipv6Given.join(', ')} is given: a router with IPv6 has all`
      context.addIssue({ code: 'custom', path: [part], message })
    }
    if (given.length === 0 || given.length === parts.length) return
    for (const part of parts.filter(name => env[name] === undefined)) {
      context.addIssue({
        code: 'custom',
        path: [part],
        message: `is needed where ${given.join(', ')} is given: a router has all`
      })
    }
  })

/** The environment's NAT as a topology would write it. */
function natOf(env: NatEnvironment): NatSpec {
  const given = <T extends object>(words: T): Partial<{ [K in keyof T]: Exclude<T[K], undefined> }> =>
    Object.fromEntries(Object.entries(words).filter(([, value]) => value !== undefined)) as never
  const timeouts = given({
    udpS: env.NAT_UDP_TIMEOUT_S,
    udpStreamS: env.NAT_UDP_STREAM_TIMEOUT_S,
    tcpEstablishedS: env.NAT_TCP_TIMEOUT_S
  })
  return {
    kind: env.NAT_KIND!,
    ...given({
      mapping: env.NAT_MAPPING,
      filtering: env.NAT_FILTERING,
      allocation: env.NAT_ALLOCATION,
      blockPorts: env.NAT_BLOCK_PORTS,
      hairpin: env.NAT_HAIRPIN,
      udpBlocked: env.NAT_UDP_BLOCKED
    }),
    // Even an empty word is one, and a kind without timeouts has none.
    ...(Object.keys(timeouts).length === 0 ? {} : { timeouts })
  }
}

/** The environment's IPv6 side, or null when it has none. */
function edgeOf(env: Ipv6Environment): PlannedIpv6Edge | null {
  const { IPV6_SUBNET, IPV6_INSIDE, IPV6_OUTSIDE, IPV6_GATEWAY, IPV6_UPLINK, IPV6_FILTER, NAT64_ADDRESS, ROUTES } = env
  if (!IPV6_SUBNET || !IPV6_INSIDE || !IPV6_OUTSIDE || !IPV6_GATEWAY) return null
  return {
    subnet: IPV6_SUBNET,
    inside: IPV6_INSIDE,
    outside: IPV6_OUTSIDE,
    gateway: IPV6_GATEWAY,
    uplink: IPV6_UPLINK ?? null,
    routes: ROUTES.filter(({ to }) => to.includes(':')),
    filter: IPV6_FILTER,
    nat64: NAT64_ADDRESS ?? null
  }
}

interface Ipv6Environment {
  IPV6_SUBNET?: string | undefined
  IPV6_INSIDE?: string | undefined
  IPV6_OUTSIDE?: string | undefined
  IPV6_GATEWAY?: string | undefined
  IPV6_UPLINK?: string | undefined
  IPV6_FILTER: 'firewall' | 'none'
  NAT64_ADDRESS?: string | undefined
  ROUTES: PlannedRoute[]
}

interface NatEnvironment {
  NAT_KIND?: NatKind | undefined
  NAT_MAPPING?: Dependence | undefined
  NAT_FILTERING?: Dependence | undefined
  NAT_ALLOCATION?: PortAllocation | undefined
  NAT_BLOCK_PORTS?: number | undefined
  NAT_HAIRPIN?: boolean | undefined
  NAT_UDP_BLOCKED?: boolean | undefined
  NAT_UDP_TIMEOUT_S?: number | undefined
  NAT_UDP_STREAM_TIMEOUT_S?: number | undefined
  NAT_TCP_TIMEOUT_S?: number | undefined
}

/** Whoever wrote a word wrong looks for that word. */
function problem(issue: z.core.$ZodIssue): string {
  const { path, message, input } = issue
  const isWord = issue.code === 'invalid_value' && typeof input === 'string'
  return `${path.join('.')}: ${isWord ? `'${input}' is not one of: ${issue.values.join(', ')}` : message}`
}

/**
 * Reads `NAT_KIND NAT_INSIDE NAT_GATEWAY NAT_OUTSIDE` (a router has all four), `NAT_MAPPING NAT_FILTERING
 * NAT_ALLOCATION NAT_BLOCK_PORTS NAT_HAIRPIN NAT_UDP_BLOCKED NAT_UDP_TIMEOUT_S NAT_UDP_STREAM_TIMEOUT_S NAT_TCP_TIMEOUT_S`
 * (each overrides the kind), `NAT_HOST` (who gets the outer address with one-to-one), `NAT_UPLINK ROUTES LINKS
 * LEG_READY_FILE`, and for IPv6 `IPV6_SUBNET IPV6_INSIDE IPV6_OUTSIDE IPV6_GATEWAY` (all four) `IPV6_UPLINK IPV6_FILTER
 * NAT64_ADDRESS LAB_NAMES`, and `PORT_MAPPING` (upnp,nat-pmp,pcp) with `PORT_MAPPING_FAULT PORT_MAPPING_LEASE_S` and,
 * for a router that lies, `PORT_MAPPING_SAYS` (the address it names).
 * @throws LegConfigInvalidError with every problem
 */
export function readLegConfig(env: NodeJS.ProcessEnv): LegConfig {
  const result = schema.safeParse(env, { reportInput: true })
  if (!result.success) throw new LegConfigInvalidError(result.error.issues.map(problem))
  const { NAT_KIND, NAT_INSIDE, NAT_GATEWAY, NAT_OUTSIDE, NAT_UPLINK, NAT_HOST, ROUTES, LINKS, LEG_READY_FILE } =
    result.data
  return {
    router:
      NAT_KIND && NAT_INSIDE && NAT_GATEWAY && NAT_OUTSIDE
        ? {
            name: result.data.NODE_ID,
            behaviour: behaviourOf(natOf(result.data)),
            ipv6: edgeOf(result.data),
            insideHost: NAT_HOST ?? null,
            inside: NAT_INSIDE,
            gateway: NAT_GATEWAY,
            outside: NAT_OUTSIDE,
            uplink: NAT_UPLINK ?? null,
            portMapping: portMappingOf(result.data)
          }
        : null,
    routes: ROUTES,
    names: result.data.LAB_NAMES,
    links: LINKS,
    readyFile: LEG_READY_FILE
  }
}

/** Network address of an attachment, CIDR. */
export function networkOf({ address: own, prefixLength }: LegAddress): string {
  const size = 2 ** (32 - prefixLength)
  const base = Math.floor(parseAddress(own)! / size) * size
  return `${formatAddress(base)}/${prefixLength}`
}

/** First address of an attachment's network: Docker's bridge, through which control traffic comes. */
export function bridgeOf(attached: LegAddress): string {
  return formatAddress(parseAddress(networkOf(attached).split('/')[0]!)! + 1)
}
