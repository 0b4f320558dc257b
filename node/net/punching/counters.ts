/** Punches as Prometheus counts them. */
import type { DcutrInit } from './dcutr.types.ts'
import type { HardPunchInit } from './hard/negotiate.ts'

interface Counter<Label extends string> {
  inc: (labels: Record<Label, string>) => void
}

/** Whoever makes counters: `createMetrics` of the node, or prom-client in that shape. */
interface CounterMaker {
  counter: <Label extends string>(name: string, help: string, labels: readonly Label[]) => Counter<Label>
}

/**
 * What `punching` is to be so that punches are counted: `warren_punches_total{transport,role,outcome}` by transport and
 * attempt, `warren_hard_punches_total{method,side,result}` by attempt.
 */
export function createPunchCounters(
  metrics: CounterMaker
): Required<Pick<DcutrInit, 'onReport'> & Pick<HardPunchInit, 'onOutcome'>> {
  const total = metrics.counter('warren_punches_total', 'Hole punches, by transport, role and how they ended', [
    'transport',
    'role',
    'outcome'
  ])
  const hard = metrics.counter(
    'warren_hard_punches_total',
    'Hole punches of a cone and a symmetric NAT, by method, own side and how they ended',
    ['method', 'side', 'result']
  )
  return {
    onReport: ({ transport, role, outcome }) => total.inc({ transport, role, outcome }),
    onOutcome: ({ method, side, result }) => hard.inc({ method: method ?? 'none', side: side ?? 'none', result })
  }
}
