/** What the relay tells Prometheus. Peers are no labels: there may be any number of them; `/accounting` has them. */
import { Counter } from 'prom-client'
import type { Metrics, NetworkNode, Reflector } from '../node/index.ts'
import type { Accounting } from './accounting.ts'
import { type Admission, REFUSALS } from './admission.ts'
import { CIRCUIT_REFUSALS, type Circuits } from './circuits.ts'
import { CIRCUIT_ENDS } from './splice.ts'

export function registerGauges(
  metrics: Metrics,
  parts: { node: NetworkNode; circuits: Circuits; admission: Admission; accounting: Accounting }
): void {
  const { node, circuits, admission, accounting } = parts
  metrics.gauge('warren_connections', 'Open libp2p connections', [], () => node.libp2p.getConnections().length)
  metrics.gauge(
    'warren_relay_reservations',
    'Peers that may be reached through this relay',
    [],
    () => circuits.reserved().length
  )
  metrics.gauge('warren_relay_circuits', 'Circuits it carries now', [], circuits.open)
  metrics.gauge('warren_relay_blocked_hosts', 'Addresses that are blocked now', [], () => admission.blocked().hosts)
  metrics.gauge('warren_relay_blocked_peers', 'Peers that are blocked now', [], () => admission.blocked().peers)
  metrics.counter('warren_relay_bytes_total', 'Bytes carried, ever', [], () => accounting.totals().bytes)
  metrics.counter('warren_relay_circuits_total', 'Circuits opened, ever', [], () => accounting.totals().circuits)
  labelled(metrics, 'warren_relay_connections_refused_total', 'Connections refused', REFUSALS, admission.refused)
  labelled(
    metrics,
    'warren_relay_circuits_refused_total',
    'Reservations and circuits refused',
    CIRCUIT_REFUSALS,
    circuits.refused
  )
  labelled(metrics, 'warren_relay_circuits_ended_total', 'Circuits that ended', CIRCUIT_ENDS, circuits.ended)
}

export function registerReflectorGauges(metrics: Metrics, reflector: Reflector): void {
  const what = { answered: 'answered', refused: 'of no known peer', limited: 'over a rate' } as const
  for (const [name, words] of Object.entries(what) as Array<[keyof typeof what, string]>) {
    const help = `Datagrams the UDP reflector heard since its start, ${words}`
    metrics.gauge(`warren_reflector_${name}`, help, [], () => reflector.counts()[name])
  }
}

/** A counter by reason, read at every scrape. */
function labelled<R extends string>(
  metrics: Metrics,
  name: string,
  help: string,
  reasons: readonly R[],
  read: () => Readonly<Record<R, number>>
): void {
  new Counter({
    name,
    help,
    labelNames: ['reason'],
    registers: [metrics.registry],
    collect() {
      this.reset()
      const counts = read()
      for (const reason of reasons) this.inc({ reason }, counts[reason])
    }
  })
}
