/** The figures that are promised of many runs, checked where many runs were made. Pure. */
import type { CellRow } from './cells.ts'

/** Fewer say nothing of a share or of a 95th percentile. */
const MANY_RUNS = 20
/** Of the successes: the field's figure (Trautwein et al. 2025). */
const FIRST_ATTEMPT_SHARE = 0.976
/** Links crossed by a round trip through the relay: there and back, and the same on the other side. */
const LINKS_OF_ROUND_TRIP = 4
/** Round trips through the relay that a median may take, and what a busy machine may add, ms. */
const ROUND_TRIPS = { quic: 4, tcp: 6.5 }
const SLACK_MS = 100
const P95_OVER_MEDIAN = 2
/** Hard pairs have this long, with whatever ordinary attempts came before. */
const HARD_WITHIN_MS = 10_000

export interface FigureCheck {
  name: string
  holds: boolean
  detail: string
}

/** The median may take this long, ms, where links are of `linkMs` one way. */
export function medianLimitMs(transport: 'tcp' | 'quic', linkMs: number): number {
  return ROUND_TRIPS[transport] * LINKS_OF_ROUND_TRIP * linkMs + SLACK_MS
}

/** Of ordinary punches by round trips, of hard pairs by their deadline. */
export function figureChecks(rows: readonly CellRow[], linkMs: number): FigureCheck[] {
  return [...ordinaryChecks(rows, linkMs), ...hardChecks(rows)]
}

function hardChecks(rows: readonly CellRow[]): FigureCheck[] {
  const many = rows.filter(({ runs, method }) => runs >= MANY_RUNS && (method === 'sandwich' || method === 'birthday'))
  if (many.length === 0) return []
  const late = many.filter(({ p95Ms }) => p95Ms === null || p95Ms > HARD_WITHIN_MS)
  return [
    {
      name: `${many.length} hard pairs are direct within ${HARD_WITHIN_MS} ms at p95`,
      holds: late.length === 0,
      detail: late.map(({ a, b, p95Ms }) => `${a} × ${b}: ${p95Ms} ms`).join('; ')
    }
  ]
}

function ordinaryChecks(rows: readonly CellRow[], linkMs: number): FigureCheck[] {
  const many = rows.filter(({ runs, method }) => runs >= MANY_RUNS && method === 'ordinary')
  if (many.length === 0) return []
  const checks = (['tcp', 'quic'] as const).flatMap((transport): FigureCheck[] => {
    const ours = many.filter(row => row.transport === transport && row.p50Ms !== null)
    if (ours.length === 0) return []
    const limitMs = medianLimitMs(transport, linkMs)
    const late = ours.filter(({ p50Ms, p95Ms }) => p50Ms! > limitMs || p95Ms! > limitMs * P95_OVER_MEDIAN)
    return [
      {
        name: `${ours.length} pairs are direct by ${transport} within ${limitMs} ms in the median, twice that at p95`,
        holds: late.length === 0,
        detail: late.map(({ a, b, p50Ms, p95Ms }) => `${a} × ${b}: ${p50Ms} and ${p95Ms} ms`).join('; ')
      }
    ]
  })
  const counted = many.filter(({ firstAttempt }) => firstAttempt !== null)
  const successes = counted.reduce((sum, row) => sum + row.successes, 0)
  const first = counted.reduce((sum, row) => sum + row.firstAttempt!, 0)
  if (successes > 0) {
    checks.push({
      name: `at least ${FIRST_ATTEMPT_SHARE * 100} % of successes come on the first attempt`,
      holds: first / successes >= FIRST_ATTEMPT_SHARE,
      detail: `${first} of ${successes}`
    })
  }
  return checks
}
