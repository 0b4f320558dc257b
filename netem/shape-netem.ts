/** A link's impairments as `tc` commands with netem. Pure; the only file that writes `tc … netem`. */
import { bufferPackets, burstChances } from './buffer.ts'
import { DuplicatesByPeerError } from './errors.ts'
import { copiesAnything, IFB_INTERFACE, isActive, type Side, type Standing } from './shape.ts'
import type { Step } from './steps.ts'
import type { Impairment } from './topology.ts'

/** Classes only sort packets: none may ever be the slower one. */
const CLASS_WORDS = ['rate', '10gbit', 'burst', '1mb', 'cburst', '1mb', 'quantum', '60000']
const PERFECT_PACKETS = 100_000
/** The filter for everybody else comes last. */
const LAST_PRIORITY = '1000'
/** Major numbers of handles have 16 bits; those from 8000 on are the kernel's own. */
const GENERATIONS = 0x7000
/** What stands for a moment where a netem that duplicates comes or goes: kernels refuse it beside another one. */
const BETWEEN_HANDLE = '7fff:'

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
  if (chances !== null) return ['loss', 'gemodel', percent(chances.fail), percent(chances.recover)]
  return impairment.lossPct ? ['loss', 'random', `${impairment.lossPct}%`] : []
}

const percent = (chance: number): string => `${Number((chance * 100).toFixed(6))}%`

/**
 * netem on what leaves through the sides' interfaces, in place of what was there. A new handle makes a new queue, which
 * the kernel puts in place in one step: netem keeps words that a change does not name. What the old one held is lost.
 * @throws DuplicatesByPeerError
 */
export function netemOnEgress(sides: Side[], standing: Standing): Step[] {
  return sides.flatMap(side => {
    if (isActive(side)) return side.peers.length === 0 ? single(side, standing) : byPeer(side, standing)
    const wasThere = standing.netem.includes(side.direction)
    return wasThere ? [tc('qdisc', 'del', 'dev', side.interfaceName, 'root')] : []
  })
}

const handleOf = ({ generation }: Standing): string => `${((generation % GENERATIONS) + 1).toString(16)}:`

function single(side: Side, standing: Standing): Step[] {
  const { direction, interfaceName, impairment } = side
  const handle = handleOf(standing)
  const wasThere = standing.netem.includes(direction)
  const copies = copiesAnything(side) || standing.copies.includes(direction)
  return [
    ...(wasThere && copies ? [nothingPasses(interfaceName, BETWEEN_HANDLE)] : []),
    tc('qdisc', 'replace', 'dev', interfaceName, 'root', 'handle', handle, ...netemArguments(impairment!))
  ]
}

/** No packet belongs to a class, and with a direct queue of no length those are dropped, never sent unshaped. */
function nothingPasses(interfaceName: string, handle: string): Step {
  return tc('qdisc', 'replace', 'dev', interfaceName, 'root', 'handle', handle, 'htb', 'direct_qlen', '0')
}

/**
 * A class for each peer. Nothing passes until the last filter is there.
 * @throws DuplicatesByPeerError
 */
function byPeer(side: Side, standing: Standing): Step[] {
  const { interfaceName, peer, impairment, peers } = side
  const handle = handleOf(standing)
  const on = ['dev', interfaceName, 'parent', handle]
  const classOf = (index: number): string => `${handle}${(index + 1).toString(16)}`
  const leaves = [...peers.map(each => each.impairment), impairment]
  if (copiesAnything(side) && leaves.filter(leaf => leaf !== null).length > 1) throw new DuplicatesByPeerError()
  const match = peer === 'source' ? 'src' : 'dst'
  return [
    nothingPasses(interfaceName, handle),
    ...leaves.flatMap((leaf, index) => [
      tc('class', 'add', ...on, 'classid', classOf(index), 'htb', ...CLASS_WORDS),
      tc(
        ...['qdisc', 'add', 'dev', interfaceName, 'parent', classOf(index)],
        ...(leaf === null ? ['pfifo', 'limit', String(PERFECT_PACKETS)] : netemArguments(leaf))
      )
    ]),
    ...peers.map(({ prefix }, index) => {
      const words = prefix.includes(':') ? ['ipv6', 'ip6'] : ['ip', 'ip']
      return tc(
        ...['filter', 'add', ...on, 'prio', String(index + 1), 'protocol', words[0]!, 'u32'],
        ...['match', words[1]!, match, prefix, 'flowid', classOf(index)]
      )
    }),
    tc(
      ...['filter', 'add', ...on, 'prio', LAST_PRIORITY, 'protocol', 'all', 'u32'],
      ...['match', 'u32', '0', '0', 'flowid', classOf(peers.length)]
    )
  ]
}

/** Lead what arrives at an interface through the IFB, whose egress is shaped by then. */
export function netemOnIngress(interfaceName: string): Step[] {
  return [
    { argv: ['ip', 'link', 'set', IFB_INTERFACE, 'up'] },
    tc('qdisc', 'add', 'dev', interfaceName, 'handle', 'ffff:', 'ingress'),
    tc(
      ...['filter', 'add', 'dev', interfaceName, 'parent', 'ffff:', 'protocol', 'all', 'u32'],
      ...['match', 'u32', '0', '0', 'action', 'mirred', 'egress', 'redirect', 'dev', IFB_INTERFACE]
    )
  ]
}

function tc(...words: string[]): Step {
  return { argv: ['tc', ...words] }
}
