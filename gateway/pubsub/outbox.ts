/**
 * Messages on their way to other gateways: how many at once, and how many a second, each capped for a namespace, so
 * that one leaves room for others.
 */
import { createTally } from '../tally.ts'
import { type Bucket, fullBucket, type Pace, takeToken } from '../token-bucket.ts'
import { PublishBusyError } from './errors.ts'
import { NAMESPACE_PACE, NAMESPACE_PACES_MAX, NAMESPACE_PUBLISHES_MAX, PUBLISHES_MAX } from './limits.ts'

export interface Outbox {
  /**
   * A place for one message; what it answers gives it back.
   * @throws PublishBusyError
   */
  take: (namespace: string) => () => void
  /** The same at any pace; null when there is none. */
  tryTake: (namespace: string) => (() => void) | null
}

export interface OutboxLimits {
  max: number
  namespaceMax: number
  pace: Pace
}

export function createOutbox(limits: Partial<OutboxLimits> = {}): Outbox {
  const { max = PUBLISHES_MAX, namespaceMax = NAMESPACE_PUBLISHES_MAX, pace = NAMESPACE_PACE } = limits
  /** A full one is as good as none: the longest unused is forgotten. */
  const buckets = new Map<string, Bucket>()
  const underWay = createTally()
  let total = 0

  function tryTake(namespace: string): (() => void) | null {
    if (total >= max || underWay.of(namespace) >= namespaceMax) return null
    const leave = underWay.add(namespace)
    total += 1
    return () => {
      leave()
      total -= 1
    }
  }

  function bucketOf(namespace: string): Bucket {
    const bucket = buckets.get(namespace) ?? fullBucket(pace)
    buckets.delete(namespace)
    buckets.set(namespace, bucket)
    if (buckets.size > NAMESPACE_PACES_MAX) buckets.delete(buckets.keys().next().value as string)
    return bucket
  }

  return {
    tryTake,
    take(namespace) {
      const release = takeToken(bucketOf(namespace), pace) ? tryTake(namespace) : null
      if (release === null) throw new PublishBusyError()
      return release
    }
  }
}
