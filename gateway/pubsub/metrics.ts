/** The room's metrics, by namespace; beyond a number of namespaces the rest is counted together, so that series stay few. */
import type { Metrics } from '../../node/index.ts'
import type { ChannelCounters } from './channel.types.ts'
import { METRIC_NAMESPACES_MAX } from './limits.ts'

/** The label of namespaces that came too late for one of their own. No namespace is called so: of `_` none begins. */
export const OTHER_NAMESPACES = '_other'

export interface PubsubCounters {
  of: (namespace: string) => ChannelCounters
  opened: (namespace: string) => void
  closed: (namespace: string) => void
  /** The gateway closed a socket. */
  closes: (code: number) => void
}

export function createPubsubCounters(metrics: Metrics): PubsubCounters {
  const messages = metrics.counter(
    'warren_gateway_pubsub_messages_total',
    'Messages, by whether they were published here or came from other gateways',
    ['namespace', 'from']
  )
  const deliveries = metrics.counter('warren_gateway_pubsub_deliveries_total', 'Messages written to sockets', [
    'namespace'
  ])
  const drops = metrics.counter(
    'warren_gateway_pubsub_drops_total',
    'Messages dropped: for a socket that reads too slowly, come twice, not sealed by a gateway, too old, missed on the network',
    ['namespace', 'why']
  )
  const sockets = metrics.gauge('warren_gateway_pubsub_sockets', 'WebSockets that are open', ['namespace'])
  const closes = metrics.counter('warren_gateway_pubsub_socket_closes_total', 'WebSockets the gateway closed', ['code'])
  const labels = new Set<string>()
  const known = new Map<string, ChannelCounters>()

  function labelOf(namespace: string): string {
    if (!labels.has(namespace)) {
      if (labels.size >= METRIC_NAMESPACES_MAX) return OTHER_NAMESPACES
      labels.add(namespace)
    }
    return namespace
  }

  function countersOf(namespace: string): ChannelCounters {
    return {
      message: from => messages.inc({ namespace, from }),
      delivered: count => {
        if (count > 0) deliveries.inc({ namespace }, count)
      },
      dropped: (why, count) => drops.inc({ namespace, why }, count),
      missed: count => drops.inc({ namespace, why: 'missed' }, count)
    }
  }

  return {
    of(namespace) {
      const label = labelOf(namespace)
      const counters = known.get(label) ?? countersOf(label)
      known.set(label, counters)
      return counters
    },
    opened: namespace => sockets.inc({ namespace: labelOf(namespace) }),
    closed: namespace => sockets.dec({ namespace: labelOf(namespace) }),
    closes: code => closes.inc({ code: String(code) })
  }
}
