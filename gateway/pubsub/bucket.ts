/** A token bucket: so many a second, and so many at once. */
export interface Bucket {
  tokens: number
  /** When its tokens were reckoned, ms of performance.now(). */
  atMs: number
}

export interface Pace {
  perSecond: number
  burst: number
}

export function fullBucket({ burst }: Pace): Bucket {
  return { tokens: burst, atMs: performance.now() }
}

/** Whether there was one. */
export function takeToken(bucket: Bucket, { perSecond, burst }: Pace): boolean {
  const now = performance.now()
  bucket.tokens = Math.min(burst, bucket.tokens + ((now - bucket.atMs) / 1000) * perSecond)
  bucket.atMs = now
  if (bucket.tokens < 1) return false
  bucket.tokens -= 1
  return true
}
