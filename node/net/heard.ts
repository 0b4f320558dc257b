/**
 * Announcements heard from others, capped in number and in bytes: the list of them has to fit one answer. Identities are
 * free, so a full table is not closed to newcomers: others make room for them, crowds at one host and strangers first,
 * and where bytes are short the large ones first.
 */
export interface Heard<T> {
  get: (peerId: string) => { announcement: T; atMs: number } | undefined
  /**
   * Keep it, heard now, in place of an older one of the peer. False, and nothing happens, when there is no room for it in
   * place of others that count no more. Looks through all that is kept when that is full: give it what was verified.
   */
  keep: (peerId: string, announcement: T) => boolean
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
/** Up to so many bytes an announcement is of ordinary size: a node behind NATs with some relays needs them. */
const ORDINARY_BYTES = 2048

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

  /**
   * Who makes room: of crowds first, of lesser standing first, where bytes are short the large ones first, then the one
   * unheard for longest. Null when none can. A hundred large ones would fill the table: of its own standing a newcomer
   * pushes out none that is smaller by its class, so that they push out each other.
   */
  function makingRoom(peerId: string, sizeBytes: number): string[] | null {
    if (sizeBytes > maxBytes) return null
    const known = kept.get(peerId)
    let count = kept.size + (known === undefined ? 1 : 0)
    let left = bytes + sizeBytes - (known?.sizeBytes ?? 0)
    const goes = new Set<string>()
    const fits = () => count <= maxCount && left <= maxBytes
    if (fits()) return []
    const own = standing(peerId)
    const leave = ([id, entry]: [string, Entry<T>]): void => {
      if (goes.has(id)) return
      goes.add(id)
      count--
      left -= entry.sizeBytes
    }
    for (const ofCrowds of [true, false]) {
      if (ofCrowds && ![...hosts.keys()].some(isCrowd)) continue
      for (let rank = 0; rank <= own; rank++) {
        const those = (): Iterable<[string, Entry<T>]> =>
          kept
            .entries()
            .filter(([id, { host }]) => id !== peerId && standing(id) === rank && (!ofCrowds || isCrowd(host)))
        if (left > maxBytes) {
          for (const one of largestFirst(those(), rank === own ? classOf(sizeBytes) : 0)) {
            leave(one)
            if (left <= maxBytes) break
          }
        }
        if (left > maxBytes) continue
        for (const one of those()) {
          if (count <= maxCount) break
          leave(one)
        }
        if (fits()) return [...goes]
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
    keep(peerId, announcement) {
      const sizeBytes = sizeOf(announcement)
      const goes = makingRoom(peerId, sizeBytes)
      if (goes === null) return false
      for (const each of [...goes, peerId]) forget(each)
      const entry = { announcement, atMs: performance.now(), sizeBytes, host: hostOf(announcement) }
      kept.set(peerId, entry)
      count(entry.host, 1, sizeBytes)
      return true
    },
    forget,
    entries: () => kept.entries(),
    get bytes() {
      return bytes
    }
  }
}

/** Sizes within a factor of two are alike, and all up to the ordinary one. */
const classOf = (sizeBytes: number): number => Math.max(0, Math.ceil(Math.log2(sizeBytes / ORDINARY_BYTES)))

/** By class, the largest first, in their order within it; none below `least`. */
function* largestFirst<T>(those: Iterable<[string, Entry<T>]>, least: number): Generator<[string, Entry<T>]> {
  const classes: Array<Array<[string, Entry<T>]>> = []
  for (const one of those) {
    const nth = classOf(one[1].sizeBytes)
    classes[nth] ??= []
    classes[nth].push(one)
  }
  for (let nth = classes.length - 1; nth >= least; nth--) yield* classes[nth] ?? []
}
