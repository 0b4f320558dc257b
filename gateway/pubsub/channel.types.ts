/** What a topic at this gateway is to those who use it; `channel.ts` makes one. */
import type { Place } from './message.ts'
import type { Member } from './presence.ts'
import type { Cursor } from './replay.ts'
import type { Subscriber } from './subscriber.ts'

/** Names of a topic. */
export interface TopicName {
  namespace: string
  /** The tenant's own. */
  topic: string
  /** `ns::<namespace>::<topic>`, made by the namespace's scope and nowhere else. */
  inner: string
}

/** What is counted of a namespace. */
export interface ChannelCounters {
  message: (from: 'here' | 'network') => void
  delivered: (count: number) => void
  dropped: (why: 'slow' | 'duplicate' | 'foreign' | 'stale', count: number) => void
  /** Messages of other gateways that never came. */
  missed: (count: number) => void
}

export interface Published extends Place {
  /** Rejects when the network did not take it. */
  sent: Promise<void>
}

export interface Channel {
  readonly name: TopicName
  /**
   * To sockets of this gateway first, then to other gateways.
   * @throws PublishBusyError; nobody gets it then
   */
  publish: (data: Uint8Array) => Published
  /** `held`: it is told nothing until it has resumed. */
  join: (subscriber: Subscriber, options: { held: boolean }) => void
  /** Tells what was missed, then goes on with what comes. False: it is not held. */
  resume: (subscriber: Subscriber, cursor: Cursor, sinceMs: number) => boolean
  isHeld: (subscriber: Subscriber) => boolean
  leave: (subscriber: Subscriber) => void
  subscribers: () => number
  joinPresence: (member: Member) => void
  leavePresence: (memberId: string) => void
  presenceIsFull: () => boolean
  /** Who is there; waits a moment for other gateways when this one has only begun to listen. */
  members: () => Promise<Member[]>
  /** A peer has begun to listen, or we have met one again: each is told what the other knows. */
  heardOf: () => void
  /** Forgets what is too old; false when nobody has used the topic for a while. */
  sweep: () => boolean
  close: () => void
}
