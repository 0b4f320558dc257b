/** Topics of our own on the gossip that all peers share. Who listens decides of each message whether it is passed on. */
import { TopicValidatorResult } from '@chainsafe/libp2p-gossipsub'
import type { Libp2p } from '@libp2p/interface'
import type { NetworkServices } from './libp2p.ts'

export interface Gossip {
  /**
   * `handle` is given each message of the topic once, in any order; a message it answers false for is no message of
   * ours: it is not passed on to others.
   */
  subscribe: (topic: string, handle: (data: Uint8Array) => boolean) => void
  unsubscribe: (topic: string) => void
  /** Resolves when it is on its way to every peer that we know to listen, which may be none. */
  publish: (topic: string, data: Uint8Array) => Promise<void>
  /** Peers we are connected to that listen to the topic. */
  listeners: (topic: string) => string[]
  /** Told of every topic that a peer begins to listen to. Answers how to be told no more. */
  onListener: (told: (topic: string) => void) => () => void
}

export function createGossip(libp2p: Libp2p<NetworkServices>): Gossip {
  const { pubsub } = libp2p.services
  return {
    subscribe(topic, handle) {
      pubsub.topicValidators.set(topic, (_, { data }) =>
        // Not `Reject`: whoever passed it on could not know.
        handle(data) ? TopicValidatorResult.Accept : TopicValidatorResult.Ignore
      )
      pubsub.subscribe(topic)
    },
    unsubscribe(topic) {
      pubsub.topicValidators.delete(topic)
      // After the node has stopped nobody is told, which gossipsub takes for a mistake.
      if (libp2p.status === 'started') pubsub.unsubscribe(topic)
    },
    async publish(topic, data) {
      await pubsub.publish(topic, data)
    },
    listeners: topic => pubsub.getSubscribers(topic).map(String),
    onListener(told) {
      const heard = (event: CustomEvent) => {
        const { subscriptions } = event.detail as { subscriptions: Array<{ topic: string; subscribe: boolean }> }
        for (const { topic, subscribe } of subscriptions) if (subscribe) told(topic)
      }
      pubsub.addEventListener('subscription-change', heard)
      return () => pubsub.removeEventListener('subscription-change', heard)
    }
  }
}
