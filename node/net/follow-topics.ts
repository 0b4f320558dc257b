/**
 * Gossip passes a message on only by peers that listen to its topic. Gateways have no connection to each other, only to
 * relays: so a relay listens to every tenant's topic that one of its peers listens to, and passes on what it cannot read.
 * Relays do not follow relays: two of them would keep each other listening for ever.
 *
 * Each topic that is begun with is told to every peer, so a stranger could make a relay say much with little: new topics
 * are taken up at a pace, the peers that ask by turns. Nor can it keep tenants out with topics of its own: identities are
 * free, so what is bounded is what one host has a relay follow.
 */
import type { IdentifyResult, Libp2p, PeerId } from '@libp2p/interface'
import type { NetworkServices } from './libp2p.ts'
import { hostOf } from './punching/allowance.ts'

/** Longest topic of a tenant, in characters. */
export const TOPIC_MAX_CHARS = 'ns::'.length + 64 + '::'.length + 256
/** Topics of tenants, as gateways make them; relays follow no others. */
export const TENANT_TOPIC = /^ns::[a-zA-Z0-9][a-zA-Z0-9_-]{0,63}::[a-zA-Z0-9._/-]{1,256}$/
/** What a relay calls itself to others; see `userAgent` in libp2p.ts. */
const RELAY_AGENT = /^warren\/\S+ \(relay\)/
const PACE_MS = 100

export interface FollowLimits {
  /** Topics followed at once. */
  topicsMax: number
  /** Of these, on account of the peers at one address (IPv6: one /64); those above it wait. */
  hostTopicsMax: number
  /** Of these, and of those that wait, on account of one peer. */
  peerTopicsMax: number
  /** New topics a second, and as many at once. */
  newPerSecond: number
}

export const FOLLOW_LIMITS: FollowLimits = {
  topicsMax: 20_000,
  hostTopicsMax: 2500,
  peerTopicsMax: 10_000,
  newPerSecond: 200
}

interface Followed {
  /** On whose account it is followed. */
  peers: Set<string>
  /** Of the peer that it was begun for. */
  host: string
}

export interface FollowedTopics {
  topics: () => string[]
  stop: () => void
}

export function followTopics(libp2p: Libp2p<NetworkServices>, limits: FollowLimits = FOLLOW_LIMITS): FollowedTopics {
  const { pubsub } = libp2p.services
  const followers = new Map<string, Followed>()
  /** By host how many of these were begun for its peers. */
  const begunFor = new Map<string, number>()
  /** By peer the topics it listens to, followed or waiting. */
  const topicsOf = new Map<string, Set<string>>()
  /** Where each peer that said what it listens to came from, until it leaves. */
  const hosts = new Map<string, string>()
  const waiting = new Map<string, Set<string>>()
  const relays = new Set<string>()
  let tokens = limits.newPerSecond
  let earnedMs = performance.now()
  let pacing: NodeJS.Timeout | undefined

  function earn(): void {
    const now = performance.now()
    tokens = Math.min(limits.newPerSecond, tokens + ((now - earnedMs) / 1000) * limits.newPerSecond)
    earnedMs = now
  }

  function follow(peer: string, topic: string): boolean {
    const followed = followers.get(topic)
    if (followed !== undefined) {
      followed.peers.add(peer)
      return true
    }
    if (tokens < 1 || followers.size >= limits.topicsMax) return false
    const host = hosts.get(peer) ?? ''
    const begun = begunFor.get(host) ?? 0
    if (begun >= limits.hostTopicsMax) return false
    tokens -= 1
    pubsub.subscribe(topic)
    followers.set(topic, { peers: new Set([peer]), host })
    begunFor.set(host, begun + 1)
    return true
  }

  function listens(peer: string, topic: string): void {
    const own = topicsOf.get(peer) ?? new Set()
    if (own.has(topic) || own.size >= limits.peerTopicsMax) return
    topicsOf.set(peer, own.add(topic))
    earn()
    if (follow(peer, topic)) return
    waiting.set(peer, (waiting.get(peer) ?? new Set()).add(topic))
    pacing ??= setInterval(goOn, PACE_MS).unref()
  }

  /** One of each peer in turn, while there are tokens. */
  function goOn(): void {
    earn()
    for (let some = true; some && tokens >= 1; ) {
      some = false
      for (const [peer, topics] of waiting) {
        const [topic] = topics
        if (topic === undefined || !follow(peer, topic)) continue
        some = true
        forgetWaiting(peer, topic)
      }
    }
    if (waiting.size > 0) return
    clearInterval(pacing)
    pacing = undefined
  }

  function forgetWaiting(peer: string, topic: string): void {
    const topics = waiting.get(peer)
    if (topics?.delete(topic) && topics.size === 0) waiting.delete(peer)
  }

  function leave(peer: string, topic: string): void {
    const own = topicsOf.get(peer)
    if (!own?.delete(topic)) return
    if (own.size === 0) topicsOf.delete(peer)
    forgetWaiting(peer, topic)
    const followed = followers.get(topic)
    if (!followed?.peers.delete(peer) || followed.peers.size > 0) return
    followers.delete(topic)
    const left = (begunFor.get(followed.host) ?? 1) - 1
    if (left > 0) begunFor.set(followed.host, left)
    else begunFor.delete(followed.host)
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
    const [connection] = libp2p.getConnections(peerId)
    // What was read from a connection may be told after its end: nobody would take it back.
    if (connection === undefined) return
    if (!hosts.has(peer)) hosts.set(peer, hostOf(connection.remoteAddr))
    for (const { topic, subscribe } of subscriptions) {
      if (!subscribe) leave(peer, topic)
      else if (!relays.has(peer) && TENANT_TOPIC.test(topic)) listens(peer, topic)
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
    hosts.delete(detail.toString())
  }

  pubsub.addEventListener('subscription-change', onSubscriptions)
  libp2p.addEventListener('peer:identify', onIdentify)
  libp2p.addEventListener('peer:disconnect', onDisconnect)
  return {
    topics: () => [...followers.keys()],
    stop() {
      clearInterval(pacing)
      pubsub.removeEventListener('subscription-change', onSubscriptions)
      libp2p.removeEventListener('peer:identify', onIdentify)
      libp2p.removeEventListener('peer:disconnect', onDisconnect)
      for (const each of [followers, begunFor, topicsOf, hosts, waiting]) each.clear()
    }
  }
}
