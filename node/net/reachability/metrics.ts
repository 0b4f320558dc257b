/** Reachability and the life of connections as metrics, the same for every role. */
import type { Metrics } from '../../metrics.ts'
import type { Network } from '../network.ts'

/** What there is to know of how a peer is connected and reached. */
export type Connectivity = Pick<Network, 'reachability' | 'subscribeReachability' | 'portMapping' | 'counters'>

/** Registers `warren_reachability{state,mapping}`, 1 for the present value, and the counters of moved requests. */
export function registerReachability(metrics: Metrics, network: Connectivity): void {
  const gauge = metrics.gauge('warren_reachability', 'How others reach this peer: 1 for what is so now', [
    'state',
    'mapping'
  ])
  const show = () => {
    const { state, kind } = network.reachability()
    gauge.reset()
    gauge.set({ state, mapping: kind?.mapping ?? 'none' }, 1)
  }
  show()
  network.subscribeReachability(show)
  metrics.gauge('warren_mapped_ports', 'Ports that the own router opened and a peer confirmed', [], () => {
    return network.portMapping().ports.filter(({ confirmed }) => confirmed).length
  })
  for (const [name, help, key] of COUNTERS) metrics.counter(name, help, [], () => network.counters()[key])
}

const COUNTERS = [
  ['warren_transfers_moved_total', 'Transfers that moved from a relay to a direct connection', 'movedToDirect'],
  ['warren_transfers_fell_back_total', 'Requests that lost a direct connection and went on by a relay', 'fellBack'],
  ['warren_transfers_resumed_total', 'Requests that were cut and went on, wherever', 'resumed'],
  ['warren_connections_silenced_total', 'Connections in use that were ended because they were silent', 'silenced'],
  ['warren_relayed_closed_total', 'Idle relayed connections closed beside a direct one', 'relayedClosed'],
  ['warren_direct_lost_total', 'Direct connections of wanted peers that ended without us', 'directLost'],
  ['warren_punched_again_total', 'Punches asked for again', 'punchedAgain'],
  ['warren_punched_later_total', 'Of these, to peers that had stayed on a relay', 'punchedLater'],
  ['warren_network_changes_total', "Changes of this machine's own addresses", 'networkChanges']
] as const
