/**
 * Messages of other gateways, put back into the order of their publishers. Gossip gives them in any order, some twice,
 * some never: each is passed on once and after those before it, and what does not come in time is told as a gap.
 */
import type { Place } from './message.ts'

export interface OrderLimits {
  waitMs: number
  /** For the first messages of a publisher that began while we listened. */
  beginWaitMs: number
  /** For those of one of which we do not know where it begins for us. */
  firstWaitMs: number
  heldMax: number
  publishersMax: number
}

export interface OrderOptions<M extends Place> {
  limits: OrderLimits
  deliver: (message: M) => void
  /** Something is missing for half the time that is waited for it. */
  hole: () => void
  /** Messages `from` to `to` of the publisher did not come, and will not be passed on any more. */
  gap: (publisher: string, from: number, to: number) => void
  /** It came again, or after its gap was told. */
  duplicate: () => void
}

export interface Order<M extends Place> {
  /** `missedFrom1`: we were listening when the publisher began, so its messages before the first we see are missed. */
  take: (message: M, missedFrom1: boolean) => void
  /** The publisher has made messages up to here. */
  head: (publisher: string, seq: number, missedFrom1: boolean) => void
  /** The last that was passed on of a publisher, or given up; null: it is not known. */
  lastOf: (publisher: string) => number | null
  /** The same of all publishers of which it is known. */
  lasts: () => Array<[publisher: string, seq: number]>
  close: () => void
}

interface Publisher<M> {
  /** The next to be passed on; null until we know where it begins for us. */
  next: number | null
  /** Whether anything of it was passed on, or given up. */
  isUnderWay: boolean
  readonly held: Map<number, M>
  /** The newest that is known of. */
  head: number
  timer: NodeJS.Timeout | undefined
}

export function createOrder<M extends Place>(options: OrderOptions<M>): Order<M> {
  const { limits, deliver, hole, gap, duplicate } = options
  /** The longest silent first. */
  const publishers = new Map<string, Publisher<M>>()

  function publisherOf(name: string, missedFrom1: boolean): Publisher<M> {
    const known = publishers.get(name)
    const publisher: Publisher<M> = known ?? {
      next: missedFrom1 ? 1 : null,
      isUnderWay: false,
      held: new Map(),
      head: 0,
      timer: undefined
    }
    publishers.delete(name)
    publishers.set(name, publisher)
    if (publishers.size > limits.publishersMax) {
      const [oldest, { timer }] = publishers.entries().next().value as [string, Publisher<M>]
      clearTimeout(timer)
      publishers.delete(oldest)
    }
    return publisher
  }

  /** Passes on what is next, and sees to it that a hole is not waited for for ever. */
  function advance(name: string, publisher: Publisher<M>, progress: boolean): void {
    let moved = progress
    while (publisher.next !== null) {
      const message = publisher.held.get(publisher.next)
      if (message === undefined) break
      publisher.held.delete(publisher.next)
      publisher.next += 1
      publisher.isUnderWay = true
      moved = true
      deliver(message)
    }
    const waits = publisher.held.size > 0 || (publisher.next !== null && publisher.head >= publisher.next)
    if (moved || !waits) {
      clearTimeout(publisher.timer)
      publisher.timer = undefined
    }
    if (!waits || publisher.timer !== undefined) return
    const { waitMs: usualMs, beginWaitMs, firstWaitMs } = limits
    const waitMs = publisher.next === null ? firstWaitMs : publisher.isUnderWay ? usualMs : beginWaitMs
    publisher.timer = setTimeout(() => {
      publisher.timer = setTimeout(() => giveUp(name, publisher), waitMs / 2).unref()
      hole()
    }, waitMs / 2).unref()
  }

  /** What is missing before the first that waits does not come any more. */
  function giveUp(name: string, publisher: Publisher<M>): void {
    const first = publisher.held.size === 0 ? publisher.head + 1 : Math.min(...publisher.held.keys())
    if (publisher.next !== null && first > publisher.next) gap(name, publisher.next, first - 1)
    publisher.next = first
    publisher.isUnderWay = true
    advance(name, publisher, true)
  }

  return {
    take(message, missedFrom1) {
      const { publisher: name, seq } = message
      const publisher = publisherOf(name, missedFrom1)
      if (publisher.held.has(seq) || (publisher.next !== null && seq < publisher.next)) {
        duplicate()
        return
      }
      if (publisher.next === null && seq === 1) publisher.next = 1
      publisher.head = Math.max(publisher.head, seq)
      publisher.held.set(seq, message)
      if (publisher.held.size > limits.heldMax) giveUp(name, publisher)
      else advance(name, publisher, false)
    },
    head(name, seq, missedFrom1) {
      if (!publishers.has(name) && !missedFrom1) return
      const publisher = publisherOf(name, missedFrom1)
      publisher.head = Math.max(publisher.head, seq)
      advance(name, publisher, false)
    },
    lastOf(name) {
      const next = publishers.get(name)?.next
      return next === null || next === undefined ? null : next - 1
    },
    lasts: () => [...publishers].flatMap(([name, { next }]) => (next === null ? [] : [[name, next - 1]])),
    close() {
      for (const { timer } of publishers.values()) clearTimeout(timer)
      publishers.clear()
    }
  }
}
