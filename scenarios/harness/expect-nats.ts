/** What a plan claims of the NATs between a host and the internet, and whether what was seen is that. Pure. */
import {
  type Dependence,
  type MappingTimeouts,
  type NatBehaviour,
  type Plan,
  type PlannedHost,
  type PlannedRouter,
  type PortAllocation,
  portBlock
} from '../../netem/index.ts'
import type { SeenTimeouts } from './nat-timeouts.ts'
import type { NatWords, ProtocolWords } from './nat-words.ts'

export interface NatRow {
  /** The preset, from inside outwards where there are several; and where, unless the network is called so. */
  kind: string
  /** Every word of it as text. */
  claimed: string
  observed: string
  proved: boolean
}

/** Routers from a host outwards. */
export function routersOf(plan: Plan, host: PlannedHost): PlannedRouter[] {
  const path: PlannedRouter[] = []
  let network = host.attachment.network
  for (;;) {
    const router = plan.routers.find(candidate => candidate.inside.network === network)
    if (router === undefined) return path
    path.push(router)
    network = router.outside.network
  }
}

const STRICTNESS: readonly Dependence[] = ['endpoint-independent', 'address-dependent', 'address-and-port-dependent']

/** What several NATs one behind the other amount to, seen from the innermost. */
export function behaviourOfPath(behaviours: NatBehaviour[]): Omit<NatBehaviour, 'timeouts'> {
  const [inner, ...outer] = behaviours
  if (inner === undefined) throw new RangeError('a path has at least one router')
  return outer.reduce<Omit<NatBehaviour, 'timeouts'>>(through, inner)
}

function through(inner: Omit<NatBehaviour, 'timeouts'>, outer: NatBehaviour): Omit<NatBehaviour, 'timeouts'> {
  const stricter = (a: Dependence, b: Dependence): Dependence =>
    STRICTNESS[Math.max(STRICTNESS.indexOf(a), STRICTNESS.indexOf(b))]!
  const translates = ({ translation }: Pick<NatBehaviour, 'translation'>): boolean =>
    translation === 'napt' || translation === 'one-to-one'
  return {
    translation: translationThrough(inner, outer),
    mapping: stricter(inner.mapping, outer.mapping),
    filtering: stricter(inner.filtering, outer.filtering),
    allocation: allocationThrough(inner.allocation, outer.allocation),
    blockPorts: outer.allocation === 'block' ? outer.blockPorts : inner.blockPorts,
    // It turns round at the outermost address, and comes back in through everything further inside as a stranger.
    hairpin: translates(outer) ? outer.hairpin && inner.filtering === 'endpoint-independent' : inner.hairpin,
    udpBlocked: inner.udpBlocked || outer.udpBlocked
  }
}

type Translating = Pick<NatBehaviour, 'translation' | 'filtering'>

function translationThrough(inner: Translating, outer: Translating): NatBehaviour['translation'] {
  const translations = [inner.translation, outer.translation]
  if (translations.includes('napt')) return 'napt'
  if (!translations.includes('one-to-one')) return translations.includes('firewall') ? 'firewall' : 'none'
  // Nothing unasked comes through the firewall, so all that is seen is that the address changes.
  return translations.includes('firewall') ? 'napt' : 'one-to-one'
}

function allocationThrough(inner: PortAllocation, outer: PortAllocation): PortAllocation {
  if (outer === 'preserving') return inner
  const isRepeatable = inner === 'preserving' || inner === 'deterministic'
  return outer === 'deterministic' && !isRepeatable ? 'random' : outer
}

/** Entries are read a moment after their last packet, seconds. */
const TIMEOUT_SLACK_S = 3

/**
 * Judge the NATs of one host's way out.
 * @param timeouts what each router's table said, in the order of `routersOf`; null: it was not looked at
 */
export function natRow(
  plan: Plan,
  host: PlannedHost,
  seen: NatWords,
  timeouts: Array<SeenTimeouts | null>
): { row: NatRow; timeoutsProved: boolean } {
  const routers = routersOf(plan, host)
  const { udp, tcp, block, udpBlocked } = claimOf(routers, host)
  const claimed = [udp, tcp]
  const observed = [udpBlocked && seen.udp === null ? 'UDP blocked' : textOf(seen.udp, block), textOf(seen.tcp, block)]
  const proved = observed.every((text, index) => text === claimed[index])
  const times = timeoutTexts(routers, timeouts)
  const timeoutsProved = times.claimed === times.observed
  return {
    timeoutsProved,
    row: {
      kind: nameOf(routers, host),
      claimed: joined(claimed, times.claimed),
      observed: `${joined(observed, times.observed)}${times.unread}`,
      proved: proved && timeoutsProved
    }
  }
}

