/**
 * What gossipsub lacks where relays listen to thousands of topics (`follow-topics.ts`).
 *
 * It tells a newcomer all of its topics in one message: past the bytes or the number that a message may have, the other
 * takes none of it. And of one peer it notes some thousand topics, and later ones not at all: with a thousand topics of
 * anybody's a relay would pass on nothing of the next, and nobody would be told.
 *
 * And it tells each topic to every peer in a message of its own: one stranger that begins and ends with topics would have a
 * relay of a thousand peers send them some hundred thousand messages a second.
 */
import type { Libp2p, PeerId } from '@libp2p/interface'
import { FOLLOW_LIMITS, TOPIC_MAX_CHARS } from './follow-topics.ts'
import type { NetworkServices } from './libp2p.ts'

/** Topics told in one message. Of the longest this is a quarter of the least bytes that a message may have. */
const TOLD_AT_ONCE = 200
/** After a relay told a peer of topics it gathers what comes next for so long. */
const GATHER_MS = 100
/** What gossipsub counts for a topic besides its characters (`GossipsubTopicEntryOverhead`). */
const ENTRY_BYTES = 1024
/** As it counts: all that a relay of ours may follow. */
const RELAY_TOPIC_BYTES = FOLLOW_LIMITS.topicsMax * (ENTRY_BYTES + TOPIC_MAX_CHARS)

/** It is its class, whose type is not exported. */
interface Topics {
  sendSubscriptions: (to: string, topics: string[], subscribe: boolean) => void
  handleReceivedSubscription: (from: PeerId, topic: string, subscribe: boolean) => boolean
  maxTopicBytesPerPeer: number
}

/**
 * @param options.isOurRelay whether the operator named it: it is believed so many topics; of others a thousand are noted
 * @param options.gathers tell each peer of the first change at once, and of those that follow it together
 * @returns ends what is waited for
 */
export function allowManyTopics(
  libp2p: Libp2p<NetworkServices>,
  options: { isOurRelay: (peerId: string) => boolean; gathers: boolean }
): () => void {
  const pubsub = libp2p.services.pubsub as unknown as Topics
  const note = pubsub.handleReceivedSubscription.bind(pubsub)
  const ofOthers = pubsub.maxTopicBytesPerPeer
  pubsub.handleReceivedSubscription = (from, topic, subscribe) => {
    pubsub.maxTopicBytesPerPeer = options.isOurRelay(from.toString()) ? RELAY_TOPIC_BYTES : ofOthers
    return note(from, topic, subscribe)
  }

  const send = pubsub.sendSubscriptions.bind(pubsub)
  const tell = (to: string, topics: string[], subscribe: boolean): void => {
    for (let at = 0; at < topics.length; at += TOLD_AT_ONCE) send(to, topics.slice(at, at + TOLD_AT_ONCE), subscribe)
  }
  /** By peer that was told a moment ago what changed since: whether we listen now. */
  const gathered = new Map<string, Map<string, boolean>>()
  let timer: NodeJS.Timeout | undefined

  function tellGathered(): void {
    for (const [to, changes] of gathered) {
      if (changes.size === 0) gathered.delete(to)
      else gathered.set(to, new Map())
      for (const listens of [true, false]) {
        tell(
          to,
          [...changes].flatMap(([topic, isTrue]) => (isTrue === listens ? [topic] : [])),
          listens
        )
      }
    }
    if (gathered.size > 0) return
    clearInterval(timer)
    timer = undefined
  }

  pubsub.sendSubscriptions = (to, topics, subscribe) => {
    const changes = gathered.get(to)
    if (changes !== undefined) {
      for (const topic of topics) changes.set(topic, subscribe)
      return
    }
    tell(to, topics, subscribe)
    if (!options.gathers) return
    gathered.set(to, new Map())
    timer ??= setInterval(tellGathered, GATHER_MS).unref()
  }
  return () => {
    clearInterval(timer)
    timer = undefined
    gathered.clear()
  }
}
