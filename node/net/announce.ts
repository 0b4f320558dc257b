/**
 * Signed announcements: what a node stores and where it is reached. They travel over gossipsub (topic
 * `bytecave-announce`), and a newcomer asks the relays and peers it begins with for all that they heard, because
 * gossip does not repeat what was said before. Each is signed by the peer it is about; others are thrown away.
 */
import { setImmediate } from 'node:timers/promises'
import type { Connection, IdentifyResult, Libp2p, PeerId, Stream } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import { isPrivateIp } from '@libp2p/utils'
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import { z } from 'zod'
import { SHARD_COUNT_MAX, SHARD_RANGES_MAX } from '../blobs/shards.ts'
import { type Identity, verifyPeerSignature } from '../identity.ts'
import type { Log } from '../log.ts'
import { customerOf } from './customer.ts'
import { frameReader, sendBytes, sendHeader } from './frames.ts'
import { createHeard, type Standing } from './heard.ts'
import { type NetworkServices, TOPICS } from './libp2p.ts'
import { askPeerDirectory, PEER_DIRECTORY_PROTOCOL } from './peer-directory.ts'
import { parseHeader } from './protocols.ts'

/** Asks for all announcements a peer heard: `{}` → `{ sizeBytes }` and that much JSON, an array. */
export const ANNOUNCEMENTS_PROTOCOL = '/warren/announcements/1.0.0'

/** The seed's interval. */
const ANNOUNCE_INTERVAL_MS = 60_000
/** A newcomer hears everybody soon; a crowd of newcomers is answered once. */
const ANNOUNCE_DEBOUNCE_MS = 1000
/** Announcements of peers that fell silent are forgotten after three missed ones. */
const FORGET_AFTER_MS = 3 * ANNOUNCE_INTERVAL_MS + 10_000
const MAX_ANNOUNCEMENTS = 10_000
/** Whoever's clock is further off than this has a wrong clock. */
const MAX_CLOCK_SKEW_MS = 10 * 60 * 1000
/** Longest list one peer hands to another: some ten thousand announcements. */
const MAX_LIST_BYTES = 8 * 1024 * 1024
/** Most that is kept of others, so that the list always fits; beyond it somebody makes room for a newcomer. */
const MAX_HEARD_BYTES = MAX_LIST_BYTES / 2
const LIST_TIMEOUT_MS = 5000
/** A crowd that starts together is complete a little later. */
const ASK_AGAIN_MS = [3000, 10_000, 30_000]
const MAX_LIST_STREAMS = 4
/** Looking through a full list takes seconds, of which other work gets its part: each signature is some 0.1 ms. */
const LEARNT_AT_ONCE = 16
/** Addresses of a peer that a relay's word may fill up to: nobody signed for them. */
export const MAX_UNSIGNED_ADDRESSES = 8

const shard = z
  .int()
  .min(0)
  .max(SHARD_COUNT_MAX - 1)
const schema = z.object({
  peerId: z.string().max(128),
  nodeId: z.string().max(256),
  owner: z.string().max(64),
  url: z.string().max(512),
  shards: z.array(z.object({ start: shard, end: shard })).max(SHARD_RANGES_MAX),
  shardCount: z.int().min(1).max(SHARD_COUNT_MAX),
  failureGroup: z.string().max(256),
  /** Whether its ranges are its operator's or assigned from the registry. Absent: of an older program, `fixed`. */
  shardMode: z.enum(['fixed', 'auto']).optional(),
  /** Room for blobs, bytes. */
  capacityBytes: z.int().min(0).optional(),
  multiaddrs: z.array(z.string().max(512)).max(32),
  timestamp: z.number()
})
/** `signature`: base64 of Ed25519 over the JSON of the rest, its fields in the order above. */
const signedSchema = schema.extend({ signature: z.string().max(128) })
const listHeader = z.object({ sizeBytes: z.int().min(0).max(MAX_LIST_BYTES) })

/** What a node says of itself. `timestamp`: ms since the epoch. */
export type Announcement = z.infer<typeof schema>
type SignedAnnouncement = z.infer<typeof signedSchema>

export interface Announcements {
  /** The last announcement of a peer, or null when none is known or it is too old. */
  of: (peerId: string) => Announcement | null
  all: () => Announcement[]
  /** Say our own again soon: something in it changed. */
  refresh: () => void
  start: () => Promise<void>
  stop: () => void
}

