/** Topics in use at this gateway, over the gossip of its network; without a network, within the gateway. */
import type { Gossip, Log, Metrics } from '../../node/index.ts'
import { createChannel } from './channel.ts'
import type { Channel, ChannelCounters, TopicName } from './channel.types.ts'
import { TopicsFullError } from './errors.ts'
import {
  NAMESPACE_TOPICS_MAX,
  REPLAY_NAMESPACE_MAX_BYTES,
  REPLAY_TOTAL_MAX_BYTES,
  SWEEP_MS,
  TOLD_AGAIN_MS,
  TOPICS_MAX
} from './limits.ts'
import { createPubsubCounters, type PubsubCounters } from './metrics.ts'
import type { OrderLimits } from './order.ts'
import { createOutbox } from './outbox.ts'
import { type ReplayBudget, replayBudget } from './replay.ts'
import { createWire } from './wire.ts'

export interface PubsubOptions {
  /** null: messages stay within this gateway. */
  gossip: Gossip | null
  /** With which gateways seal what they gossip; not needed without it. */
  secret: Uint8Array | null
  metrics: Metrics
  log: Log
  limits?: {
    topicsMax?: number
    namespaceTopicsMax?: number
    namespacePublishesMax?: number
    order?: Partial<OrderLimits>
    lingerMs?: number
    sweepMs?: number
  }
}

export interface Pubsub {
  readonly counters: PubsubCounters
  /**
   * The topic, in use from now on.
   * @throws TopicsFullError
   */
  channel: (name: TopicName) => Channel
  /** Topics of a namespace that have a socket at this gateway, by their internal names. */
  topicsOf: (namespace: string) => string[]
  close: () => void
}

export function createPubsub({ gossip, secret, metrics, log, limits = {} }: PubsubOptions): Pubsub {
  const { topicsMax = TOPICS_MAX, namespaceTopicsMax = NAMESPACE_TOPICS_MAX } = limits
  const outbox = createOutbox(
    limits.namespacePublishesMax === undefined ? {} : { namespaceMax: limits.namespacePublishesMax }
  )
  const channels = new Map<string, Channel>()
  const namespaces = new Map<string, { channels: Set<Channel>; budget: ReplayBudget }>()
  const budget = replayBudget(REPLAY_TOTAL_MAX_BYTES)
  const counters = createPubsubCounters(metrics)
  const network = gossip === null || secret === null ? null : { gossip, wire: createWire(secret), outbox }
  const thisTurn = createTurns()
  const sweeping = setInterval(sweep, limits.sweepMs ?? SWEEP_MS)
  sweeping.unref()
  const deaf = gossip?.onListener(topic => channels.get(topic)?.heardOf())
  metrics.gauge('warren_gateway_pubsub_topics', 'Topics in use', [], () => channels.size)
  metrics.gauge('warren_gateway_pubsub_replay_bytes', 'Memory of replay buffers', [], () => budget.usedBytes)

  /** Strangers can cause it, and so can an operator: that it happens is told, but not each time. */
  let toldMs = Number.NEGATIVE_INFINITY
  function watched(own: ChannelCounters): ChannelCounters {
    return {
      ...own,
      dropped(why, count) {
        own.dropped(why, count)
        if ((why !== 'foreign' && why !== 'stale') || performance.now() - toldMs < TOLD_AGAIN_MS) return
        toldMs = performance.now()
        if (why === 'foreign') {
          log.warn(
            'gossip on a topic is not sealed with our key: do all gateways have the same GATEWAY_PUBSUB_KEY_FILE?'
          )
        } else {
          log.warn('gossip on a topic is minutes old: do the clocks of all gateways agree?')
        }
      }
    }
  }

  function forget(channel: Channel): void {
    const { inner, namespace } = channel.name
    channel.close()
    channels.delete(inner)
    const own = namespaces.get(namespace)?.channels
    own?.delete(channel)
    if (own?.size === 0) namespaces.delete(namespace)
  }

  /**
   * Where all topics are in use, one that is only kept for who may come back makes way: of the namespace with the most,
   * and of none that has fewer than who asks. So a namespace that fills the gateway with topics shuts nobody out.
   */
  function makeRoom(asksWith: number): boolean {
    const most = [...namespaces.values()].sort((a, b) => b.channels.size - a.channels.size)
    for (const { channels: theirs } of most) {
      if (theirs.size < asksWith) return false
      const unused = [...theirs].find(channel => channel.subscribers() === 0)
      if (unused === undefined) continue
      forget(unused)
      return true
    }
    return false
  }

  function sweep(): void {
    for (const channel of channels.values()) if (!channel.sweep()) forget(channel)
  }

  return {
    counters,
    channel(name) {
      const known = channels.get(name.inner)
      if (known !== undefined) return known
      const own = namespaces.get(name.namespace) ?? {
        channels: new Set(),
        budget: replayBudget(REPLAY_NAMESPACE_MAX_BYTES)
      }
      if (own.channels.size >= namespaceTopicsMax) throw new TopicsFullError(namespaceTopicsMax)
      if (channels.size >= topicsMax && !makeRoom(own.channels.size)) throw new TopicsFullError(topicsMax)
      const channel = createChannel({
        name,
        network,
        budgets: [own.budget, budget],
        thisTurn,
        counters: watched(counters.of(name.namespace)),
        orderLimits: limits.order,
        lingerMs: limits.lingerMs
      })
      channels.set(name.inner, channel)
      own.channels.add(channel)
      namespaces.set(name.namespace, own)
      return channel
    },
    topicsOf(namespace) {
      const own = [...(namespaces.get(namespace)?.channels ?? [])]
      return own.filter(channel => channel.subscribers() > 0).map(channel => channel.name.inner)
    },
    close() {
      clearInterval(sweeping)
      deaf?.()
      for (const channel of [...channels.values()]) forget(channel)
    }
  }
}

/** What is to be done before the next turn of the event loop, all of it in one go. */
function createTurns(): (work: () => void) => void {
  let waiting: Array<() => void> = []
  return work => {
    if (waiting.push(work) > 1) return
    setImmediate(() => {
      const now = waiting
      waiting = []
      for (const each of now) each()
    })
  }
}
