/**
 * What an impairment must look like from user space: the streams that show it, how they are judged, and one table of
 * impairments that every means of shaping is tried with. Pure.
 */

import { bufferPackets } from './buffer.ts'
import { jitterQuantile } from './jitter.ts'
import type { StreamAsk, StreamSeen } from './link-probe.ts'
import type { Impairment } from './topology.ts'

/** One impairment and how many packets show it. */
export interface LinkCase {
  name: string
  impairment: Impairment
  packets: number
  payloadBytes: number
  /** 0: all at once. */
  perSecond: number
}

const MS_PER_S = 1000
/** Headers of a packet of the probe, bytes: Ethernet, IPv4, UDP. */
const HEADER_BYTES = 42
const SMALL_BYTES = 100
/** A bit flipped in an Ethernet source address does no harm: long packets make that rare. */
const LONG_BYTES = 1000
const BURST_BYTES = 1200
/** Room for the machine to be late, milliseconds. */
const SETTLE_MS = 300

const paced = (name: string, impairment: Impairment, packets: number, perSecond: number): LinkCase => ({
  name,
  impairment,
  packets,
  payloadBytes: impairment.corruptPct === undefined ? SMALL_BYTES : LONG_BYTES,
  perSecond
})

/** The table: every word, and the figures that the project promises. */
export const LINK_CASES: readonly LinkCase[] = [
  paced('delay 5 ms', { delayMs: 5 }, 1000, 500),
  paced('delay 50 ms', { delayMs: 50 }, 1000, 500),
  paced('delay 200 ms', { delayMs: 200 }, 1000, 500),
  paced('jitter, uniform', { delayMs: 50, jitterMs: 20 }, 2000, 1000),
  paced('jitter, normal', { delayMs: 50, jitterMs: 10, distribution: 'normal' }, 2000, 1000),
  paced('jitter, pareto', { delayMs: 50, jitterMs: 10, distribution: 'pareto' }, 2000, 1000),
  paced('jitter, paretonormal', { delayMs: 50, jitterMs: 10, distribution: 'paretonormal' }, 2000, 1000),
  paced('loss 1 %', { lossPct: 1 }, 20_000, 4000),
  paced('loss 5 %', { lossPct: 5 }, 20_000, 4000),
  paced('loss 20 %', { lossPct: 20 }, 20_000, 4000),
  paced('loss 5 % in bursts of 4', { lossPct: 5, lossBurst: 4 }, 20_000, 4000),
  paced('reorder 25 %', { delayMs: 20, reorderPct: 25 }, 4000, 1000),
  paced('duplicate 10 %', { duplicatePct: 10 }, 8000, 2000),
  paced('corrupt 10 %', { corruptPct: 10 }, 8000, 2000),
  {
    name: 'rate 10 Mbit/s',
    impairment: { rateKbit: 10_000 },
    packets: 3000,
    payloadBytes: BURST_BYTES,
    perSecond: 1100
  },
  {
    name: 'rate 50 Mbit/s',
    impairment: { rateKbit: 50_000 },
    packets: 12_000,
    payloadBytes: BURST_BYTES,
    perSecond: 5500
  },
  {
    name: 'limit 20 packets',
    impairment: { rateKbit: 1000, limitPackets: 20 },
    packets: 60,
    payloadBytes: BURST_BYTES,
    perSecond: 0
  }
]

/** The stream that shows a case in one direction. */
export function streamOf(
  { impairment, packets, payloadBytes, perSecond }: LinkCase,
  direction: 'up' | 'down'
): StreamAsk {
  const settleMs = SETTLE_MS + underWayMs(impairment, payloadBytes)
  return { direction, packets, payloadBytes, perSecond, earlyBelowMs: (impairment.delayMs ?? 0) / 2, settleMs }
}

