/** How often and how many at once: token buckets for what peers ask, slots for what is under way. No I/O. */
import { DcutrBusyError, DcutrRateLimitedError } from './dcutr-errors.ts'

/** Peers whose use is remembered; whoever is forgotten has a full bucket, and the bucket of all still holds. */
const MAX_PEERS = 1024
const MINUTE_MS = 60_000

export interface Allowance {
  /** @throws DcutrRateLimitedError */
  take: (peerId: string) => void
}

interface Bucket {
  tokens: number
  atMs: number
}

/** So many a minute for each peer and for all together, spread: an empty bucket is full again after a minute. */
export function createAllowance(init: {
  perPeerPerMinute: number
  perMinute: number
  nowMs?: () => number
}): Allowance {
  const nowMs = init.nowMs ?? (() => performance.now())
  const peers = new Map<string, Bucket>()
  const all: Bucket = { tokens: init.perMinute, atMs: nowMs() }
  const refill = (bucket: Bucket, perMinute: number): Bucket => {
    const now = nowMs()
    bucket.tokens = Math.min(perMinute, bucket.tokens + ((now - bucket.atMs) / MINUTE_MS) * perMinute)
    bucket.atMs = now
    return bucket
  }
  return {
    take(peerId) {
      const own = peers.get(peerId) ?? { tokens: init.perPeerPerMinute, atMs: nowMs() }
      peers.delete(peerId)
      peers.set(peerId, own)
      for (const oldest of peers.keys()) {
        if (peers.size <= MAX_PEERS) break
        peers.delete(oldest)
      }
      // A peer over its own limit costs the others nothing.
      if (refill(own, init.perPeerPerMinute).tokens < 1) throw new DcutrRateLimitedError(peerId, 'peer')
      if (refill(all, init.perMinute).tokens < 1) throw new DcutrRateLimitedError(peerId, 'all')
      own.tokens--
      all.tokens--
    }
  }
}

export interface Slots {
  /** Slots in use. */
  used: () => number
  /**
   * A slot at once. Gives the function that frees it.
   * @throws DcutrBusyError
   */
  take: () => () => void
  /**
   * A slot, waited for in turn.
   * @throws DcutrBusyError when too many wait already, or the signal's reason
   */
  wait: (signal: AbortSignal) => Promise<() => void>
}

/** How many may wait for each slot there is. */
const WAITING_PER_SLOT = 8

export function createSlots(max: number): Slots {
  let used = 0
  const waiting = new Set<() => void>()
  const free = () => {
    let isFreed = false
    return () => {
      if (isFreed) return
      isFreed = true
      used--
      const [next] = waiting
      next?.()
    }
  }
  return {
    used: () => used,
    take() {
      if (used >= max) throw new DcutrBusyError()
      used++
      return free()
    },
    async wait(signal) {
      signal.throwIfAborted()
      if (used < max) {
        used++
        return free()
      }
      if (waiting.size >= max * WAITING_PER_SLOT) throw new DcutrBusyError()
      await new Promise<void>((resolve, reject) => {
        const onAbort = () => {
          waiting.delete(onFree)
          reject(signal.reason)
        }
        const onFree = () => {
          waiting.delete(onFree)
          signal.removeEventListener('abort', onAbort)
          used++
          resolve()
        }
        waiting.add(onFree)
        signal.addEventListener('abort', onAbort, { once: true })
      })
      return free()
    }
  }
}
