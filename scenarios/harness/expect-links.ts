/** What a plan claims of the links between a host and the internet, how that is measured, and whether it agrees. Pure. */
import {
  AT_START,
  bufferPackets,
  type Impairment,
  isShaped,
  judgeStream,
  type LinkFigure,
  nat64Address,
  type Plan,
  type PlannedHost,
  type PlannedLink,
  type StreamAsk,
  type StreamSeen
} from '../../netem/index.ts'
import { routersOf } from './expect-nats.ts'

export interface LinkRow {
  /** `alice up`, `alice down from relay`. */
  link: string
  what: LinkFigure['what']
  asked: string
  got: string
  ok: boolean
}

/** One direction between a host and a reflector. */
export interface Way {
  host: string
  reflector: string
  /** How the host addresses the reflector. */
  address: string
  direction: 'up' | 'down'
  /** Everything a packet goes through on it. */
  impairments: Impairment[]
}

const SMALL_BYTES = 100
const LONG_BYTES = 1000
const BURST_BYTES = 1200
/** Where links are slow, so that a burst does not take long. */
const SLOW_BURST_BYTES = 300
const SLOW_KBIT = 1000
const HEADER_BYTES = 42
const FEW_PACKETS = 24
const SOME_PACKETS = 150
const MANY_PACKETS = 15_000
/** Hits of the rarest chance that are to be expected, so that none at all is a sign. */
const HITS_EXPECTED = 14
const PACED_PER_SECOND = 200
const MANY_PER_SECOND = 4000
/** Share of a rate that a stream may use without waiting for itself. */
const UNHURRIED = 0.4
/** Longest that one stream may take, seconds. */
const STREAM_S = 6
/** A burst lasts about this long at the rate asked for. */
const BURST_MS = 120
const BURST_PACKETS = { min: 6, max: 3000 }
/** The middle of three: a burst that was read in lumps looks faster than it was. */
const BURSTS = 3
const SETTLE_MS = 300

/** Whether anything is asked of a link on the way from a host to the internet. */
export function isImpaired(plan: Plan, host: PlannedHost): boolean {
  return [host.link, ...routersOf(plan, host).map(({ link }) => link)].some(isShaped)
}

/** What a link asks of one direction for a peer. */
function askedOf(link: PlannedLink, direction: 'up' | 'down', peer: string): Impairment | null {
  const special = link.peers?.find(({ prefix }) => isWithin(peer, prefix))
  return (special ?? link)[direction]
}

/** Whether an IPv4 address is in a subnet. */
export function isWithin(address: string, subnet: string): boolean {
  if (subnet.includes(':')) return false
  const [base = '', length = ''] = subnet.split('/')
  const numberOf = (text: string): number => text.split('.').reduce((sum, byte) => sum * 256 + Number(byte), 0)
  const size = 2 ** (32 - Number(length))
  return Math.floor(numberOf(address) / size) === Math.floor(numberOf(base) / size)
}

/** Both directions between a host and a reflector on the internet; only those that anything is asked of. */
export function waysOf(plan: Plan, host: PlannedHost, reflector: PlannedHost): Way[] {
  const routers = routersOf(plan, host)
  const { address } = reflector.attachment
  // Who is behind a translating NAT is seen as its router; one that translates nothing shows the host itself.
  const translating = routers.findLast(({ behaviour }) => !['none', 'firewall'].includes(behaviour.translation))
  const seenAs = translating?.outside.address ?? host.attachment.address
  return (['up', 'down'] as const).flatMap(direction => {
    const opposite = direction === 'up' ? 'down' : 'up'
    const impairments = [
      askedOf(host.link, direction, address),
      ...routers.map(({ link }) => askedOf(link, direction, address)),
      askedOf(reflector.link, opposite, seenAs)
    ].filter(each => each !== null)
    if (impairments.length === 0) return []
    const as = host.isIpv6Only ? nat64Address(address) : address
    return [{ host: host.name, reflector: reflector.name, address: as, direction, impairments }]
  })
}

/** Reflectors that between them show every peer prefix of a host's way: the first, and one in each prefix. */
export function reflectorsFor(plan: Plan, host: PlannedHost, reflectors: PlannedHost[]): PlannedHost[] {
  const links = [host.link, ...routersOf(plan, host).map(({ link }) => link)]
  const sameWay = (a: PlannedHost, b: PlannedHost): boolean =>
    links.every(link =>
      (['up', 'down'] as const).every(
        direction => askedOf(link, direction, a.attachment.address) === askedOf(link, direction, b.attachment.address)
      )
    )
  return reflectors.filter((reflector, index) => !reflectors.slice(0, index).some(other => sameWay(other, reflector)))
}

/** Several links one behind the other as one: what a packet sees of them together. */
export function together(impairments: Impairment[]): Impairment {
  if (impairments.length === 1) return impairments[0]!
  const sum = (word: 'delayMs'): number => impairments.reduce((total, each) => total + (each[word] ?? 0), 0)
  const either = (word: 'lossPct' | 'duplicatePct' | 'corruptPct'): number =>
    100 * (1 - impairments.reduce((passes, each) => passes * (1 - (each[word] ?? 0) / 100), 1))
  const rates = impairments.flatMap(({ rateKbit }) => rateKbit ?? [])
  // Spreads one behind the other have no name; runs of losses and overtaking mix.
  const delayMs = impairments.some(({ jitterMs, reorderPct }) => jitterMs || reorderPct) ? 0 : sum('delayMs')
  return {
    ...(delayMs > 0 ? { delayMs } : {}),
    ...(either('lossPct') > 0 ? { lossPct: either('lossPct') } : {}),
    ...(either('duplicatePct') > 0 ? { duplicatePct: either('duplicatePct') } : {}),
    ...(either('corruptPct') > 0 ? { corruptPct: either('corruptPct') } : {}),
    ...(rates.length > 0 ? { rateKbit: Math.min(...rates) } : {})
  }
}

