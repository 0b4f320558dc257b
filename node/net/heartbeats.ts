/**
 * Signed heartbeats: how a node is doing, told to all over gossip (the control messages of the DeBros document). Where
 * announcements say where a node is and what it keeps, these say how full and how whole it is. Each is signed by the
 * node it is about, over the bytes the receiver works out anew, and a later one is never replaced by an earlier one.
 */
import type { Libp2p } from '@libp2p/interface'
import { z } from 'zod'
import { type Identity, verifyPeerSignature } from '../identity.ts'
import type { Log } from '../log.ts'
import { createHeard, STANDING, type Standing } from './heard.ts'
import { type NetworkServices, TOPICS } from './libp2p.ts'

export const HEARTBEAT_INTERVAL_MS = 60_000
/** A newcomer on the topic is told soon; those who come one after another, once in a while. */
const DEBOUNCE_MS = 1000
const NEWCOMERS_MS = 10_000
/** Beats of a node that fell silent are forgotten after three missed ones. */
const MISSED_MAX = 3
const FORGET_SLACK_MS = 10_000
const MAX_HEARD = 10_000
const MAX_HEARD_BYTES = 4 * 1024 * 1024
/** Whoever's clock is further off than this has a wrong clock. */
const MAX_CLOCK_SKEW_MS = 10 * 60 * 1000
/** More often than this nobody is listened to. */
const MIN_GAP_MS = 500
/** A signature for this purpose is none for another. */
const DOMAIN = 'warren heartbeat v1\n'

const count = z.int().min(0)
const schema = z.object({
  peerId: z.string().max(128),
  nodeId: z.string().max(256),
  status: z.enum(['healthy', 'degraded', 'unhealthy']),
  uptimeS: count,
  storedBlobs: count,
  usedBytes: count,
  capacityBytes: count,
  underReplicated: count,
  direct: count,
  relayed: count,
  timestamp: z.number()
})
/** `signature`: base64 of Ed25519 over a domain tag and the JSON of the rest, its fields in the order above. */
const signedSchema = schema.extend({ signature: z.string().max(128) })

/** How a node says it is. `direct`, `relayed`: its connections; `timestamp`: ms since the epoch, by its clock. */
export type Heartbeat = z.infer<typeof schema>
type SignedHeartbeat = z.infer<typeof signedSchema>

export interface Heartbeats {
  /** The last of every node that is not silent. */
  all: () => Heartbeat[]
  start: () => void
  stop: () => void
}

/**
 * @param options.own what to say; null while there is nothing to say
 * @param options.minGapMs more often than this nobody is listened to
 */
export function createHeartbeats(options: {
  libp2p: Libp2p<NetworkServices>
  identity: Identity
  own: () => Omit<Heartbeat, 'peerId' | 'timestamp'> | null
  minGapMs?: number
  /** Who is not forgotten for whom when there are too many. Default: all are strangers. */
  standing?: (peerId: string) => Standing
  log: Log
}): Heartbeats {
  const { libp2p, identity, own, log, minGapMs = MIN_GAP_MS, standing = () => STANDING.stranger } = options
  const { pubsub } = libp2p.services
  const heard = createHeard<Heartbeat>({
    maxCount: MAX_HEARD,
    maxBytes: MAX_HEARD_BYTES,
    // A heartbeat says nothing of where it comes from.
    hostOf: () => '',
    standing
  })
  let interval: NodeJS.Timeout | undefined
  let soon: NodeJS.Timeout | undefined
  /** Timestamp of the last beat, and when it was by a clock that is never set. */
  let lastAtMs = 0
  let beatAtMs = Number.NEGATIVE_INFINITY

  async function beat(): Promise<void> {
    const facts = own()
    if (facts === null) return
    // Two within a millisecond, or over a clock that was set back, are still one after the other.
    lastAtMs = Math.max(Date.now(), lastAtMs + 1)
    beatAtMs = performance.now()
    const heartbeat = schema.parse({ ...facts, peerId: identity.peerId, timestamp: lastAtMs })
    const signature = Buffer.from(identity.sign(signedBytes(heartbeat))).toString('base64')
    try {
      await pubsub.publish(TOPICS.control, Buffer.from(JSON.stringify({ ...heartbeat, signature })))
    } catch (error) {
      log.debug({ why: (error as Error).message }, 'heartbeat not sent')
    }
  }

  function learn({ signature, ...heartbeat }: SignedHeartbeat): void {
    const { peerId, timestamp } = heartbeat
    const known = heard.get(peerId)
    if (known !== undefined) {
      if (known.announcement.timestamp >= timestamp || performance.now() - known.atMs < minGapMs) return
    }
    if (peerId === identity.peerId) return
    if (!verifyPeerSignature(peerId, signedBytes(heartbeat), Buffer.from(signature, 'base64'))) return
    heard.keep(peerId, heartbeat)
  }

  const onMessage = (event: CustomEvent) => {
    const { topic, data, from } = event.detail as { topic: string; data: Uint8Array; from?: { toString: () => string } }
    if (topic !== TOPICS.control) return
    const heartbeat = parse(data)
    // Gossip names who wrote a message and proves it; nobody speaks for another.
    if (heartbeat !== null && from?.toString() === heartbeat.peerId) learn(heartbeat)
  }
  const onSubscription = (event: CustomEvent) => {
    const { subscriptions } = event.detail as { subscriptions: Array<{ topic: string; subscribe: boolean }> }
    if (soon !== undefined || !subscriptions.some(({ topic, subscribe }) => subscribe && topic === TOPICS.control))
      return
    const waitMs = Math.max(DEBOUNCE_MS, beatAtMs + NEWCOMERS_MS - performance.now())
    soon = setTimeout(() => {
      soon = undefined
      void beat()
    }, waitMs)
    soon.unref()
  }
  const isFresh = ({ atMs }: { atMs: number }) =>
    performance.now() - atMs < MISSED_MAX * HEARTBEAT_INTERVAL_MS + FORGET_SLACK_MS

  return {
    all: () => [...heard.entries()].flatMap(([, entry]) => (isFresh(entry) ? [entry.announcement] : [])),
    start() {
      pubsub.addEventListener('message', onMessage)
      pubsub.addEventListener('subscription-change', onSubscription)
      interval = setInterval(() => {
        for (const [peerId, entry] of heard.entries()) if (!isFresh(entry)) heard.forget(peerId)
        void beat()
      }, HEARTBEAT_INTERVAL_MS)
      interval.unref()
    },
    stop() {
      clearInterval(interval)
      clearTimeout(soon)
      pubsub.removeEventListener('message', onMessage)
      pubsub.removeEventListener('subscription-change', onSubscription)
    }
  }
}

const signedBytes = (heartbeat: Heartbeat): Uint8Array =>
  new TextEncoder().encode(`${DOMAIN}${JSON.stringify(heartbeat)}`)

/** zod gives the fields in the schema's order, which is the order that is signed. */
function parse(data: Uint8Array): SignedHeartbeat | null {
  try {
    const result = signedSchema.safeParse(JSON.parse(Buffer.from(data).toString('utf8')))
    return result.success && Math.abs(result.data.timestamp - Date.now()) < MAX_CLOCK_SKEW_MS ? result.data : null
  } catch {
    return null
  }
}
