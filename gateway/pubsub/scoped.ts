/** One namespace's pub/sub: the topics its tenant knows, checked, translated in and out by its scope. */
import type { NameScope } from '../middleware/own-namespace.ts'
import type { Channel, Published } from './channel.types.ts'
import { TopicInvalidError, TopicMissingError } from './errors.ts'
import type { Member } from './presence.ts'
import type { Pubsub } from './pubsub.ts'

/** D18. No colon, so that `ns::` can be nobody's; no percent sign, NUL or letter beyond ASCII. */
const TOPIC_PATTERN = /^[a-zA-Z0-9._/-]{1,256}$/

/** What handlers use. Every method throws TopicMissingError, TopicInvalidError or TopicsFullError. */
export interface TenantPubsub {
  /** @throws PublishBusyError */
  publish: (topic: string | undefined, data: Uint8Array) => Published
  /** Topics with a socket at this gateway, in byte order. */
  topics: () => string[]
  members: (topic: string | undefined) => Promise<Member[]>
  /** For a socket that joins it. */
  channel: (topic: string | undefined) => Channel
}

export function scopedPubsub(pubsub: Pubsub, scope: NameScope): TenantPubsub {
  const channel = (topic: string | undefined) => {
    if (topic === undefined || topic === '') throw new TopicMissingError()
    if (!TOPIC_PATTERN.test(topic)) throw new TopicInvalidError()
    return pubsub.channel({ namespace: scope.namespace, topic, inner: scope.inner(topic) })
  }
  return {
    publish: (topic, data) => channel(topic).publish(data),
    topics: () => pubsub.topicsOf(scope.namespace).map(scope.outer).sort(),
    members: async topic => await channel(topic).members(),
    channel
  }
}