/** The streams that show what is asked of a way: one paced, and bursts where there is a rate. */
export function streamsFor({ direction, impairments }: Way): StreamAsk[] {
  const {
    delayMs = 0,
    rateKbit = 0,
    lossPct = 0,
    duplicatePct = 0,
    corruptPct = 0,
    reorderPct = 0
  } = together(impairments)
  const jitterMs = Math.max(0, ...impairments.map(each => each.jitterMs ?? 0))
  const chances = [lossPct, duplicatePct, corruptPct, reorderPct].filter(pct => pct > 0)
  const payloadBytes = corruptPct > 0 ? LONG_BYTES : SMALL_BYTES
  const wanted =
    chances.length > 0
      ? Math.min(MANY_PACKETS, Math.max(SOME_PACKETS, Math.ceil((HITS_EXPECTED * 100) / Math.min(...chances))))
      : jitterMs > 0
        ? SOME_PACKETS
        : FEW_PACKETS
  const frameKbit = ((payloadBytes + HEADER_BYTES) * 8) / 1000
  const quickest = wanted > SOME_PACKETS ? MANY_PER_SECOND : PACED_PER_SECOND
  // A buffer is counted in packets, however small: a stream must fit into it while it is under way.
  const underWayMs = impairments.reduce((ms, each) => ms + (each.delayMs ?? 0), 0) + 4 * jitterMs
  const fits = (UNHURRIED * 1000 * Math.min(...impairments.map(bufferPackets))) / Math.max(1, underWayMs)
  const perSecond = Math.min(quickest, fits, rateKbit === 0 ? quickest : (UNHURRIED * rateKbit) / frameKbit)
  const packets = Math.max(BURST_PACKETS.min, Math.min(wanted, Math.floor(perSecond * STREAM_S)))
  const settleMs = SETTLE_MS + Math.ceil(underWayMs)
  const paced = { direction, packets, payloadBytes, perSecond, earlyBelowMs: delayMs / 2, settleMs }
  return [paced, ...Array.from({ length: rateKbit === 0 ? 0 : BURSTS }, () => burstAt(rateKbit, direction, settleMs))]
}

function burstAt(rateKbit: number, direction: 'up' | 'down', settleMs: number): StreamAsk {
  const payloadBytes = rateKbit < SLOW_KBIT ? SLOW_BURST_BYTES : BURST_BYTES
  const frameBits = (payloadBytes + HEADER_BYTES) * 8
  const { min, max } = BURST_PACKETS
  const packets = Math.min(max, Math.max(min, Math.ceil((rateKbit * BURST_MS) / frameBits)))
  const lastsMs = Math.ceil((packets * frameBits) / rateKbit)
  return { direction, packets, payloadBytes, perSecond: 0, earlyBelowMs: 0, settleMs: settleMs + lastsMs }
}

/** Rows of one way, by what its streams showed. Nothing seen is nothing proved. */
export function linkRows(way: Way, streams: StreamAsk[], seen: StreamSeen[], others: number): LinkRow[] {
  const asked = together(way.impairments)
  const link = `${way.host} ${way.direction}${others === 0 ? '' : ` ${way.direction === 'up' ? 'to' : 'from'} ${way.reflector}`}`
  const [paced, ...bursts] = streams
  const figures = judgeStream(asked, seen[0]!, paced!, AT_START).filter(({ what }) => what !== 'rate')
  const rates = seen
    .slice(1)
    .filter(({ rateKbit }) => rateKbit !== null)
    .toSorted((a, b) => a.rateKbit! - b.rateKbit!)
  const middle = rates[Math.floor(rates.length / 2)]
  if (middle !== undefined) figures.push(...judgeStream(asked, middle, bursts[0]!, AT_START).filter(isRate))
  else if (bursts.length > 0) figures.push(...judgeStream(asked, seen[1]!, bursts[0]!, AT_START).filter(isRate))
  const apart = delayOfSpreads(way, seen[0]!)
  return [...(apart === null ? [] : [apart]), ...figures].map(figure => ({ link, ...figure }))
}

/** Where spreads add up their sum has no name, but its mean does. */
function delayOfSpreads({ impairments }: Way, { delayMs }: StreamSeen): LinkFigure | null {
  const spreads = impairments.filter(({ jitterMs, reorderPct }) => (jitterMs ?? 0) > 0 || (reorderPct ?? 0) > 0)
  if (impairments.length === 1 || spreads.length === 0) return null
  const sum = (of: (each: Impairment) => number): number => impairments.reduce((ms, each) => ms + of(each), 0)
  const askedMs = sum(({ delayMs: ms = 0, reorderPct = 0 }) => ms * (1 - reorderPct / 100))
  const spreadMs = sum(each => each.jitterMs ?? 0)
  const got = delayMs?.mean ?? null
  const { earlyMs, lateMs } = AT_START
  const ok = got !== null && got >= askedMs - spreadMs - earlyMs && got <= askedMs + spreadMs + lateMs
  const asked = `${askedMs} ms in the mean, ± ${spreadMs} ms in all`
  return { what: 'delay', asked, got: got === null ? 'nothing came' : `${got} ms`, ok }
}

const isRate = ({ what }: LinkFigure): boolean => what === 'rate'
