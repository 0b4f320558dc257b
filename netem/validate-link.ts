/** What is wrong with a link. Pure. */
import { isLinkSpec } from './links.ts'
import type { Impairment, LinkSpec } from './topology.ts'
import type { Report } from './validate.ts'

/** Smallest and largest value of each word, in its own unit. */
export const IMPAIRMENT_LIMITS: Record<keyof Impairment, { min: number; max: number }> = {
  delayMs: { min: 0, max: 60_000 },
  jitterMs: { min: 0, max: 60_000 },
  lossPct: { min: 0, max: 100 },
  rateKbit: { min: 8, max: 100_000_000 }
}

const WORDS = Object.keys(IMPAIRMENT_LIMITS)

/** Reports every problem of a link: unknown words, values out of range, jitter over delay. */
export function validateLink(link: Impairment | LinkSpec, path: string, report: Report): void {
  if (typeof link !== 'object' || link === null) {
    report(path, 'BAD_LINK', 'is an impairment, or { up, down }')
    return
  }
  if (!isLinkSpec(link)) {
    validateImpairment(link, path, report)
    return
  }
  for (const [key, value] of Object.entries(link)) {
    if (key !== 'up' && key !== 'down') {
      report(`${path}.${key}`, 'UNKNOWN_KEY', 'is not a word beside up and down; put it into one of them')
    } else if (value !== undefined) validateImpairment(value, `${path}.${key}`, report)
  }
}

function validateImpairment(impairment: Impairment, path: string, report: Report): void {
  if (typeof impairment !== 'object' || impairment === null) {
    report(path, 'BAD_LINK', `is an object of ${WORDS.join(', ')}`)
    return
  }
  for (const [key, value] of Object.entries(impairment)) {
    const limits = Object.hasOwn(IMPAIRMENT_LIMITS, key) ? IMPAIRMENT_LIMITS[key as keyof Impairment] : undefined
    if (limits === undefined) {
      report(`${path}.${key}`, 'UNKNOWN_KEY', `is not an impairment; the words are ${WORDS.join(', ')}`)
    } else if (value !== undefined && !(typeof value === 'number' && value >= limits.min && value <= limits.max)) {
      report(
        `${path}.${key}`,
        'OUT_OF_RANGE',
        `${JSON.stringify(value)} is not a number from ${limits.min} to ${limits.max}`
      )
    }
  }
  const { delayMs = 0, jitterMs = 0 } = impairment
  if (typeof delayMs === 'number' && typeof jitterMs === 'number' && jitterMs > delayMs) {
    report(
      `${path}.jitterMs`,
      'JITTER_OVER_DELAY',
      `${jitterMs} ms around ${delayMs} ms would need packets from the future; raise delayMs`
    )
  }
}
