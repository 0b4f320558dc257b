/** What one caller may have: so many requests in a time, and so many under way. Pure but for what it remembers. */
import { createTally } from '../tally.ts'
import { type Bucket, fullBucket, takeToken } from '../token-bucket.ts'

export interface RateLimit {
  /** 0 when the caller may go on; else seconds until it may. */
  take: (caller: string, nowMs: number) => number
  readonly size: number
}

/** Requests under way. */
export interface Places {
  /** null: the caller has as many as it may. Else what gives the place back, once. */
  take: (caller: string) => (() => void) | null
}

export interface RateOptions {
  /** What a bucket holds, and what flows in each `periodMs`. 0: no limit. */
  limit: number
  periodMs: number
  callersMax: number
}

/** Token buckets, one a caller, for a bounded number of callers. */
export function createRateLimit({ limit, periodMs, callersMax }: RateOptions): RateLimit {
  const buckets = new Map<string, Bucket>()
  const pace = { perSecond: (limit * 1000) / periodMs, burst: limit }
  return {
    take(caller, nowMs) {
      if (limit === 0) return 0
      let bucket = buckets.get(caller)
      if (bucket === undefined) {
        // The one that came first goes: to be forgotten means to begin with a full bucket, no worse than a new address.
        if (buckets.size >= callersMax) buckets.delete(buckets.keys().next().value as string)
        bucket = fullBucket(pace, nowMs)
        buckets.set(caller, bucket)
      }
      if (takeToken(bucket, pace, nowMs)) return 0
      return Math.max(1, Math.ceil(((1 - bucket.tokens) * periodMs) / limit / 1000))
    },
    get size() {
      return buckets.size
    }
  }
}

/** Only callers with a request under way are remembered. */
export function createPlaces(callerMax: number): Places {
  const underWay = createTally()
  return { take: caller => (underWay.of(caller) >= callerMax ? null : underWay.add(caller)) }
}
