/**
 * Announcements heard from others, capped in number and in bytes: the list of them has to fit one answer. Identities are
 * free, so a full table is not closed to newcomers: others make room for them, crowds at one host and strangers first.
 */
export interface Heard<T> {
  get: (peerId: string) => { announcement: T; atMs: number } | undefined
  /** Whether there is room for it in place of what is known of the peer, and of others that count no more than it. */
  fits: (peerId: string, announcement: T) => boolean
  /** Keep it, heard now, in place of an older one of the peer. Nothing happens when it does not fit. */
  keep: (peerId: string, announcement: T) => void
  forget: (peerId: string) => void
  entries: () => Iterable<[string, { announcement: T; atMs: number }]>
  /** Bytes of JSON of all of them. */
  readonly bytes: number
}

/** What a peer is to us: anybody, one that we are connected to, one of the registry. Nobody makes room for a lesser one. */
export const STANDING = { stranger: 0, connected: 1, member: 2 } as const
export type Standing = (typeof STANDING)[keyof typeof STANDING]

/** One host's share of the number and of the bytes; above it its own go first. */
const HOST_SHARE = 1 / 4

interface Entry<T> {
  announcement: T
  atMs: number
  sizeBytes: number
  host: string
}

/**
 * @param options.maxCount most peers
 * @param options.maxBytes most bytes of JSON, the commas between them included
 * @param options.hostOf where a peer says that it is; many identities at one host are a crowd
 */
export function createHeard<T>(options: {
  maxCount: number
  maxBytes: number
  hostOf: (announcement: T) => string
  standing: (peerId: string) => Standing
}): Heard<T> {
  const { maxCount, maxBytes, hostOf, standing } = options
  /** In the order in which they were heard. */
  const kept = new Map<string, Entry<T>>()
  const hosts = new Map<string, { count: number; bytes: number }>()
  let bytes = 0
  const sizeOf = (announcement: T): number => Buffer.byteLength(JSON.stringify(announcement)) + 1

  function isCrowd(host: string): boolean {
    const { count, bytes } = hosts.get(host) ?? { count: 0, bytes: 0 }
    return count > maxCount * HOST_SHARE || bytes > maxBytes * HOST_SHARE
  }

  /** Who makes room: of crowds first, of lesser standing first, the one unheard for longest first. Null when none can. */
  function makingRoom(peerId: string, announcement: T): string[] | null {
    const sizeBytes = sizeOf(announcement)
    if (sizeBytes > maxBytes) return null
    const known = kept.get(peerId)
    let count = kept.size + (known === undefined ? 1 : 0)
    let left = bytes + sizeBytes - (known?.sizeBytes ?? 0)
    const goes = new Set<string>()
    const fits = () => count <= maxCount && left <= maxBytes
    if (fits()) return []
    for (const ofCrowds of [true, false]) {
      if (ofCrowds && ![...hosts.keys()].some(isCrowd)) continue
      for (let rank = 0; rank <= standing(peerId); rank++) {
        for (const [id, entry] of kept) {
          if (id === peerId || goes.has(id) || standing(id) !== rank || (ofCrowds && !isCrowd(entry.host))) continue
          goes.add(id)
          count--
          left -= entry.sizeBytes
          if (fits()) return [...goes]
        }
      }
    }
    return null
  }

  function count(host: string, change: 1 | -1, sizeBytes: number): void {
    const share = hosts.get(host) ?? { count: 0, bytes: 0 }
    share.count += change
    share.bytes += change * sizeBytes
    bytes += change * sizeBytes
    if (share.count > 0) hosts.set(host, share)
    else hosts.delete(host)
  }

  function forget(peerId: string): void {
    const known = kept.get(peerId)
    if (known === undefined) return
    kept.delete(peerId)
    count(known.host, -1, known.sizeBytes)
  }

  return {
    get: peerId => kept.get(peerId),
    fits: (peerId, announcement) => makingRoom(peerId, announcement) !== null,
    keep(peerId, announcement) {
      const goes = makingRoom(peerId, announcement)
      if (goes === null) return
      for (const each of [...goes, peerId]) forget(each)
      const entry = {
        announcement,
        atMs: performance.now(),
        sizeBytes: sizeOf(announcement),
        host: hostOf(announcement)
      }
      kept.set(peerId, entry)
      count(entry.host, 1, entry.sizeBytes)
    },
    forget,
    entries: () => kept.entries(),
    get bytes() {
      return bytes
    }
  }
}