/** Longest that a packet is under way: delay, four jitters, and a full buffer before it. */
function underWayMs(impairment: Impairment, payloadBytes: number): number {
  const { delayMs = 0, jitterMs = 0, rateKbit = 0 } = impairment
  const bufferMs = rateKbit === 0 ? 0 : (bufferPackets(impairment) * (payloadBytes + HEADER_BYTES) * 8) / rateKbit
  return Math.ceil(delayMs + 4 * jitterMs + Math.min(bufferMs, MS_PER_S * 2))
}

/** One figure held against what was asked. */
export interface LinkFigure {
  what: 'delay' | 'jitter' | 'loss' | 'lossBurst' | 'rate' | 'reorder' | 'duplicate' | 'corrupt' | 'limit'
  asked: string
  got: string
  ok: boolean
}

/** How strictly figures are held: what a machine adds to a link by itself. */
export interface Strictness {
  /** A delay may be over by so much, milliseconds. */
  lateMs: number
  /** And under by so much. */
  earlyMs: number
  /** Share by which a rate may be under, and over. */
  slower: number
  faster: number
  /** Chance that a right link is called wrong, for figures of chance. */
  misjudged: number
  /** Which delay stands for a stream: the median of an idle machine, or the best of a busy one. */
  delayBy: 'median' | 'best'
}

/** On an idle machine: the project's figures. */
export const STRICT: Strictness = {
  lateMs: 0.5,
  earlyMs: 0.5,
  slower: 0.05,
  faster: 0.05,
  misjudged: 1e-4,
  delayBy: 'median'
}

/** Under software emulation or on a crowded machine: nothing is faster or kinder than asked; later or slower is the machine. */
export const LOWER_BOUNDS: Strictness = {
  lateMs: Number.POSITIVE_INFINITY,
  earlyMs: 1,
  slower: 1,
  faster: 0.3,
  misjudged: 1e-6,
  delayBy: 'best'
}

/** On a machine that has other things to do: later or slower is the machine, within reason; what is not there is seen. */
export const AT_START: Strictness = {
  lateMs: 25,
  earlyMs: 1,
  slower: 1,
  faster: 0.3,
  misjudged: 1e-4,
  delayBy: 'best'
}

/** Every figure of an impairment that a stream through it shows. */
export function judgeStream(
  impairment: Impairment,
  seen: StreamSeen,
  ask: StreamAsk,
  strict: Strictness
): LinkFigure[] {
  return [
    ...delayFigures(impairment, seen, ask, strict),
    ...lossFigures(impairment, seen, ask, strict),
    ...rateFigures(impairment, seen, ask, strict)
  ]
}

