/**
 * What an impairment means to the two things that can do it: `tc netem`, and the NFQUEUE shaper where the kernel
 * has no netem. Pure: it writes commands and rules, others run them.
 *
 * Where a packet is held decides whether the result is true. A packet held where it is *sent* keeps its socket's
 * buffer, and TCP falls to a few Mbit/s; a packet held behind a NAT's connection tracking makes one flow look like
 * many. So the shaper holds packets where they *arrive*, in raw PREROUTING, before anything else has seen them.
 */
import { impairs } from './links.ts'
import type { PlannedLink } from './plan.types.ts'
import type { Impairment } from './topology.ts'

/** What holds packets: the kernel's netem, or our NFQUEUE shaper. */
export type ShapingMeans = 'netem' | 'nfqueue'

/** Buffer of a link with a rate, beyond its delay: a quarter of a second, as many home routers have. */
const RATE_BUFFER_MS = 250
const MIN_BUFFER_PACKETS = 32
/** Buffer of a link without a rate: more than fits into any delay we allow. */
const UNRATED_BUFFER_PACKETS = 100_000
/** A full Ethernet frame without its checksum: what rates count. */
export const FULL_PACKET_BITS = 1514 * 8

/** How many packets a link holds at most; the next one is lost. The same figure for both means. */
export function bufferPackets({ delayMs = 0, jitterMs = 0, rateKbit = 0, limitPackets }: Impairment): number {
  if (limitPackets !== undefined) return limitPackets
  if (rateKbit === 0) return UNRATED_BUFFER_PACKETS
  const heldMs = delayMs + jitterMs + RATE_BUFFER_MS
  return Math.max(MIN_BUFFER_PACKETS, Math.ceil((rateKbit * heldMs) / FULL_PACKET_BITS))
}

/** The `netem …` part of a tc command. */
export function netemArguments(impairment: Impairment): string[] {
  const { delayMs = 0, jitterMs = 0, distribution = 'uniform', rateKbit = 0 } = impairment
  const { reorderPct = 0, duplicatePct = 0, corruptPct = 0 } = impairment
  return [
    'netem',
    'limit',
    String(bufferPackets(impairment)),
    ...(delayMs > 0 ? ['delay', `${delayMs}ms`, ...(jitterMs > 0 ? [`${jitterMs}ms`] : [])] : []),
    // tc knows no table of that name: netem spreads evenly when it is given none.
    ...(jitterMs > 0 && distribution !== 'uniform' ? ['distribution', distribution] : []),
    ...lossArguments(impairment),
    ...(duplicatePct > 0 ? ['duplicate', `${duplicatePct}%`] : []),
    ...(corruptPct > 0 ? ['corrupt', `${corruptPct}%`] : []),
    ...(reorderPct > 0 ? ['reorder', `${reorderPct}%`] : []),
    ...(rateKbit > 0 ? ['rate', `${rateKbit}kbit`] : [])
  ]
}

function lossArguments(impairment: Impairment): string[] {
  const chances = burstChances(impairment)
  if (chances !== null) return ['loss', 'gemodel', tcPercent(chances.fail), tcPercent(chances.recover)]
  return impairment.lossPct ? ['loss', 'random', `${impairment.lossPct}%`] : []
}

const tcPercent = (chance: number): string => `${Number((chance * 100).toFixed(6))}%`

/**
 * Gilbert-Elliott's two chances for a loss in bursts: that a good link fails with the next packet, and that a failed one,
 * which loses everything, recovers. Null where losses are independent.
 */
export function burstChances({ lossPct = 0, lossBurst }: Impairment): { fail: number; recover: number } | null {
  if (lossPct === 0 || lossPct >= 100 || lossBurst === undefined) return null
  const loss = lossPct / 100
  return { fail: Math.min(1, loss / (lossBurst * (1 - loss))), recover: 1 / lossBurst }
}

/** Put netem on what leaves through an interface, in place of what was there. */
export function netemOnEgress(interfaceName: string, impairment: Impairment): string[] {
  return ['tc', 'qdisc', 'replace', 'dev', interfaceName, 'root', ...netemArguments(impairment)]
}

/** Interface that a host's incoming packets are led through where only netem shapes: netem works on what leaves. */
export const IFB_INTERFACE = 'shape-in'

/** Put netem on what arrives at an interface: led through an IFB, whose egress it is. */
export function netemOnIngress(interfaceName: string, impairment: Impairment): string[][] {
  return [
    ['ip', 'link', 'add', IFB_INTERFACE, 'type', 'ifb'],
    ['ip', 'link', 'set', IFB_INTERFACE, 'up'],
    ['tc', 'qdisc', 'add', 'dev', interfaceName, 'handle', 'ffff:', 'ingress'],
    [
      ...['tc', 'filter', 'add', 'dev', interfaceName, 'parent', 'ffff:', 'protocol', 'all', 'u32'],
      ...['match', 'u32', '0', '0', 'action', 'mirred', 'egress', 'redirect', 'dev', IFB_INTERFACE]
    ],
    netemOnEgress(IFB_INTERFACE, impairment)
  ]
}

/** One rule that hands what arrives at an interface to a queue of the shaper. */
export interface QueueRule {
  queue: number
  interfaceName: string
  /** Source that is never held: the machine itself, where control traffic shares the interface. */
  exceptSource?: string
}

/**
 * Input for `iptables-restore -n`: replaces the raw table's PREROUTING chain. There is no `--queue-bypass`: while
 * no shaper listens nothing passes, because a link that is silently perfect would make results false.
 */
