/**
 * Signed announcements over gossipsub (topic `bytecave-announce`): what a node stores and where it is reached.
 * gossipsub's StrictSign proves the sender; what it says of another peer is thrown away.
 */
import type { Libp2p } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import { multiaddr } from '@multiformats/multiaddr'
import { z } from 'zod'
import type { Log } from '../log.ts'
import { type NetworkServices, TOPICS } from './libp2p.ts'

/** The seed's interval. */
const ANNOUNCE_INTERVAL_MS = 60_000
/** A newcomer hears everybody soon; a crowd of newcomers is answered once. */
const ANNOUNCE_DEBOUNCE_MS = 1000
/** Announcements of peers that fell silent are forgotten after three missed ones. */
const FORGET_AFTER_MS = 3 * ANNOUNCE_INTERVAL_MS + 10_000
const MAX_ANNOUNCEMENTS = 10_000
/** Whoever's clock is further off than this has a wrong clock. */
const MAX_CLOCK_SKEW_MS = 10 * 60 * 1000

const schema = z.object({
  peerId: z.string().max(128),
  nodeId: z.string().max(256),
  owner: z.string().max(64),
  url: z.string().max(512),
  shards: z.array(z.object({ start: z.int().min(0), end: z.int().min(0) })).max(1024),
  shardCount: z.int().min(1),
  failureGroup: z.string().max(256),
  multiaddrs: z.array(z.string().max(512)).max(32),
  timestamp: z.number()
})

/** What a node says of itself. `timestamp`: ms since the epoch. */
export type Announcement = z.infer<typeof schema>

export interface Announcements {
  /** The last announcement of a peer, or null when none is known or it is too old. */
  of: (peerId: string) => Announcement | null
  all: () => Announcement[]
  /** Say our own again soon: something in it changed. */
  refresh: () => void
  start: () => void
  stop: () => void
}

/** @param own what to announce; null for a role that only listens */
export function createAnnouncements(options: {
  libp2p: Libp2p<NetworkServices>
  own: (() => Omit<Announcement, 'timestamp' | 'peerId' | 'multiaddrs'>) | null
  log: Log
}): Announcements {
  const { libp2p, own, log } = options
  const { pubsub } = libp2p.services
  const heard = new Map<string, { announcement: Announcement; atMs: number }>()
  let interval: NodeJS.Timeout | undefined
  let soon: NodeJS.Timeout | undefined

  async function announce(): Promise<void> {
    if (own === null) return
    const announcement: Announcement = {
      ...own(),
      peerId: libp2p.peerId.toString(),
      multiaddrs: libp2p.getMultiaddrs().map(String).slice(0, 32),
      timestamp: Date.now()
    }
    try {
      await pubsub.publish(TOPICS.announce, Buffer.from(JSON.stringify(announcement)))
    } catch (error) {
      log.debug({ why: (error as Error).message }, 'announcement not sent')
    }
  }

  function refresh(): void {
    if (interval === undefined || soon !== undefined) return
    soon = setTimeout(() => {
      soon = undefined
      void announce()
    }, ANNOUNCE_DEBOUNCE_MS)
    soon.unref()
  }

  const onMessage = (event: CustomEvent) => {
    const message = event.detail as { type: string; topic: string; from?: { toString: () => string }; data: Uint8Array }
    if (message.topic !== TOPICS.announce || message.type !== 'signed' || message.from === undefined) return
    const announcement = parse(message.data)
    if (announcement === null || announcement.peerId !== message.from.toString()) {
      log.debug({ from: message.from.toString() }, 'announcement refused')
      return
    }
    const known = heard.get(announcement.peerId)
    if (known !== undefined && known.announcement.timestamp > announcement.timestamp) return
    if (known === undefined && heard.size >= MAX_ANNOUNCEMENTS) return
    heard.set(announcement.peerId, { announcement, atMs: performance.now() })
    void remember(libp2p, announcement).catch(() => undefined)
  }
  const onSubscription = (event: CustomEvent) => {
    const { subscriptions } = event.detail as { subscriptions: Array<{ topic: string; subscribe: boolean }> }
    if (subscriptions.some(({ topic, subscribe }) => subscribe && topic === TOPICS.announce)) refresh()
  }

  const fresh = ({ atMs }: { atMs: number }) => performance.now() - atMs < FORGET_AFTER_MS

  return {
    of(peerId) {
      const entry = heard.get(peerId)
      return entry !== undefined && fresh(entry) ? entry.announcement : null
    },
    all: () => [...heard.values()].filter(fresh).map(({ announcement }) => announcement),
    refresh,
    start() {
      pubsub.addEventListener('message', onMessage)
      pubsub.addEventListener('subscription-change', onSubscription)
      libp2p.addEventListener('self:peer:update', refresh)
      interval = setInterval(() => {
        for (const [peerId, entry] of heard) if (!fresh(entry)) heard.delete(peerId)
        void announce()
      }, ANNOUNCE_INTERVAL_MS)
      refresh()
    },
    stop() {
      clearInterval(interval)
      clearTimeout(soon)
      interval = undefined
      pubsub.removeEventListener('message', onMessage)
      pubsub.removeEventListener('subscription-change', onSubscription)
      libp2p.removeEventListener('self:peer:update', refresh)
    }
  }
}

function parse(data: Uint8Array): Announcement | null {
  try {
    const result = schema.safeParse(JSON.parse(Buffer.from(data).toString('utf8')))
    if (!result.success || Math.abs(result.data.timestamp - Date.now()) > MAX_CLOCK_SKEW_MS) return null
    return result.data
  } catch {
    return null
  }
}

/** Addresses a peer signed for are where to dial it. */
async function remember(libp2p: Libp2p, { peerId, multiaddrs }: Announcement): Promise<void> {
  const addresses = multiaddrs.flatMap(text => {
    try {
      return [multiaddr(text)]
    } catch {
      return []
    }
  })
  if (addresses.length > 0) await libp2p.peerStore.merge(peerIdFromString(peerId), { multiaddrs: addresses })
}