function delayFigures(impairment: Impairment, seen: StreamSeen, ask: StreamAsk, strict: Strictness): LinkFigure[] {
  const { delayMs = 0, jitterMs = 0, rateKbit = 0, reorderPct = 0, distribution = 'uniform' } = impairment
  // Behind a rate that is used up a packet waits for those before it, which is no delay of the link's.
  if (delayMs === 0 || (rateKbit > 0 && (ask.perSecond === 0 || frameKbit(ask) > rateKbit / 2))) return []
  const sendingMs = rateKbit === 0 ? 0 : ((ask.payloadBytes + HEADER_BYTES) * 8) / rateKbit
  const quantile = (share: number): number => delayMs + sendingMs + jitterMs * jitterQuantile(distribution, share)
  const inBounds = (got: number, asked: number): boolean =>
    got >= asked - strict.earlyMs && got <= asked + strict.lateMs
  const figures: LinkFigure[] = []
  const delays = seen.delayMs
  if (delays === null) return [{ what: 'delay', asked: ms(delayMs), got: 'nothing came', ok: false }]
  if (jitterMs === 0 && reorderPct < 50) {
    // Those that overtake are the first in order; the others' own middle lies behind them.
    const got = reorderPct > 0 ? delays.p75 : strict.delayBy === 'median' ? delays.p50 : delays.min
    figures.push({ what: 'delay', asked: ms(delayMs), got: ms(got), ok: inBounds(got, delayMs + sendingMs) })
  }
  if (jitterMs > 0 && reorderPct === 0) {
    // A quantile of some thousand draws strays by a few hundredths of the spread.
    const slackMs = jitterMs * (4 / Math.sqrt(Math.max(1, seen.received)) + 0.05)
    const shares = [0.05, 0.25, 0.5, 0.75, 0.95] as const
    const gots = [delays.p5, delays.p25, delays.p50, delays.p75, delays.p95]
    const within = (got: number, least: number, most: number): boolean =>
      got >= Math.max(0, least) - strict.earlyMs && got <= Math.max(0, most) + strict.lateMs
    const isRight = shares.every((share, n) => {
      const slack = tail(share) * slackMs
      // At a rate packets keep their order: each waits for the latest before it, at most for the slowest of all.
      const most = rateKbit === 0 ? quantile(share) + slack : quantile(SLOWEST) + slack
      return within(gots[n]!, quantile(share) - slack, most)
    })
    const widthMs = quantile(0.95) - quantile(0.05)
    const isWide = rateKbit === 0 ? delays.p95 - delays.p5 >= widthMs / 2 : delays.max - delays.min >= jitterMs / 2
    const asked = shares.map(share => Math.max(0, quantile(share)).toFixed(1)).join(' ')
    const got = gots.map(value => value.toFixed(1)).join(' ')
    const what = `${ms(delayMs)} ± ${ms(jitterMs)} ${distribution}: ${asked}`
    figures.push({ what: 'jitter', asked: what, got, ok: isRight && isWide })
  }
  if (reorderPct > 0) figures.push(chanceFigure('reorder', reorderPct / 100, seen.early, seen.received, strict))
  return figures
}

/** As good as the end of a distribution. */
const SLOWEST = 0.9999

/** The thin end of a distribution is known less well than its middle. */
const tail = (share: number): number => (share > 0.9 || share < 0.1 ? 2.5 : 1)

function lossFigures(impairment: Impairment, seen: StreamSeen, ask: StreamAsk, strict: Strictness): LinkFigure[] {
  const { lossPct = 0, lossBurst, duplicatePct = 0, corruptPct = 0, rateKbit = 0, limitPackets } = impairment
  const figures: LinkFigure[] = []
  const lost = seen.sent - seen.received
  if (limitPackets !== undefined && rateKbit > 0 && ask.perSecond === 0 && ask.packets > limitPackets) {
    const room = limitPackets + 2
    const ok = seen.received > 0 && seen.received <= room && (strict.slower === 1 || seen.received >= limitPackets)
    figures.push({ what: 'limit', asked: `${limitPackets} packets`, got: `${seen.received} of ${seen.sent} came`, ok })
  }
  // Where a rate drops what its buffer cannot hold, nothing tells that from chance.
  if (rateKbit > 0 && (ask.perSecond === 0 || frameKbit(ask) > rateKbit)) return figures
  if (lossBurst !== undefined && lossPct > 0) {
    const recover = 1 / lossBurst
    const fail = lossPct / (lossBurst * (100 - lossPct))
    // Neighbours are lost together, so that fewer of them are independent.
    const together = 1 - fail - recover
    const effective = Math.max(1, (seen.sent * (1 - together)) / (1 + together))
    const share = lossPct / 100
    figures.push(normalFigure('loss', share, lost, seen.sent, effective, strict))
    const mean = seen.lossRuns === 0 ? 0 : lost / seen.lossRuns
    const deviation = Math.sqrt((lossBurst * (lossBurst - 1)) / Math.max(1, seen.lossRuns))
    const ok = seen.lossRuns > 0 && Math.abs(mean - lossBurst) <= deviations(strict.misjudged) * deviation + 0.1
    figures.push({ what: 'lossBurst', asked: `${lossBurst} packets`, got: `${mean.toFixed(2)} packets`, ok })
  } else if (lossPct > 0) {
    const both = 1 - (1 - lossPct / 100) * (1 - corruptPct / 100)
    figures.push(chanceFigure('loss', both, lost, seen.sent, strict))
  }
  if (corruptPct > 0 && lossPct === 0) {
    // What is corrupt does not come; a few are, and do (a bit of the frame's header).
    const figure = chanceFigure('corrupt', corruptPct / 100, lost, seen.sent, strict)
    const some = seen.checksumErrors > 0 ? `, ${seen.checksumErrors} with a wrong checksum at the receiver` : ''
    figures.push({ ...figure, got: figure.got + some })
  }
  if (duplicatePct > 0)
    figures.push(
      normalFigure('duplicate', duplicatePct / 100, seen.duplicates, seen.received, seen.received / 2, strict)
    )
  return figures
}