/** @param own what to announce; null for a role that only listens */
export function createAnnouncements(options: {
  libp2p: Libp2p<NetworkServices>
  own: (() => Omit<Announcement, 'timestamp' | 'peerId' | 'multiaddrs'>) | null
  identity: Identity
  /** Whether this peer is one we begin with: it is asked for what it heard. */
  isAnchor: (peerId: string) => boolean
  /** Who is not forgotten for whom when there are too many. */
  standing: (peerId: string) => Standing
  /** Told of each announcement of another whose signature holds. */
  onHeard?: (announcement: Announcement) => void
  log: Log
}): Announcements {
  const { libp2p, own, identity, isAnchor, standing, log } = options
  const { pubsub } = libp2p.services
  const heard = createHeard<SignedAnnouncement>({
    maxCount: MAX_ANNOUNCEMENTS,
    maxBytes: MAX_HEARD_BYTES,
    hostOf: claimedHost,
    standing
  })
  let said: SignedAnnouncement | undefined
  const again = new Set<NodeJS.Timeout>()
  /** Connections by which an anchor was met and asked. */
  const asked = new WeakSet<Connection>()
  let interval: NodeJS.Timeout | undefined
  let soon: NodeJS.Timeout | undefined

  async function announce(): Promise<void> {
    if (own === null) return
    const announcement: Announcement = schema.parse({
      ...own(),
      peerId: libp2p.peerId.toString(),
      multiaddrs: libp2p.getMultiaddrs().map(String).slice(0, 32),
      timestamp: Date.now()
    })
    said = { ...announcement, signature: Buffer.from(identity.sign(signedBytes(announcement))).toString('base64') }
    try {
      await pubsub.publish(TOPICS.announce, Buffer.from(JSON.stringify(said)))
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

  /** Keeps an announcement whose signature holds, unless a newer one of the same peer is known. */
  function learn(announcement: SignedAnnouncement | null): void {
    if (announcement === null || announcement.peerId === identity.peerId) return
    const known = heard.get(announcement.peerId)
    if (known !== undefined && known.announcement.timestamp >= announcement.timestamp) return
    const { signature, ...rest } = announcement
    // Before the table is looked through: what nobody signed is not to cost that.
    if (!verifyPeerSignature(announcement.peerId, signedBytes(rest), Buffer.from(signature, 'base64'))) return
    if (!heard.keep(announcement.peerId, announcement)) return
    options.onHeard?.(rest)
    replace(libp2p, announcement).catch(() => undefined)
  }

  const onMessage = (event: CustomEvent) => {
    const message = event.detail as { topic: string; data: Uint8Array }
    if (message.topic === TOPICS.announce) learn(parse(Buffer.from(message.data).toString('utf8')))
  }

  async function tell(stream: Stream): Promise<void> {
    const frame = { idleTimeoutMs: LIST_TIMEOUT_MS, signal: AbortSignal.timeout(2 * LIST_TIMEOUT_MS) }
    const reader = frameReader(stream)
    try {
      await reader.header(frame)
      const all = [...(said === undefined ? [] : [said]), ...freshOnes()]
      const json = Buffer.from(JSON.stringify(all))
      await sendHeader(stream, { sizeBytes: json.byteLength }, frame)
      await sendBytes(stream, [json], frame)
      await stream.close(frame)
    } catch (error) {
      stream.abort(error as Error)
    } finally {
      reader.release()
    }
  }

  const connectionTo = (peerId: string) =>
    libp2p.getConnections(peerIdFromString(peerId)).find(({ direct, status }) => direct && status === 'open')

  /** A relay that keeps no signed announcements may still know where peers are; who they are they tell themselves. */
  async function askDirectory(peerId: string): Promise<void> {
    const connection = connectionTo(peerId)
    if (connection === undefined) return
    const { peers } = await askPeerDirectory(connection)
    for (const peer of peers) {
      // What a peer signed of itself is newer or better than what another says.
      if (peer.peerId === identity.peerId || heard.get(peer.peerId) !== undefined) continue
      await fillUp(libp2p, peer).catch((error: Error) =>
        log.debug({ relay: peerId, peer: peer.peerId, why: error.message }, 'a peer of a directory is left out')
      )
    }
  }

  async function ask(peerId: string): Promise<void> {
    const connection = connectionTo(peerId)
    if (connection === undefined) return
    const frame = { idleTimeoutMs: LIST_TIMEOUT_MS, signal: AbortSignal.timeout(2 * LIST_TIMEOUT_MS) }
    const stream = await connection.newStream(ANNOUNCEMENTS_PROTOCOL, { signal: frame.signal })
    const reader = frameReader(stream)
    try {
      await sendHeader(stream, {}, frame)
      const { sizeBytes } = parseHeader(listHeader, await reader.header(frame))
      const chunks: Uint8Array[] = []
      for await (const chunk of reader.bytes(sizeBytes, frame)) chunks.push(chunk)
      const list: unknown = JSON.parse(Buffer.concat(chunks).toString('utf8'))
      await stream.close(frame)
      for (const [nth, each] of (Array.isArray(list) ? list : []).entries()) {
        if (nth % LEARNT_AT_ONCE === 0) await setImmediate()
        if (interval === undefined) return
        learn(check(each))
      }
    } catch (error) {
      stream.abort(error as Error)
      throw error
    } finally {
      reader.release()
    }
  }

  const onIdentify = ({ detail }: CustomEvent<IdentifyResult>) => {
    const { peerId, protocols, connection } = detail
    const id = peerId.toString()
    // A peer may tell of itself again and again.
    if (!isAnchor(id) || asked.has(connection)) return
    const hasList = protocols.includes(ANNOUNCEMENTS_PROTOCOL)
    if (!hasList && !protocols.includes(PEER_DIRECTORY_PROTOCOL)) return
    asked.add(connection)
    const askIt = () =>
      (hasList ? ask(id) : askDirectory(id)).catch((error: Error) =>
        log.debug({ peer: id, why: error.message }, 'no list of announcements')
      )
    void askIt()
    for (const afterMs of ASK_AGAIN_MS) {
      const timer = setTimeout(() => {
        again.delete(timer)
        void askIt()
      }, afterMs)
      timer.unref()
      again.add(timer)
    }
  }
  const onSubscription = (event: CustomEvent) => {
    const { subscriptions } = event.detail as { subscriptions: Array<{ topic: string; subscribe: boolean }> }
    if (subscriptions.some(({ topic, subscribe }) => subscribe && topic === TOPICS.announce)) refresh()
  }

  const fresh = ({ atMs }: { atMs: number }) => performance.now() - atMs < FORGET_AFTER_MS
  const freshOnes = (): SignedAnnouncement[] =>
    [...heard.entries()].flatMap(([, entry]) => (fresh(entry) ? [entry.announcement] : []))

  return {
    of(peerId) {
      const entry = heard.get(peerId)
      return entry !== undefined && fresh(entry) ? entry.announcement : null
    },
    all: freshOnes,
    refresh,
    async start() {
      pubsub.addEventListener('message', onMessage)
      libp2p.addEventListener('peer:identify', onIdentify)
      await libp2p.handle(ANNOUNCEMENTS_PROTOCOL, stream => void tell(stream), { maxInboundStreams: MAX_LIST_STREAMS })
      pubsub.addEventListener('subscription-change', onSubscription)
      libp2p.addEventListener('self:peer:update', refresh)
      interval = setInterval(() => {
        for (const [peerId, entry] of heard.entries()) if (!fresh(entry)) heard.forget(peerId)
        void announce()
      }, ANNOUNCE_INTERVAL_MS)
      refresh()
    },
    stop() {
      for (const timer of again) clearTimeout(timer)
      libp2p.removeEventListener('peer:identify', onIdentify)
      clearInterval(interval)
      clearTimeout(soon)
      interval = undefined
      pubsub.removeEventListener('message', onMessage)
      pubsub.removeEventListener('subscription-change', onSubscription)
      libp2p.removeEventListener('self:peer:update', refresh)
    }
  }
}

function signedBytes(announcement: Announcement): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(announcement))
}