export function queueRules(rules: QueueRule[]): string {
  return [
    '*raw',
    ':PREROUTING ACCEPT [0:0]',
    '-F PREROUTING',
    ...rules.map(({ queue, interfaceName, exceptSource }) =>
      [
        `-A PREROUTING -i ${interfaceName}`,
        ...(exceptSource === undefined ? [] : [`! -s ${exceptSource}`]),
        `-j NFQUEUE --queue-num ${queue}`
      ].join(' ')
    ),
    'COMMIT',
    ''
  ].join('\n')
}

/** Queue numbers are per namespace: each has at most these two. */
export const QUEUE_OF = { up: 1, down: 2 } as const

/** What an attachment needs for its link: commands to run, rules to load, queues to serve. */
export interface Shape {
  commands: string[][]
  queues: Array<QueueRule & { impairment: Impairment }>
}

/**
 * A router's access line. With netem `up` is what leaves outside, `down` what leaves inside; with NFQUEUE `up` is
 * what arrives from inside (before translation), `down` what arrives from outside.
 */
export function shapeRouter(
  link: PlannedLink,
  means: ShapingMeans,
  interfaces: { inside: string; outside: string }
): Shape {
  const { up, down } = link
  const { inside, outside } = interfaces
  if (means === 'netem') {
    return {
      commands: [
        ...(impairs(up) ? [netemOnEgress(outside, up)] : []),
        ...(impairs(down) ? [netemOnEgress(inside, down)] : [])
      ],
      queues: []
    }
  }
  return {
    commands: [],
    queues: [
      ...(impairs(up) ? [{ queue: QUEUE_OF.up, interfaceName: inside, impairment: up }] : []),
      ...(impairs(down) ? [{ queue: QUEUE_OF.down, interfaceName: outside, impairment: down }] : [])
    ]
  }
}

/** What `shapeHost` must know of a host. */
export interface HostAttachment {
  interfaceName: string
  address: string
  /** CIDR of its network. */
  subnet: string
  /** Its default gateway, or null when it has none. */
  defaultGateway: string | null
  /** CIDRs it has further routes to. */
  routes: string[]
  /** The machine's own address on this network, whose traffic is control and is never shaped; null: there is none. */
  control: string | null
}

/** A veth pair within a host: what the host sends goes in at one end and arrives, to be held, at the other. */
export const LOOP_OUT_INTERFACE = 'shape-out'
export const LOOP_BACK_INTERFACE = 'shape-back'
const LOOP_TABLE = '100'
const LOOP_ADDRESS = '02:00:00:00:00:01'

/** Sysctls that a host whose `up` is shaped by NFQUEUE needs before anything else. */
export const LOOP_SYSCTLS: Readonly<Record<string, string>> = {
  'net.ipv4.ip_forward': '1',
  'net.ipv4.conf.all.accept_local': '1',
  'net.ipv4.conf.all.rp_filter': '0',
  'net.ipv4.conf.default.rp_filter': '0'
}

/**
 * A host's own link. `down` is held where it arrives. `up` with NFQUEUE is harder, since the others on the network
 * have no shaper: what the host itself sends is routed into a veth pair, held where it arrives at the other end
 * (so that no socket buffer is held), and routed on from there. It costs one hop of TTL.
 */
export function shapeHost(link: PlannedLink, means: ShapingMeans, host: HostAttachment): Shape {
  const { up, down } = link
  if (means === 'netem') {
    return {
      commands: [
        ...(impairs(up) ? [netemOnEgress(host.interfaceName, up)] : []),
        ...(impairs(down) ? netemOnIngress(host.interfaceName, down) : [])
      ],
      queues: []
    }
  }
  const except = host.control === null ? {} : { exceptSource: host.control }
  return {
    commands: impairs(up) ? loopCommands(host) : [],
    queues: [
      ...(impairs(up) ? [{ queue: QUEUE_OF.up, interfaceName: LOOP_BACK_INTERFACE, impairment: up }] : []),
      ...(impairs(down)
        ? [{ queue: QUEUE_OF.down, interfaceName: host.interfaceName, impairment: down, ...except }]
        : [])
    ]
  }
}

function loopCommands({ address, subnet, defaultGateway, routes, control }: HostAttachment): string[][] {
  const ends = ['address', LOOP_ADDRESS, 'arp', 'off']
  const into = (to: string) => [
    'ip',
    'route',
    'add',
    to,
    'dev',
    LOOP_OUT_INTERFACE,
    'src',
    address,
    'table',
    LOOP_TABLE
  ]
  return [
    ['ip', 'link', 'add', LOOP_OUT_INTERFACE, ...ends, 'type', 'veth', 'peer', 'name', LOOP_BACK_INTERFACE, ...ends],
    ['ip', 'link', 'set', LOOP_OUT_INTERFACE, 'up'],
    ['ip', 'link', 'set', LOOP_BACK_INTERFACE, 'up'],
    ...[subnet, ...routes, ...(defaultGateway === null ? [] : ['default'])].map(into),
    ...(control === null ? [] : [['ip', 'route', 'add', 'throw', control, 'table', LOOP_TABLE]]),
    // "iif lo" is what this machine itself sends; what comes back through the pair takes the main table.
    ['ip', 'rule', 'add', 'pref', LOOP_TABLE, 'iif', 'lo', 'lookup', LOOP_TABLE]
  ]
}
