/**
 * Gossip passes a message on only by peers that listen to its topic. Gateways have no connection to each other, only to
 * relays: so a relay listens to every tenant's topic that one of its peers listens to, and passes on what it cannot read.
 * Relays do not follow relays: two of them would keep each other listening for ever.
 *
 * Each topic that is begun with is told to every peer, so a stranger could make a relay say much with little: new topics
 * are taken up at a pace, the hosts that ask by turns, and the peers of each. Nor can it keep tenants out with topics of its
 * own: identities are free, so what is bounded is what one host has a relay follow.
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
  /** The one of these whose host it is counted for: the one that it was begun for, while it listens. */
  payer: string
}

export interface FollowedTopics {
  topics: () => string[]
  stop: () => void
}

export function followTopics(libp2p: Libp2p<NetworkServices>, limits: FollowLimits = FOLLOW_LIMITS): FollowedTopics {
  const { pubsub } = libp2p.services
  const followers = new Map<string, Followed>()
  /** By host how many of these are counted for it. */
  const countedFor = new Map<string, number>()
  /** By peer the topics it listens to, followed or waiting. */
  const topicsOf = new Map<string, Set<string>>()
  /** Where each peer that said what it listens to came from, until it leaves. */
  const hosts = new Map<string, string>()
  /** Topics that are not followed yet, by host and by peer: those first whose turn is next. */
  const waiting = new Map<string, Map<string, Set<string>>>()
  /** By topic the peers that wait for it. */
  const waitingFor = new Map<string, Set<string>>()
  const relays = new Set<string>()
  let tokens = limits.newPerSecond
  let earnedMs = performance.now()
  let pacing: NodeJS.Timeout | undefined

  function earn(): void {
    const now = performance.now()
    tokens = Math.min(limits.newPerSecond, tokens + ((now - earnedMs) / 1000) * limits.newPerSecond)
    earnedMs = now
  }

  const hostOfPeer = (peer: string) => hosts.get(peer) ?? ''

  function count(host: string, change: number): void {
    const sum = (countedFor.get(host) ?? 0) + change
    if (sum > 0) countedFor.set(host, sum)
    else countedFor.delete(host)
  }

  function listens(peer: string, topic: string): void {
    const own = topicsOf.get(peer) ?? new Set()
    if (own.has(topic) || own.size >= limits.peerTopicsMax) return
    topicsOf.set(peer, own.add(topic))
    const followed = followers.get(topic)
    if (followed === undefined) wait(peer, topic)
    else followed.peers.add(peer)
  }

  function wait(peer: string, topic: string): void {
    const host = hostOfPeer(peer)
    const peers = waiting.get(host) ?? new Map<string, Set<string>>()
    waiting.set(host, peers.set(peer, (peers.get(peer) ?? new Set()).add(topic)))
    waitingFor.set(topic, (waitingFor.get(topic) ?? new Set()).add(peer))
  }

  function forgetWaiting(peer: string, topic: string): void {
    const host = hostOfPeer(peer)
    const peers = waiting.get(host)
    const topics = peers?.get(peer)
    if (!topics?.delete(topic)) return
    if (topics.size === 0) peers?.delete(peer)
    if (peers?.size === 0) waiting.delete(host)
    const others = waitingFor.get(topic)
    others?.delete(peer)
    if (others?.size === 0) waitingFor.delete(topic)
  }

  /** Follows it for all that wait for it. */
  function begin(payer: string, topic: string): void {
    tokens -= 1
    count(hostOfPeer(payer), 1)
    const peers = new Set(waitingFor.get(topic))
    for (const peer of peers) forgetWaiting(peer, topic)
    followers.set(topic, { peers, payer })
    pubsub.subscribe(topic)
  }

  /** One of each host in turn, and of each of its peers, while there are tokens. */
  function goOn(): void {
    earn()
    // Who has had a turn comes again behind the others.
    for (const [host, peers] of waiting) {
      if (tokens < 1 || followers.size >= limits.topicsMax) break
      if ((countedFor.get(host) ?? 0) >= limits.hostTopicsMax) continue
      const [peer, topics] = peers.entries().next().value as [string, Set<string>]
      begin(peer, topics.values().next().value as string)
      if (peers.delete(peer)) peers.set(peer, topics)
      if (waiting.delete(host)) waiting.set(host, peers)
    }
    if (waiting.size > 0) {
      pacing ??= setInterval(goOn, PACE_MS).unref()
    } else {
      clearInterval(pacing)
      pacing = undefined
    }
  }

  function leave(peer: string, topic: string): void {
    const own = topicsOf.get(peer)
    if (!own?.delete(topic)) return
    if (own.size === 0) topicsOf.delete(peer)
    forgetWaiting(peer, topic)
    const followed = followers.get(topic)
    if (!followed?.peers.delete(peer)) return
    const [next] = followed.peers
    if (followed.payer === peer) count(hostOfPeer(followed.payer), -1)
    if (next === undefined) {
      followers.delete(topic)
      if (libp2p.status === 'started') pubsub.unsubscribe(topic)
    } else if (followed.payer === peer) {
      // Else others could hold a host's room by listening to what it listened to once.
      followed.payer = next
      count(hostOfPeer(next), 1)
    }
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
    if (waiting.size > 0) goOn()
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
      for (const each of [followers, countedFor, topicsOf, hosts, waiting, waitingFor]) each.clear()
    }
  }
}
