/** How fast a peer may send and be sent to through the relay: a token bucket for each peer and direction. */

/** `up`: what the peer sends; `down`: what it is sent. */
export type Direction = 'up' | 'down'

export interface Rates {
  /** Takes bytes that went, also more than there are. Gives the ms until the peer may have more, 0 for at once. */
  take: (peerId: string, direction: Direction, bytes: number) => number
  /** Buckets that are remembered. */
  size: () => number
}

const BITS_PER_BYTE = 8
const SECOND_MS = 1000
/** A bucket that is full again tells nothing; of others the one longest unused is forgotten for a new one. */
const MAX_BUCKETS = 20_000

/** @param options.nowMs for tests */
export function createRates(options: {
  bitsPerSecond: number
  burstBytes: number
  maxBuckets?: number
  nowMs?: () => number
}): Rates {
  const { burstBytes, maxBuckets = MAX_BUCKETS, nowMs = () => performance.now() } = options
  const bytesPerMs = options.bitsPerSecond / BITS_PER_BYTE / SECOND_MS
  /** In the order of their last use. */
  const buckets = new Map<string, { bytes: number; atMs: number }>()

  return {
    take(peerId, direction, bytes) {
      const key = `${direction} ${peerId}`
      const now = nowMs()
      const known = buckets.get(key)
      if (known === undefined) makeRoom()
      else buckets.delete(key)
      const before =
        known === undefined ? burstBytes : Math.min(burstBytes, known.bytes + (now - known.atMs) * bytesPerMs)
      const left = before - bytes
      buckets.set(key, { bytes: left, atMs: now })
      return left >= 0 ? 0 : Math.ceil(-left / bytesPerMs)
    },
    size: () => buckets.size
  }

  function makeRoom(): void {
    for (const oldest of buckets.keys()) {
      if (buckets.size < maxBuckets) return
      buckets.delete(oldest)
    }
  }
}
