/** A link's impairments for the NFQUEUE shaper: rules that hand packets over, a loop for what a host sends, copies. Pure. */
import { copyProgram } from './copy-program.ts'
import { copiesAnything, isActive, type ShapedQueue, type Side, type Standing } from './shape.ts'
import type { Step } from './steps.ts'

/** A direction's own queue; those of its peers follow by turns. */
const QUEUE_OF = { up: 1, down: 2 } as const
const QUEUES_PER_PEER = 2

const peerQueue = ({ direction }: Side, index: number): number => QUEUE_OF[direction] + QUEUES_PER_PEER * (index + 1)

/** The queues of one direction. */
export function queuesOf(side: Side): ShapedQueue[] {
  const { direction, impairment, peers } = side
  return [
    ...(impairment === null ? [] : [{ queue: QUEUE_OF[direction], name: direction, impairment }]),
    ...peers.flatMap((peer, index) =>
      peer.impairment === null
        ? []
        : [{ queue: peerQueue(side, index), name: `${direction} ${peer.prefix}`, impairment: peer.impairment }]
    )
  ]
}

/** Neighbours are asked for by ICMPv6 as by ARP in IPv4, and that is never held. */
const NEIGHBOUR_MESSAGES = ['133', '134', '135', '136']

/**
 * Input for `iptables-restore -n` or `ip6tables-restore -n`: replaces the raw table's PREROUTING chain in one step. There
 * is no `--queue-bypass`: while no shaper listens nothing passes, because a link that is silently perfect would make
 * results false.
 */
export function queueRules(sides: Side[], family: 'ip' | 'ip6'): string {
  const isOfFamily = ({ prefix }: { prefix: string }): boolean => prefix.includes(':') === (family === 'ip6')
  return [
    '*raw',
    ':PREROUTING ACCEPT [0:0]',
    '-F PREROUTING',
    ...(family === 'ip6'
      ? NEIGHBOUR_MESSAGES.map(type => `-A PREROUTING -p icmpv6 --icmpv6-type ${type} -j ACCEPT`)
      : []),
    ...sides.filter(isActive).flatMap(side => {
      const from = `-A PREROUTING -i ${side.interfaceName}`
      const peer = side.peer === 'source' ? '-s' : '-d'
      const to = (queue: number): string => `-j NFQUEUE --queue-num ${queue}`
      return [
        ...side.peers.flatMap((each, index) =>
          isOfFamily(each)
            ? [`${from} ${peer} ${each.prefix} ${each.impairment === null ? '-j ACCEPT' : to(peerQueue(side, index))}`]
            : []
        ),
        ...(side.impairment === null ? [] : [`${from} ${to(QUEUE_OF[side.direction])}`])
      ]
    }),
    'COMMIT',
    ''
  ].join('\n')
}

/** Rules, and what copies packets, for the directions of one namespace. */
export function queueSteps(sides: Side[], ipv6: boolean, standing: Standing): Step[] {
  const isShaped = standing.rules || sides.some(isActive)
  return [
    ...(isShaped ? [{ argv: ['iptables-restore', '-n'], input: queueRules(sides, 'ip') }] : []),
    ...(isShaped && ipv6 ? [{ argv: ['ip6tables-restore', '-n'], input: queueRules(sides, 'ip6') }] : []),
    ...sides.flatMap(side => copySteps(side, ipv6, standing))
  ]
}

/**
 * NFQUEUE can let a packet go or not, but not twice, so packets are copied before it, by tc where they arrive. A copy
 * takes a veth pair back to the same place: kernels refuse to mirror a packet to where it is. It may be copied again,
 * which the chance allows for.
 */
