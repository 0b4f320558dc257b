/** Every limit of the room, with its unit. The three caps on sockets are configuration, with these as defaults. */

import type { Pace } from '../token-bucket.ts'

const KIB = 1024
const MIB = 1024 * KIB

/** The payload of one message. */
export const MESSAGE_MAX_BYTES = 64 * KIB
/** One frame or message of a client: a payload in base64 with its JSON around it. Over it: 1009. */
export const CLIENT_MESSAGE_MAX_BYTES = 96 * KIB
/** Frames that one message of a client may come in; more is 1008. */
export const CLIENT_FRAGMENTS_MAX = 16
/** Messages of one socket; over it the socket is closed with 1008. */
export const CLIENT_PACE: Pace = { perSecond: 1_000, burst: 2_000 }
/** Messages of one namespace that go to other gateways, each being signed; over it they are refused as below. */
export const NAMESPACE_PACE: Pace = { perSecond: 2_000, burst: 4_000 }

/** Open at once; the next is answered 503 (all), 429 (one namespace, one address; an address is an IPv6 /64). */
export const SOCKETS_MAX = 10_000
export const NAMESPACE_SOCKETS_MAX = 5_000
export const ADDRESS_SOCKETS_MAX = 2_000
/** A socket whose credential has ended is closed within about this. */
export const RECHECK_MS = 5_000
/** Credentials of open sockets that are asked about again in one turn of the event loop. */
export const RECHECK_TURN_MAX = 100
/** Topics in use at this gateway; the next is answered 429. */
export const TOPICS_MAX = 10_000
export const NAMESPACE_TOPICS_MAX = 2_000

/** What waits for a reader whose connection takes no more, in messages and in bytes; beyond it messages are dropped. */
export const QUEUE_MAX_MESSAGES = 128
export const QUEUE_MAX_BYTES = MIB
/** A reader that has taken nothing for so long is closed with 1013. */
export const STALLED_MAX_MS = 30_000
/** Frames of one turn of the event loop that are gathered before they are written at once. */
export const TURN_MAX_BYTES = 256 * KIB
/** Sockets of one topic that are written to in one turn; more have to wait for the next. */
export const PART_SOCKETS = 1_000
/** Gaps told one by one to a socket that missed messages; of more publishers it is told that there were more. */
export const GAPS_MAX = 64

/** What `resume` reaches back to: by topic in messages, bytes and time; by namespace and by gateway in bytes. */
export const REPLAY_MAX_MESSAGES = 256
export const REPLAY_MAX_BYTES = MIB
export const REPLAY_MAX_AGE_MS = 60_000
export const REPLAY_NAMESPACE_MAX_BYTES = 16 * MIB
export const REPLAY_TOTAL_MAX_BYTES = 64 * MIB
/** Publishers that a `resume` may name. */
export const RESUME_PUBLISHERS_MAX = 64
/** A socket opened with `?resume=true` has so long to send its `resume`. */
export const RESUME_TIMEOUT_MS = 5_000
/** A topic that nobody reads or writes is kept so long: who comes back finds its replay buffer. */
export const TOPIC_LINGER_MS = REPLAY_MAX_AGE_MS

/** How long a message of another gateway waits for one before it, and how many may wait; then the gap is told. */
export const ORDER_WAIT_MS = 2_000
/** The same for the first messages of a publisher that began while we listened. */
export const ORDER_BEGIN_WAIT_MS = 750
/** The same for those of a publisher that was there before: they begin somewhere. */
export const ORDER_FIRST_WAIT_MS = 100
export const ORDER_HELD_MAX_MESSAGES = 256
/** Publishers of one topic that are followed; the longest silent one is forgotten. */
export const ORDER_PUBLISHERS_MAX = 64
/** What another gateway sealed longer ago is a replay, or its clock is wrong. */
export const SEALED_MAX_AGE_MS = 300_000
/** Messages on their way to other gateways; the next is refused with 503 or `publish_error`. */
export const PUBLISHES_MAX = 1_024
export const NAMESPACE_PUBLISHES_MAX = 512
/** Namespaces whose pace is remembered. */
export const NAMESPACE_PACES_MAX = 10_000

/** Presence: members of one topic, and what one may say of itself. */
export const MEMBERS_MAX = 1_000
export const MEMBER_ID_MAX_CHARS = 128
export const MEMBER_META_MAX_BYTES = KIB
/** How often a gateway says again who is there, and when another takes them for gone. */
export const STATE_INTERVAL_MS = 30_000
export const MEMBER_SILENCE_MAX_MS = 90_000
/** How long it is remembered of a member that it has left: longer than gossip that says otherwise is taken. */
export const LEFT_KEPT_MS = 2 * SEALED_MAX_AGE_MS
/** Members said in one message between gateways. */
export const STATE_MEMBERS_MAX = 100
/** After another gateway joins a topic it is told the state, with a crowd of others at once. */
export const STATE_DEBOUNCE_MS = 100
/** How often other gateways are asked for what they have while none answers, and after how long again. */
export const ASKS_MAX = 3
export const ASK_AGAIN_MS = 1_000
/** A gateway that has just joined a topic waits so long at most to hear who is there. */
export const SETTLE_MS = 750
/** Between two looks for what is too old. */
export const SWEEP_MS = 5_000

/** Between two warnings of gossip that nobody here can read. */
export const TOLD_AGAIN_MS = 60_000

/** Namespaces that have series of their own in the metrics; the rest is `_other`. */
export const METRIC_NAMESPACES_MAX = 100
