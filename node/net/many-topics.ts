/**
 * What gossipsub lacks where relays listen to thousands of topics (`follow-topics.ts`).
 *
 * It tells a newcomer all of its topics in one message: past the bytes or the number that a message may have, the other
 * takes none of it. And of one peer it notes some thousand topics, and later ones not at all: with a thousand topics of
 * anybody's a relay would pass on nothing of the next, and nobody would be told.
 */
import type { Libp2p, PeerId } from '@libp2p/interface'
import { FOLLOW_LIMITS, TOPIC_MAX_CHARS } from './follow-topics.ts'
import type { NetworkServices } from './libp2p.ts'

/** Topics told in one message. Of the longest this is a quarter of the least bytes that a message may have. */
const TOLD_AT_ONCE = 200
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

/** @param isOurRelay whether the operator named it: it is believed so many topics; of others a thousand are noted */
export function allowManyTopics(libp2p: Libp2p<NetworkServices>, isOurRelay: (peerId: string) => boolean): void {
  const pubsub = libp2p.services.pubsub as unknown as Topics
  const tell = pubsub.sendSubscriptions.bind(pubsub)
  pubsub.sendSubscriptions = (to, topics, subscribe) => {
    for (let at = 0; at < topics.length; at += TOLD_AT_ONCE) tell(to, topics.slice(at, at + TOLD_AT_ONCE), subscribe)
  }
  const note = pubsub.handleReceivedSubscription.bind(pubsub)
  const ofOthers = pubsub.maxTopicBytesPerPeer
  pubsub.handleReceivedSubscription = (from, topic, subscribe) => {
    pubsub.maxTopicBytesPerPeer = isOurRelay(from.toString()) ? RELAY_TOPIC_BYTES : ofOthers
    return note(from, topic, subscribe)
  }
}