function parse(text: string): SignedAnnouncement | null {
  try {
    return check(JSON.parse(text))
  } catch {
    return null
  }
}

/** zod gives the fields in the schema's order, which is the order that is signed. */
function check(value: unknown): SignedAnnouncement | null {
  const result = signedSchema.safeParse(value)
  return result.success && Math.abs(result.data.timestamp - Date.now()) < MAX_CLOCK_SKEW_MS ? result.data : null
}

type Whereabouts = Pick<Announcement, 'peerId' | 'multiaddrs'>

function addressesOf({ multiaddrs }: Whereabouts): Multiaddr[] {
  return multiaddrs.flatMap(text => {
    try {
      return [multiaddr(text)]
    } catch {
      return []
    }
  })
}

/** Where to dial a peer, as it signed: in place of what was known but by its own records, so that it never grows. */
async function replace(libp2p: Libp2p, announcement: Whereabouts): Promise<void> {
  const peer = peerIdFromString(announcement.peerId)
  const signed = addressesOf(announcement).map(address => ({ multiaddr: address, isCertified: false }))
  if (signed.length === 0) return
  const certified = (await storedAddresses(libp2p, peer)).filter(({ isCertified }) => isCertified)
  await libp2p.peerStore.patch(peer, { addresses: [...certified, ...signed] })
}

/** A relay's word where to dial a peer: it leads nowhere without the peer's key, and to only so many places. */
async function fillUp(libp2p: Libp2p, entry: Whereabouts): Promise<void> {
  const peer = peerIdFromString(entry.peerId)
  const free = MAX_UNSIGNED_ADDRESSES - (await storedAddresses(libp2p, peer)).length
  const multiaddrs = addressesOf(entry).slice(0, Math.max(free, 0))
  if (multiaddrs.length > 0) await libp2p.peerStore.merge(peer, { multiaddrs })
}

async function storedAddresses(libp2p: Libp2p, peer: PeerId) {
  return await libp2p.peerStore.get(peer).then(
    ({ addresses }) => addresses,
    () => []
  )
}

/** The host of the first public address a peer names, or of the first at all; through a relay it is the relay's. */
function claimedHost({ multiaddrs }: Whereabouts): string {
  const hosts = multiaddrs.map(text => text.split('/')[2] ?? '')
  return customerOf(hosts.find(host => isPrivateIp(host) === false) ?? hosts[0] ?? '')
}
