/**
 * What an impairment means to the two things that can do it: `tc netem`, and the NFQUEUE shaper where the kernel
 * has no netem. Pure: it writes commands and rules, others run them.
 *
 * Where a packet is held decides whether the result is true. A packet held where it is *sent* keeps its socket's
 * buffer, and TCP falls to a few Mbit/s; a packet held behind a NAT's connection tracking makes one flow look like
 * many. So the shaper holds packets where they *arrive*, in raw PREROUTING, before anything else has seen them.
 */
import type { PlannedLink } from './plan.types.ts'
import { netemOnEgress, netemOnIngress } from './shape-netem.ts'
import { LOOP_BACK_INTERFACE, type LoopAddresses, leaveLoop, loopSteps, queueSteps, queuesOf } from './shape-nfqueue.ts'
import type { Step } from './steps.ts'
import type { Impairment } from './topology.ts'

/** What holds packets: the kernel's netem, or our NFQUEUE shaper. */
export type ShapingMeans = 'netem' | 'nfqueue'

/** One direction of an attachment: where it is held, and what for whom. */
export interface Side {
  direction: 'up' | 'down'
  /** netem: packets leave through it; NFQUEUE: they arrive at it. */
  interfaceName: string
  /** Which address of its packets is the peer's. */
  peer: 'source' | 'destination'
  impairment: Impairment | null
  /** Longest prefix first. */
  peers: Array<{ prefix: string; impairment: Impairment | null }>
}

/** Whether anything is asked of a direction. */
export function isActive({ impairment, peers }: Side): boolean {
  return impairment !== null || peers.some(peer => peer.impairment !== null)
}

/** One queue of the shaper. Numbers are per namespace. */
export interface ShapedQueue {
  queue: number
  /** `up`, `down 11.0.0.0/24`. */
  name: string
  impairment: Impairment
}

/**
 * What shaping has left in a namespace. The next one says only what must change, and nothing is unshaped between the
 * two.
 */
export interface Standing {
  /** How often it was shaped; netem's handles come from it. */
  generation: number
  /** Directions that netem works on. */
  netem: Array<'up' | 'down'>
  /** Whether incoming packets are led through an IFB. */
  ifb: boolean
  /** Whether the shaper has rules here. */
  rules: boolean
  /** Whether the loop's devices are there, and whether what is sent takes it. */
  loop: boolean
  looped: boolean
  /** Directions whose packets can be copied. */
  copies: Array<'up' | 'down'>
}

export const NOTHING_STANDS: Standing = {
  generation: 0,
  netem: [],
  ifb: false,
  rules: false,
  loop: false,
  looped: false,
  copies: []
}

/** What an attachment needs for its link: steps to take, and queues to serve before they are taken where others are served already. */
export interface Shape {
  steps: Step[]
  queues: ShapedQueue[]
  standing: Standing
}

function sideOf(link: PlannedLink, direction: 'up' | 'down', interfaceName: string, peer: Side['peer']): Side {
  const peers = (link.peers ?? []).map(each => ({ prefix: each.prefix, impairment: each[direction] }))
  return { direction, interfaceName, peer, impairment: link[direction], peers }
}

/** How a namespace is shaped. */
export interface ShapeOptions {
  means: ShapingMeans
  /** Whether IPv6 is spoken there. */
  ipv6: boolean
  standing?: Standing
}

/**
 * A router's access line. With netem `up` is what leaves outside, `down` what leaves inside; with NFQUEUE `up` is
 * what arrives from inside (before translation), `down` what arrives from outside.
 */
export function shapeRouter(
  link: PlannedLink,
  interfaces: { inside: string; outside: string },
  { means, ipv6, standing = NOTHING_STANDS }: ShapeOptions
): Shape {
  const { inside, outside } = interfaces
  if (means === 'netem') {
    const sides = [sideOf(link, 'up', outside, 'destination'), sideOf(link, 'down', inside, 'source')]
    return { steps: netemOnEgress(sides, standing), queues: [], standing: afterNetem(sides, standing) }
  }
  const sides = [sideOf(link, 'up', inside, 'destination'), sideOf(link, 'down', outside, 'source')]
  return {
    steps: queueSteps(sides, ipv6, standing),
    queues: sides.flatMap(queuesOf),
    standing: afterQueues(sides, standing)
  }
}

/** What `shapeHost` must know of a host. */
export interface HostAttachment extends LoopAddresses {
  interfaceName: string
}

/** Interface that a host's incoming packets are led through where only netem shapes: netem works on what leaves. */
export const IFB_INTERFACE = 'shape-in'

/**
 * A host's own link. `down` is held where it arrives. `up` with NFQUEUE is harder, since the others on the network
 * have no shaper: what the host itself sends is routed into a veth pair, held where it arrives at the other end
 * (so that no socket buffer is held), and routed on from there. It costs one hop of TTL.
 */
export function shapeHost(
  link: PlannedLink,
  host: HostAttachment,
  { means, ipv6, standing = NOTHING_STANDS }: ShapeOptions
): Shape {
  const { interfaceName, control } = host
  // Where control traffic shares the interface it is a peer without impairments.
  const unshaped = control === null ? [] : [{ prefix: `${control}/32`, up: null, down: null }]
  const all = { ...link, peers: [...unshaped, ...(link.peers ?? [])] }
  if (means === 'netem') {
    const up = sideOf(all, 'up', interfaceName, 'destination')
    const down = sideOf(all, 'down', IFB_INTERFACE, 'source')
    return {
      steps: [
        ...(isActive(down) && !standing.ifb ? [{ argv: ['ip', 'link', 'add', IFB_INTERFACE, 'type', 'ifb'] }] : []),
        ...netemOnEgress([up, down], standing),
        ...(isActive(down) && !standing.ifb ? netemOnIngress(interfaceName) : [])
      ],
      queues: [],
      standing: { ...afterNetem([up, down], standing), ifb: standing.ifb || isActive(down) }
    }
  }
  const up = sideOf(all, 'up', LOOP_BACK_INTERFACE, 'destination')
  const down = sideOf(all, 'down', interfaceName, 'source')
  const isLooped = isActive(up)
  // The rules come first where packets begin to take the loop, and go last: a packet in it is never unshaped.
  const rules = queueSteps([up, down], ipv6, standing)
  const before = isLooped && !standing.loop ? loopSteps(host, ipv6).devices : []
  const into = isLooped && !standing.looped ? loopSteps(host, ipv6).enter : []
  const out = !isLooped && standing.looped ? leaveLoop(ipv6) : []
  return {
    steps: [...out, ...before, ...rules, ...into],
    queues: [up, down].flatMap(queuesOf),
    standing: { ...afterQueues([up, down], standing), loop: standing.loop || isLooped, looped: isLooped }
  }
}

function afterNetem(sides: Side[], standing: Standing): Standing {
  const netem = sides.filter(isActive).map(({ direction }) => direction)
  const copies = sides.filter(copiesAnything).map(({ direction }) => direction)
  return { ...standing, generation: standing.generation + 1, netem, copies }
}

function afterQueues(sides: Side[], standing: Standing): Standing {
  const copies = sides.filter(copiesAnything).map(({ direction }) => direction)
  return {
    ...standing,
    generation: standing.generation + 1,
    rules: standing.rules || sides.some(isActive),
    copies: [...new Set([...standing.copies, ...copies])]
  }
}

/** Whether a direction sends packets twice. */
export function copiesAnything({ impairment, peers }: Side): boolean {
  return [impairment, ...peers.map(peer => peer.impairment)].some(each => (each?.duplicatePct ?? 0) > 0)
}
