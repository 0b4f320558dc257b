/**
 * Gossip passes a message on only by peers that listen to its topic. Gateways have no connection to each other, only to
 * relays: so a relay listens to every tenant's topic that one of its peers listens to, and passes on what it cannot read.
 * Relays do not follow relays: two of them would keep each other listening for ever.
 */
import type { IdentifyResult, Libp2p, PeerId } from '@libp2p/interface'
import type { NetworkServices } from './libp2p.ts'

/** Tenants' topics. */
const TOPIC = /^ns::[a-zA-Z0-9][a-zA-Z0-9_-]{0,63}::[a-zA-Z0-9._/-]{1,256}$/
/** What a relay calls itself to others; see `userAgent` in libp2p.ts. */
const RELAY_AGENT = /^warren\/\S+ \(relay\)/

export interface FollowLimits {
  /** Topics followed at once. */
  topicsMax: number
  /** Of these, on account of one peer. */
  peerTopicsMax: number
}

export const FOLLOW_LIMITS: FollowLimits = { topicsMax: 50_000, peerTopicsMax: 20_000 }

export interface FollowedTopics {
  topics: () => string[]
  stop: () => void
}

export function followTopics(libp2p: Libp2p<NetworkServices>, limits: FollowLimits = FOLLOW_LIMITS): FollowedTopics {
  const { pubsub } = libp2p.services
  /** By topic the peers on whose account it is followed, and the same by peer. */
  const followers = new Map<string, Set<string>>()
  const topicsOf = new Map<string, Set<string>>()
  const relays = new Set<string>()

  function follow(peer: string, topic: string): void {
    const own = topicsOf.get(peer) ?? new Set()
    const peers = followers.get(topic) ?? new Set()
    if (own.size >= limits.peerTopicsMax || (peers.size === 0 && followers.size >= limits.topicsMax)) return
    if (peers.size === 0) pubsub.subscribe(topic)
    followers.set(topic, peers.add(peer))
    topicsOf.set(peer, own.add(topic))
  }

  function leave(peer: string, topic: string): void {
    const own = topicsOf.get(peer)
    if (!own?.delete(topic)) return
    if (own.size === 0) topicsOf.delete(peer)
    const peers = followers.get(topic)
    peers?.delete(peer)
    if (peers?.size !== 0) return
    followers.delete(topic)
    if (libp2p.status === 'started') pubsub.unsubscribe(topic)
  }

  function leaveAll(peer: string): void {
    for (const topic of [...(topicsOf.get(peer) ?? [])]) leave(peer, topic)
  }

  const onSubscriptions = ({ detail }: CustomEvent) => {
    const { peerId, subscriptions } = detail as {
      peerId: PeerId
      subscriptions: Array<{ topic: string; subscribe: boolean }>
    }
    const peer = peerId.toString()
    for (const { topic, subscribe } of subscriptions) {
      if (!subscribe) leave(peer, topic)
      else if (!relays.has(peer) && TOPIC.test(topic)) follow(peer, topic)
    }
  }
  // Its subscriptions may have come before it said what it is.
  const onIdentify = ({ detail }: CustomEvent<IdentifyResult>) => {
    if (!RELAY_AGENT.test(detail.agentVersion ?? '')) return
    relays.add(detail.peerId.toString())
    leaveAll(detail.peerId.toString())
  }
  const onDisconnect = ({ detail }: CustomEvent<PeerId>) => {
    relays.delete(detail.toString())
    leaveAll(detail.toString())
  }

  pubsub.addEventListener('subscription-change', onSubscriptions)
  libp2p.addEventListener('peer:identify', onIdentify)
  libp2p.addEventListener('peer:disconnect', onDisconnect)
  return {
    topics: () => [...followers.keys()],
    stop() {
      pubsub.removeEventListener('subscription-change', onSubscriptions)
      libp2p.removeEventListener('peer:identify', onIdentify)
      libp2p.removeEventListener('peer:disconnect', onDisconnect)
      followers.clear()
      topicsOf.clear()
    }
  }
}
