/** Punches as Prometheus counts them. */
import type { DcutrInit } from './dcutr.types.ts'

/**
 * What `onReport` is to be for `warren_punches_total{transport,role,outcome}`: one count for each transport of each
 * attempt.
 * @param metrics whoever makes counters: `createMetrics` of the node, or prom-client in that shape
 */
export function createPunchCounters(metrics: {
  counter: (
    name: string,
    help: string,
    labels: ReadonlyArray<'transport' | 'role' | 'outcome'>
  ) => { inc: (labels: { transport: string; role: string; outcome: string }) => void }
}): NonNullable<DcutrInit['onReport']> {
  const total = metrics.counter('warren_punches_total', 'Hole punches, by transport, role and how they ended', [
    'transport',
    'role',
    'outcome'
  ])
  return ({ transport, role, outcome }) => total.inc({ transport, role, outcome })
}
