/** What is wrong with a link, and what would be right. Pure. */
import { isIP } from 'node:net'
import { bufferPackets, FULL_PACKET_BITS } from './buffer.ts'
import { DISTRIBUTIONS } from './jitter.ts'
import { LINK_PRESET_NAMES } from './link-presets.ts'
import { directionsOf, isLinkSpec } from './links.ts'
import { has, shown } from './names.ts'
import type { Directions, Impairment, Link } from './topology.ts'
import type { Report } from './validate.ts'

type NumberWord = Exclude<keyof Impairment, 'distribution'>

/** Smallest and largest value of each word, in its own unit. */
export const IMPAIRMENT_LIMITS: Record<NumberWord, { min: number; max: number }> = {
  delayMs: { min: 0, max: 60_000 },
  jitterMs: { min: 0, max: 60_000 },
  lossPct: { min: 0, max: 100 },
  lossBurst: { min: 1, max: 10_000 },
  rateKbit: { min: 0, max: 100_000_000 },
  reorderPct: { min: 0, max: 100 },
  duplicatePct: { min: 0, max: 100 },
  corruptPct: { min: 0, max: 100 },
  limitPackets: { min: 1, max: 1_000_000 }
}

/** Every word of an impairment. */
export const WORDS = [...Object.keys(IMPAIRMENT_LIMITS), 'distribution'] as Array<keyof Impairment>
const BITS_PER_KBIT = 1000
/** Peers of one link: each is a queue and a rule. */
const PEERS_MAX = 64

/** Words as other tools have them, without a unit, and what they are here. */
const WITHOUT_UNIT: Readonly<Record<string, string>> = {
  delay: 'delayMs: 50',
  latency: 'delayMs: 50',
  jitter: 'jitterMs: 5',
  loss: 'lossPct: 1',
  rate: 'rateKbit: 10_000',
  bandwidth: 'rateKbit: 10_000',
  reorder: 'reorderPct: 25',
  duplicate: 'duplicatePct: 1',
  corrupt: 'corruptPct: 0.1',
  limit: 'limitPackets: 1000',
  delayS: 'delayMs: 50',
  rateMbit: 'rateKbit: 10_000'
}

/** What a text with a unit is in the unit of a word, or null. */
function inUnitOf(word: NumberWord, text: string): number | null {
  const [, digits, unit = ''] = /^\s*(\d+(?:\.\d+)?)\s*([a-z%/]*)\s*$/i.exec(text) ?? []
  if (digits === undefined) return null
  const factors: Record<string, number> = word.endsWith('Ms')
    ? { '': 1, ms: 1, s: 1000, us: 0.001 }
    : word === 'rateKbit'
      ? { '': 1, kbit: 1, 'kbit/s': 1, kbps: 1, mbit: 1000, 'mbit/s': 1000, mbps: 1000, gbit: 1_000_000, bit: 0.001 }
      : { '': 1, '%': 1, packets: 1 }
  const factor = factors[unit.toLowerCase()]
  return factor === undefined ? null : Number(digits) * factor
}

/** Reports every problem of a link: unknown words and presets, units, values out of range, words that need another. */
export function validateLink(link: Link, path: string, report: Report): void {
  if (typeof link === 'string') {
    checkPreset(link, path, report)
    return
  }
  if (!isObject(link)) {
    report(path, 'BAD_LINK', `is a preset's name, an impairment, or { up, down, peers }`)
    return
  }
  if ('preset' in link) {
    if (!checkPreset(link.preset, `${path}.preset`, report)) return
    const { preset: _, ...changes } = link
    checkDirections(changes, path, report)
    // Words are checked as they are written; what goes together, as it becomes.
    if (Object.values(changes).every(isObject) || !isLinkSpec(changes)) {
      const { up, down } = directionsOf(link)
      for (const [name, whole] of [['up', up] as const, ['down', down] as const]) {
        if (hasNumbersOnly(whole)) checkTogether(whole, isLinkSpec(changes) ? `${path}.${name}` : path, report)
        if (!isLinkSpec(changes)) break
      }
    }
  } else checkDirections(link, path, report, checkTogether)
}

type Together = (impairment: Impairment, path: string, report: Report) => void

function checkDirections(link: object, path: string, report: Report, together: Together = () => {}): void {
  if (!isLinkSpec(link)) {
    validateImpairment(link, path, report, together)
    return
  }
  for (const [key, value] of Object.entries(link)) {
    if (key === 'peers') checkPeers(value, `${path}.peers`, report)
    else if (key !== 'up' && key !== 'down') {
      report(`${path}.${key}`, 'UNKNOWN_KEY', 'is not a word beside up, down and peers; put it into up or down')
    } else if (value !== undefined) validateImpairment(value as Impairment, `${path}.${key}`, report, together)
  }
}

function checkPeers(peers: unknown, path: string, report: Report): void {
  if (!isObject(peers)) {
    report(path, 'BAD_LINK', "is an object of subnet: impairment, such as { '11.0.0.0/24': { delayMs: 80 } }")
    return
  }
  const entries = Object.entries(peers)
  if (entries.length > PEERS_MAX)
    report(path, 'TOO_MANY_PEERS', `${entries.length} peers; a link may have ${PEERS_MAX}`)
  for (const [prefix, peer] of entries) {
    const at = `${path}.${prefix}`
    if (!isPrefix(prefix)) report(at, 'BAD_SUBNET', `${shown(prefix)} is not a subnet such as 11.0.0.0/24`)
    if (!isObject(peer)) report(at, 'BAD_LINK', 'is an impairment, or { up, down }')
    else if ('peers' in peer) report(`${at}.peers`, 'UNKNOWN_KEY', 'is not a word here; peers have none of their own')
    else checkDirections(peer as Impairment | Directions, at, report, checkTogether)
  }
}

