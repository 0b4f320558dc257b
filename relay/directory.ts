/**
 * The peers this relay knows and vouches for: those whose announcement carries their own signature and, where a
 * registry is read, that have an active row in it under their own key. Nothing a peer says makes it registered.
 */
import type { Libp2p } from '@libp2p/interface'
import {
  type Announcement,
  type DirectoryPeer,
  MAX_DIRECTORY_BYTES,
  type MemberSource,
  PEER_DIRECTORY_PROTOCOL,
  tellPeerDirectory
} from '../node/index.ts'

/** The seed's. */
export const STALE_AFTER_MS = 5 * 60_000
const MAX_STREAMS = 4
/** A crowd that asks is answered with the same bytes. */
const SHARED_MS = 1000

export interface Directory {
  /** Takes note of an announcement whose signature was verified. */
  heard: (announcement: Announcement) => void
  /** As it is answered, the last seen first; `max` bytes of JSON at most. */
  peers: () => DirectoryPeer[]
  start: () => Promise<void>
}

/**
 * @param options.members of the registry; null: it is enough that a peer announced itself
 * @param options.connected peers with an own connection: they are seen now
 * @param options.now ms since the epoch; for tests
 */
export function createDirectory(options: {
  libp2p: Libp2p
  members: MemberSource | null
  connected: () => ReadonlySet<string>
  maxPeers: number
  maxBytes?: number
  now?: () => number
}): Directory {
  const { libp2p, members, connected, maxPeers, maxBytes = MAX_DIRECTORY_BYTES, now = Date.now } = options
  /** In the order in which they were heard. */
  const known = new Map<string, { announcement: Announcement; lastSeen: number }>()
  let shared: { json: Uint8Array; untilMs: number } | undefined

  function registered(): (peerId: string) => { onChainNodeId: string | null } | null {
    if (members === null) return () => ({ onChainNodeId: null })
    const rows = new Map((members.nodes() ?? []).map(({ peerId, nodeId }) => [peerId, { onChainNodeId: nodeId }]))
    return peerId => rows.get(peerId) ?? null
  }

  function peers(): DirectoryPeer[] {
    const rowOf = registered()
    const here = connected()
    const at = now()
    const found: DirectoryPeer[] = []
    for (const [peerId, entry] of known) {
      if (here.has(peerId)) entry.lastSeen = at
      else if (at - entry.lastSeen > STALE_AFTER_MS) {
        known.delete(peerId)
        continue
      }
      const row = rowOf(peerId)
      if (row === null) continue
      const { multiaddrs, nodeId } = entry.announcement
      found.push({ peerId, multiaddrs, lastSeen: entry.lastSeen, isRegistered: true, ...row, nodeId })
    }
    return within(
      found.sort((a, b) => b.lastSeen - a.lastSeen),
      maxBytes
    )
  }

  /** Anybody can announce any number of peers: those without a row go first, then the one heard of for longest. */
  function makeRoom(): void {
    const rowOf = registered()
    const ids = [...known.keys()]
    const goes = ids.find(peerId => rowOf(peerId) === null) ?? ids[0]
    if (goes !== undefined) known.delete(goes)
  }

  function answer(): Uint8Array {
    if (shared === undefined || performance.now() >= shared.untilMs) {
      const json = Buffer.from(JSON.stringify({ peers: peers(), timestamp: now() }))
      shared = { json, untilMs: performance.now() + SHARED_MS }
    }
    return shared.json
  }

  return {
    heard(announcement) {
      const { peerId, timestamp } = announcement
      known.delete(peerId)
      if (known.size >= maxPeers) makeRoom()
      // One that is repeated later by another makes nobody look alive; a clock ahead of ours neither.
      known.set(peerId, { announcement, lastSeen: Math.min(timestamp, now()) })
    },
    peers,
    start: () =>
      libp2p.handle(PEER_DIRECTORY_PROTOCOL, stream => void tellPeerDirectory(stream, answer()), {
        maxInboundStreams: MAX_STREAMS
      })
  }
}

/** As many of the first as fit, with the frame around them. */
function within(peers: DirectoryPeer[], maxBytes: number): DirectoryPeer[] {
  let bytes = JSON.stringify({ peers: [], timestamp: Number.MAX_SAFE_INTEGER }).length
  const end = peers.findIndex(peer => {
    bytes += Buffer.byteLength(JSON.stringify(peer)) + 1
    return bytes > maxBytes
  })
  return end < 0 ? peers : peers.slice(0, end)
}
