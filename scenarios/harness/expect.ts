/** What a plan claims of the links between a host and the internet, and whether what was measured agrees. Pure. */
import type { Impairment, Plan, PlannedHost, PlannedLink } from '../../netem/index.ts'
import { routersOf } from './expect-nats.ts'
import type { ProbeResult } from './probe-programs.ts'

export interface LinkRow {
  link: string
  what: 'delay' | 'loss' | 'rate'
  asked: string
  got: string
  ok: boolean
}

/** Scheduling of two processes on a crowded machine may add this to the best of many round trips, milliseconds. */
const SLACK_MS = 25
/** Timers and the shaper's clock may be early by this, milliseconds. */
const EARLY_MS = 1
/** A receiver that is scheduled late reads a burst in lumps, which looks faster than it was. */
const RATE_OVER = 1.3
/** Loss is a chance: this many standard deviations of what that many packets give by luck. */
const LOSS_DEVIATIONS = 4

/** Judge the impairments between a host and a reflector by round trips. */
export function linkRows(plan: Plan, host: PlannedHost, reflector: PlannedHost, probe: ProbeResult): LinkRow[] {
  const links: PlannedLink[] = [host.link, ...routersOf(plan, host).map(({ link }) => link), reflector.link]
  const both = links.flatMap(({ up, down }) => [up, down]).filter(impairment => impairment !== null)
  if (both.length === 0) return []
  const sum = (of: (impairment: Impairment) => number | undefined): number =>
    both.reduce((total, impairment) => total + (of(impairment) ?? 0), 0)
  const delayMs = sum(({ delayMs }) => delayMs)
  const jitterMs = sum(({ jitterMs }) => jitterMs)
  const passes = both.reduce((chance, { lossPct = 0 }) => chance * (1 - lossPct / 100), 1)
  const rows: LinkRow[] = []
  const name = `${host.name} to ${reflector.name} and back`
  if (delayMs > 0) {
    const best = Math.min(...probe.roundTripsMs)
    const asked = jitterMs > 0 ? `${delayMs} ± ${jitterMs} ms` : `${delayMs} ms`
    const ok = best >= delayMs - jitterMs - EARLY_MS && best <= delayMs + jitterMs + SLACK_MS
    rows.push({ link: name, what: 'delay', asked, got: `${best.toFixed(1)} ms`, ok })
  }
  if (passes < 1) {
    const lost = 1 - probe.roundTripsMs.length / probe.sent
    const deviation = Math.sqrt((passes * (1 - passes)) / probe.sent)
    const ok = Math.abs(lost - (1 - passes)) <= LOSS_DEVIATIONS * deviation
    rows.push({ link: name, what: 'loss', asked: percent(1 - passes), got: percent(lost), ok })
  }
  return rows
}

/** Slowest rate limit on the way from a host (`up`) and to it (`down`), kilobit per second, null where there is none. */
export function ratesOf(plan: Plan, host: PlannedHost): { up: number | null; down: number | null } {
  const links = [host.link, ...routersOf(plan, host).map(({ link }) => link)]
  const slowest = (direction: 'up' | 'down'): number | null => {
    const rates = links.flatMap(link => link[direction]?.rateKbit ?? [])
    return rates.length === 0 ? null : Math.min(...rates)
  }
  return { up: slowest('up'), down: slowest('down') }
}

/**
 * Judge one direction's rate limit by the median of what bursts measured. A rate is a ceiling: less than asked is shown,
 * not judged, because on a crowded machine it is the machine that is slow.
 */
export function rateRow(
  host: PlannedHost,
  direction: 'up' | 'down',
  askedKbit: number,
  measuredKbit: number[]
): LinkRow {
  const median = measuredKbit.toSorted((a, b) => a - b)[Math.floor(measuredKbit.length / 2)]
  const ok = median !== undefined && median <= askedKbit * RATE_OVER
  const got = median === undefined ? 'nothing came' : `${median} kbit/s`
  return { link: `${host.name} ${direction}`, what: 'rate', asked: `${askedKbit} kbit/s`, got, ok }
}

/** Whether anything is asked of a link on the way from a host to the internet. */
export function isImpaired(plan: Plan, host: PlannedHost): boolean {
  const links = [host.link, ...routersOf(plan, host).map(({ link }) => link)]
  return links.some(({ up, down }) => up !== null || down !== null)
}

/** Whether anything on the way loses packets, so that more of them must be sent. */
export function loses(plan: Plan, host: PlannedHost): boolean {
  const links = [host.link, ...routersOf(plan, host).map(({ link }) => link)]
  return links.some(({ up, down }) => (up?.lossPct ?? 0) > 0 || (down?.lossPct ?? 0) > 0)
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`
}
