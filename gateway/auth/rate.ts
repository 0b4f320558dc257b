/** Token buckets, one a caller, for a bounded number of callers. Pure but for what it remembers. */

export interface RateLimit {
  /** 0 when the caller may go on; else seconds until it may. */
  take: (caller: string, nowMs: number) => number
  readonly size: number
}

export interface RateOptions {
  /** What a bucket holds, and what flows in each `periodMs`. 0: no limit. */
  limit: number
  periodMs: number
  callersMax: number
}

export function createRateLimit({ limit, periodMs, callersMax }: RateOptions): RateLimit {
  const buckets = new Map<string, { left: number; atMs: number }>()
  return {
    take(caller, nowMs) {
      if (limit === 0) return 0
      let bucket = buckets.get(caller)
      if (bucket === undefined) {
        // The one that came first goes: to be forgotten means to begin with a full bucket, no worse than a new address.
        if (buckets.size >= callersMax) buckets.delete(buckets.keys().next().value as string)
        bucket = { left: limit, atMs: nowMs }
        buckets.set(caller, bucket)
      }
      const flowed = (Math.max(0, nowMs - bucket.atMs) * limit) / periodMs
      bucket.left = Math.min(limit, bucket.left + flowed)
      bucket.atMs = nowMs
      if (bucket.left >= 1) {
        bucket.left -= 1
        return 0
      }
      return Math.max(1, Math.ceil(((1 - bucket.left) * periodMs) / limit / 1000))
    },
    get size() {
      return buckets.size
    }
  }
}
