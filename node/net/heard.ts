/** Announcements heard from others, capped in number and in bytes: the list of them has to fit one answer. */
export interface Heard<T> {
  get: (peerId: string) => { announcement: T; atMs: number } | undefined
  /** Whether there is room for it in place of what is known of the peer. */
  fits: (peerId: string, announcement: T) => boolean
  /** Keep it, heard now, in place of an older one of the peer. Nothing happens when it does not fit. */
  keep: (peerId: string, announcement: T) => void
  forget: (peerId: string) => void
  entries: () => Iterable<[string, { announcement: T; atMs: number }]>
  /** Bytes of JSON of all of them. */
  readonly bytes: number
}

/**
 * @param maxCount most peers
 * @param maxBytes most bytes of JSON, the commas between them included
 */
export function createHeard<T>({ maxCount, maxBytes }: { maxCount: number; maxBytes: number }): Heard<T> {
  const kept = new Map<string, { announcement: T; atMs: number; sizeBytes: number }>()
  let bytes = 0
  const sizeOf = (announcement: T): number => Buffer.byteLength(JSON.stringify(announcement)) + 1

  const fits: Heard<T>['fits'] = (peerId, announcement) => {
    const known = kept.get(peerId)
    if (known === undefined && kept.size >= maxCount) return false
    return bytes - (known?.sizeBytes ?? 0) + sizeOf(announcement) <= maxBytes
  }
  function forget(peerId: string): void {
    bytes -= kept.get(peerId)?.sizeBytes ?? 0
    kept.delete(peerId)
  }
  return {
    get: peerId => kept.get(peerId),
    fits,
    keep(peerId, announcement) {
      if (!fits(peerId, announcement)) return
      forget(peerId)
      const sizeBytes = sizeOf(announcement)
      bytes += sizeBytes
      kept.set(peerId, { announcement, atMs: performance.now(), sizeBytes })
    },
    forget,
    entries: () => kept.entries(),
    get bytes() {
      return bytes
    }
  }
}