/** Whether a text is a subnet of either family. */
export function isPrefix(text: string): boolean {
  const [address = '', length = '', ...rest] = text.split('/')
  const family = isIP(address)
  return family > 0 && rest.length === 0 && /^\d{1,3}$/.test(length) && Number(length) <= (family === 4 ? 32 : 128)
}

function checkPreset(preset: unknown, path: string, report: Report): boolean {
  const isKnown = typeof preset === 'string' && LINK_PRESET_NAMES.some(name => name === preset)
  if (!isKnown)
    report(path, 'UNKNOWN_PRESET', `there is no link ${shown(preset)}; the presets are ${LINK_PRESET_NAMES.join(', ')}`)
  return isKnown
}

function validateImpairment(impairment: Impairment, path: string, report: Report, together: Together): void {
  if (!isObject(impairment)) {
    report(path, 'BAD_LINK', `is an object of ${WORDS.join(', ')}`)
    return
  }
  for (const [key, value] of Object.entries(impairment)) checkWord(key, value, `${path}.${key}`, report)
  if (hasNumbersOnly(impairment)) together(impairment, path, report)
}

function checkWord(key: string, value: unknown, path: string, report: Report): void {
  if (value === undefined) return
  if (key === 'distribution') {
    if (!DISTRIBUTIONS.some(name => name === value))
      report(path, 'UNKNOWN_DISTRIBUTION', `there is no ${shown(value)}; write ${DISTRIBUTIONS.join(', ')}`)
    return
  }
  if (!has(IMPAIRMENT_LIMITS, key)) {
    const right = has(WITHOUT_UNIT, key) ? WITHOUT_UNIT[key] : undefined
    if (right !== undefined) report(path, 'UNIT_MISSING', `has no unit in its name; write ${right}`)
    else report(path, 'UNKNOWN_KEY', `is not an impairment; the words are ${WORDS.join(', ')}`)
    return
  }
  const { min, max } = IMPAIRMENT_LIMITS[key as NumberWord]
  if (typeof value === 'string') {
    const number = inUnitOf(key as NumberWord, value)
    const fix = number === null ? `a number from ${min} to ${max}` : `${key}: ${number}`
    report(path, 'NOT_A_NUMBER', `${shown(value)} is text; the unit is in the name, so write ${fix}`)
  } else if (!(typeof value === 'number' && value >= min && value <= max)) {
    report(path, 'OUT_OF_RANGE', `${JSON.stringify(value)} is not a number from ${min} to ${max}`)
  } else if (key === 'limitPackets' && !Number.isInteger(value)) {
    report(path, 'OUT_OF_RANGE', `${value} is not a whole number`)
  }
}

/** What words say about one another. */
function checkTogether(impairment: Impairment, path: string, report: Report): void {
  const { delayMs = 0, jitterMs = 0, distribution, lossPct = 0, lossBurst, rateKbit = 0, reorderPct = 0 } = impairment
  if (jitterMs > delayMs) {
    report(
      `${path}.jitterMs`,
      'JITTER_OVER_DELAY',
      `${jitterMs} ms around ${delayMs} ms would need packets from the future; raise delayMs`
    )
  }
  if (distribution !== undefined && jitterMs === 0)
    report(`${path}.distribution`, 'DISTRIBUTION_WITHOUT_JITTER', 'spreads nothing; say jitterMs too, or leave it out')
  if (reorderPct > 0 && delayMs === 0)
    report(`${path}.reorderPct`, 'REORDER_WITHOUT_DELAY', 'nothing is held that could be overtaken; say delayMs too')
  if (rateKbit > 0 && rateKbit * BITS_PER_KBIT < FULL_PACKET_BITS) {
    const least = Math.ceil(FULL_PACKET_BITS / BITS_PER_KBIT)
    report(
      `${path}.rateKbit`,
      'RATE_UNDER_ONE_PACKET',
      `${rateKbit} kbit/s are less than one full packet a second; write at least ${least}`
    )
  }
  if (lossBurst !== undefined) checkBurst(lossPct, lossBurst, `${path}.lossBurst`, report)
  checkLimit(impairment, `${path}.limitPackets`, report)
}

function checkBurst(lossPct: number, lossBurst: number, path: string, report: Report): void {
  if (lossPct === 0) report(path, 'BURST_WITHOUT_LOSS', 'nothing is lost; say lossPct too, or leave it out')
  else if (lossPct < 100 && lossPct / (100 - lossPct) > lossBurst) {
    const least = Math.ceil((lossPct / (100 - lossPct)) * 10) / 10
    report(path, 'BURST_TOO_SHORT', `${lossPct} % cannot be lost in runs so short; write at least ${least}`)
  }
}

function checkLimit(impairment: Impairment, path: string, report: Report): void {
  const { limitPackets, ...rest } = impairment
  const { delayMs = 0, jitterMs = 0, rateKbit = 0 } = impairment
  if (limitPackets === undefined || rateKbit === 0) return
  const underWay = Math.ceil(((delayMs + jitterMs) * rateKbit) / FULL_PACKET_BITS)
  if (limitPackets >= underWay) return
  report(
    path,
    'LIMIT_TOO_SMALL',
    `${limitPackets} packets are less than the ${underWay} that ${rateKbit} kbit/s have under way in ${delayMs + jitterMs} ms, so the rate is never reached; ${bufferPackets(rest)} fit`,
    'warning'
  )
}

function hasNumbersOnly(impairment: unknown): impairment is Impairment {
  return (
    isObject(impairment) &&
    Object.entries(impairment).every(([key, value]) => key === 'distribution' || typeof value === 'number')
  )
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
