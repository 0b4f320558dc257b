/** A token bucket: so many a second, and so many at once. */
export interface Bucket {
  tokens: number
  /** When its tokens were reckoned, on whatever clock the caller has, ms. */
  atMs: number
}

export interface Pace {
  perSecond: number
  burst: number
}

export function fullBucket({ burst }: Pace, nowMs = performance.now()): Bucket {
  return { tokens: burst, atMs: nowMs }
}

/** Whether there was one. A clock that goes back gives none. */
export function takeToken(bucket: Bucket, { perSecond, burst }: Pace, nowMs = performance.now()): boolean {
  const flowed = (Math.max(0, nowMs - bucket.atMs) * perSecond) / 1000
  bucket.tokens = Math.min(burst, bucket.tokens + flowed)
  bucket.atMs = nowMs
  if (bucket.tokens < 1) return false
  bucket.tokens -= 1
  return true
}