function copySteps(side: Side, ipv6: boolean, standing: Standing): Step[] {
  const { direction, interfaceName, peers, impairment } = side
  const [into, back] = [`copy-${direction}`, `copy-${direction}-in`]
  const stands = standing.copies.includes(direction)
  if (!stands && !copiesAnything(side)) return []
  const filter = (on: string, protocol: string, ...words: string[]): Step => ({
    argv: ['tc', 'filter', 'add', 'dev', on, 'ingress', 'protocol', protocol, ...words]
  })
  const ingress = (on: string): Step => ({ argv: ['tc', 'qdisc', 'add', 'dev', on, 'ingress'] })
  const mirror = ['action', 'mirred', 'egress', 'mirror', 'dev', into]
  const families = ['ip', ...(ipv6 ? ['ip6'] : [])] as Array<'ip' | 'ip6'>
  return [
    ...(stands
      ? [{ argv: ['sh', '-c', `tc filter del dev ${interfaceName} ingress 2>/dev/null || true`] }]
      : [
          // A copy must look as if it had been sent to that interface, whose address /sys shows to its own namespace only.
          {
            argv: [
              'sh',
              '-c',
              `ip link add ${into} type veth peer name ${back} address "$(ip -o link show dev ${interfaceName} | sed 's#.*link/ether \\([^ ]*\\).*#\\1#')"`
            ]
          },
          { argv: ['ip', 'link', 'set', into, 'up'] },
          { argv: ['ip', 'link', 'set', back, 'up'] },
          ingress(back),
          filter(
            back,
            'all',
            'u32',
            'match',
            'u32',
            '0',
            '0',
            'action',
            'mirred',
            'ingress',
            'redirect',
            'dev',
            interfaceName
          ),
          ingress(interfaceName)
        ]),
    ...families.flatMap(family => {
      const own = peers.filter(({ prefix }) => prefix.includes(':') === (family === 'ip6'))
      const protocol = family === 'ip6' ? 'ipv6' : 'ip'
      const programs = [
        ...own.map(({ prefix, impairment: each }, index) => ({
          pct: each?.duplicatePct ?? 0,
          match: prefix,
          except: own.slice(0, index).map(longer => longer.prefix)
        })),
        { pct: impairment?.duplicatePct ?? 0, match: null, except: own.map(({ prefix }) => prefix) }
      ]
      return programs
        .filter(({ pct }) => pct > 0)
        .map((program, index) =>
          filter(
            ...([
              interfaceName,
              protocol,
              'prio',
              String(index + 1 + (family === 'ip6' ? peers.length + 1 : 0))
            ] as const),
            ...['bpf', 'bytecode', copyProgram({ ...program, family, peer: side.peer }), ...mirror]
          )
        )
    })
  ]
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
/** And where it speaks IPv6. */
export const LOOP_SYSCTLS_IPV6: Readonly<Record<string, string>> = { 'net.ipv6.conf.all.forwarding': '1' }

/** What leads a host's packets into the loop. */
export interface LoopAddresses {
  address: string
  /** CIDR of its network. */
  subnet: string
  /** Its default gateway, or null when it has none. */
  defaultGateway: string | null
  /** CIDRs it has further routes to. */
  routes: string[]
  /** The machine's own address on this network, whose traffic is control and is never shaped; null: there is none. */
  control: string | null
  /** It has no IPv4. */
  isIpv6Only?: true
  /** The same of IPv6, where it is spoken. */
  ipv6?: { address: string; subnet: string; defaultGateway: string | null; routes: string[] }
}

const rule = (family: string[], verb: 'add' | 'del'): Step => ({
  // "iif lo" is what this machine itself sends; what comes back through the pair takes the main table.
  argv: ['ip', ...family, 'rule', verb, 'pref', LOOP_TABLE, 'iif', 'lo', 'lookup', LOOP_TABLE]
})

/** The pair with its own routes, and what sends packets into it. */
export function loopSteps(host: LoopAddresses, ipv6: boolean): { devices: Step[]; enter: Step[] } {
  const ends = ['address', LOOP_ADDRESS, 'arp', 'off']
  const ways = ({
    address,
    subnet,
    routes,
    defaultGateway
  }: Pick<LoopAddresses, 'address' | 'subnet' | 'routes' | 'defaultGateway'>): Step[] =>
    [subnet, ...routes, ...(defaultGateway === null ? [] : ['default'])].map(to => ({
      argv: [
        ...['ip', ...(address.includes(':') ? ['-6'] : []), 'route', 'add', to, 'dev', LOOP_OUT_INTERFACE],
        ...['src', address, 'table', LOOP_TABLE]
      ]
    }))
  const withIpv6 = ipv6 && host.ipv6 !== undefined
  return {
    devices: [
      {
        argv: [
          ...['ip', 'link', 'add', LOOP_OUT_INTERFACE, ...ends],
          ...['type', 'veth', 'peer', 'name', LOOP_BACK_INTERFACE, ...ends]
        ]
      },
      { argv: ['ip', 'link', 'set', LOOP_OUT_INTERFACE, 'up'] },
      { argv: ['ip', 'link', 'set', LOOP_BACK_INTERFACE, 'up'] },
      ...(host.isIpv6Only ? [] : ways(host)),
      ...(host.control === null ? [] : [{ argv: ['ip', 'route', 'add', 'throw', host.control, 'table', LOOP_TABLE] }]),
      ...(withIpv6 ? ways(host.ipv6!) : [])
    ],
    enter: [rule([], 'add'), ...(withIpv6 ? [rule(['-6'], 'add')] : [])]
  }
}

/** Packets go out directly again; those in the loop are still let go. */
export function leaveLoop(ipv6: boolean): Step[] {
  return [rule([], 'del'), ...(ipv6 ? [rule(['-6'], 'del')] : [])]
}