/** The row of a NAT that let nothing be seen at all. */
export function natBlindRow(plan: Plan, host: PlannedHost, why: string): NatRow {
  const routers = routersOf(plan, host)
  const { udp, tcp } = claimOf(routers, host)
  return { kind: nameOf(routers, host), claimed: joined([udp, tcp], ''), observed: `nothing: ${why}`, proved: false }
}

function nameOf(routers: PlannedRouter[], { nat }: PlannedHost): string {
  const kinds = routers.map(({ kind }) => kind).join(' behind ')
  return nat === kinds || nat === null ? kinds : `${kinds} (${nat})`
}

interface Claim {
  udp: string
  tcp: string
  udpBlocked: boolean
  block: Block
}

/** Ports that a host's mappings must lie in; null where that is not by blocks. */
type Block = { first: number; last: number } | null

function claimOf(routers: PlannedRouter[], host: PlannedHost): Claim {
  const path = behaviourOfPath(routers.map(({ behaviour }) => behaviour))
  const { translation, mapping, filtering, allocation, blockPorts, hairpin, udpBlocked } = path
  const outermost = routers.findLast(({ behaviour }) => ['napt', 'one-to-one'].includes(behaviour.translation))
  const address = outermost?.outside.address ?? host.attachment.address
  const blocked = routers.findLast(({ behaviour }) => behaviour.allocation === 'block')
  // What a router translates is what it gets: the host's own address, or that of the NAT inside.
  const source =
    routers
      .slice(0, blocked === undefined ? 0 : routers.indexOf(blocked))
      .findLast(({ behaviour }) => behaviour.translation !== 'none' && behaviour.translation !== 'firewall')?.outside
      .address ?? host.attachment.address
  const block = allocation === 'block' ? portBlock(source, blockPorts) : null
  const words: ProtocolWords = {
    translation,
    mapping,
    filtering,
    allocation,
    ports: block === null ? [0, 0] : [block.first, block.last],
    hairpin: translation === 'none' || translation === 'firewall' ? null : hairpin,
    address
  }
  const text = textOf(words, block)
  return { udp: udpBlocked ? 'UDP blocked' : text, tcp: text, udpBlocked, block }
}

function textOf(words: ProtocolWords | null, block: Block): string {
  if (words === null) return 'no answer'
  const { translation, mapping, filtering, allocation, ports, hairpin, address } = words
  const inBlock = block !== null && ports[0] >= block.first && ports[1] <= block.last
  const range =
    allocation !== 'block' ? '' : inBlock ? ` ${block.first}–${block.last}` : ` somewhere in ${ports[0]}–${ports[1]}`
  const turn =
    hairpin === null ? [] : [typeof hairpin === 'string' ? `hairpin ${hairpin}` : `${hairpin ? '' : 'no '}hairpin`]
  return [
    translation,
    `mapping ${mapping}`,
    `filtering ${filtering}`,
    `ports ${allocation}${range}`,
    ...turn,
    `as ${address}`
  ].join(', ')
}

function joined([udp, tcp]: string[], times: string): string {
  const both = udp === tcp ? udp! : `UDP: ${udp}; TCP: ${tcp}`
  return times === '' ? both : `${both}; ${times}`
}

function timeoutTexts(
  routers: PlannedRouter[],
  seen: Array<SeenTimeouts | null>
): { claimed: string; observed: string; unread: string } {
  const tracking = routers.flatMap(({ behaviour }, index) =>
    behaviour.translation === 'none' ? [] : [{ behaviour, found: seen[index] ?? null }]
  )
  const texts = tracking.flatMap(({ behaviour: { timeouts, udpBlocked }, found }) => {
    if (found === null) return []
    const names = (['udpS', 'udpStreamS', 'tcpEstablishedS'] as const).filter(
      name => name === 'tcpEstablishedS' || !udpBlocked
    )
    const observed = names.map(name => {
      const left = found[name]
      const slack = Math.min(TIMEOUT_SLACK_S, Math.floor(timeouts[name] / 2))
      const isIt = left !== null && left <= timeouts[name] && left >= timeouts[name] - slack
      return `${LABELS[name]} ${isIt ? timeouts[name] : (left ?? 'not seen')} s`
    })
    const claimed = names.map(name => `${LABELS[name]} ${timeouts[name]} s`)
    return [{ claimed: claimed.join(', '), observed: observed.join(', ') }]
  })
  return {
    claimed: texts.map(({ claimed }) => claimed).join(' / '),
    observed: texts.map(({ observed }) => observed).join(' / '),
    unread: texts.length < tracking.length ? '; timeouts not read: this kernel shows no conntrack table' : ''
  }
}

const LABELS: Record<keyof MappingTimeouts, string> = {
  udpS: 'UDP',
  udpStreamS: 'UDP stream',
  tcpEstablishedS: 'TCP'
}