function rateFigures(impairment: Impairment, seen: StreamSeen, ask: StreamAsk, strict: Strictness): LinkFigure[] {
  const { rateKbit = 0 } = impairment
  if (rateKbit === 0 || (ask.perSecond > 0 && frameKbit(ask) < rateKbit)) return []
  // Duplicates are sent at the link's rate too, and a burst through a small buffer says nothing.
  const asked = `${rateKbit} kbit/s`
  if (seen.rateKbit === null) return [{ what: 'rate', asked, got: 'nothing came', ok: false }]
  const ok = seen.rateKbit <= rateKbit * (1 + strict.faster) && seen.rateKbit >= rateKbit * (1 - strict.slower)
  return [{ what: 'rate', asked, got: `${seen.rateKbit} kbit/s`, ok }]
}

const frameKbit = ({ payloadBytes, perSecond }: StreamAsk): number =>
  ((payloadBytes + HEADER_BYTES) * 8 * perSecond) / MS_PER_S

function chanceFigure(
  what: LinkFigure['what'],
  share: number,
  hits: number,
  of: number,
  { misjudged }: Strictness
): LinkFigure {
  const [low, high] = binomialInterval(of, share, misjudged)
  return { what, asked: percent(share), got: shown(hits, of), ok: of > 0 && hits >= low && hits <= high }
}

/** The same where events are not independent: `effective` of them are. */
function normalFigure(
  what: LinkFigure['what'],
  share: number,
  hits: number,
  of: number,
  effective: number,
  { misjudged }: Strictness
): LinkFigure {
  const deviation = Math.sqrt((share * (1 - share)) / Math.max(1, effective))
  const ok = of > 0 && Math.abs(hits / of - share) <= deviations(misjudged) * deviation
  return { what, asked: percent(share), got: shown(hits, of), ok }
}

const shown = (hits: number, of: number): string => `${percent(of === 0 ? 0 : hits / of)} (${hits} of ${of})`
const percent = (share: number): string => `${Number((share * 100).toFixed(2))} %`
const ms = (value: number): string => `${Number(value.toFixed(2))} ms`

/** Two-sided, of the normal distribution: 1e-4 are 3.9 deviations. */
function deviations(misjudged: number): number {
  return misjudged >= 1e-4 ? 3.9 : 4.9
}

/**
 * The smallest interval of hits around the middle that `trials` with this chance leave only with the chance `outside`:
 * half of it below, half above. `binomialInterval(20000, 0.05, 1e-4)` is the 99.99 % interval.
 */
export function binomialInterval(trials: number, chance: number, outside: number): [low: number, high: number] {
  if (chance <= 0) return [0, 0]
  if (chance >= 1) return [trials, trials]
  // In logarithms: the chance of no hit at all in 20,000 trials is no number otherwise.
  let logarithm = trials * Math.log1p(-chance)
  let below = 0
  let low = -1
  for (let hits = 0; hits <= trials; hits++) {
    below += Math.exp(logarithm)
    if (low < 0 && below > outside / 2) low = hits
    if (below >= 1 - outside / 2) return [low, hits]
    logarithm += Math.log((trials - hits) / (hits + 1)) + Math.log(chance / (1 - chance))
  }
  return [Math.max(0, low), trials]
}
