/**
 * What a topic's sockets are told, written to each at once for a turn of the event loop. A crowd is served in parts,
 * so that ten thousand sockets of one topic do not hold up everything else while they are written to.
 */
import { PART_SOCKETS, TURN_MAX_BYTES } from './limits.ts'
import { type Form, frameFor, type Item, type Subscriber } from './subscriber.ts'

export interface FanOut {
  /** From the next item on. */
  add: (subscriber: Subscriber) => void
  delete: (subscriber: Subscriber) => void
  size: () => number
  /** `bytes`: about what it takes. */
  tell: (item: Item, bytes: number) => void
}

export interface FanOutOptions {
  /** Runs it once before the event loop's next turn. */
  thisTurn: (work: () => void) => void
  /** Messages that were written. */
  delivered: (count: number) => void
}

/** Items on their way to all who were there before them. */
interface Batch {
  items: Item[]
  /** Number of its first item. */
  first: number
  chunks: Partial<Record<Form, Buffer>>
  left: Iterator<[Subscriber, number]>
}

export function createFanOut({ thisTurn, delivered }: FanOutOptions): FanOut {
  /** With the number of the first item that is for it. */
  const subscribers = new Map<Subscriber, number>()
  let made = 0
  let pending: Item[] = []
  let pendingBytes = 0
  let batch: Batch | null = null

  function begin(): void {
    if (batch !== null || pending.length === 0) return
    batch = { items: pending, first: made - pending.length, chunks: {}, left: subscribers.entries() }
    pending = []
    pendingBytes = 0
    serve(PART_SOCKETS)
  }

  /** Writes the batch to so many more; the rest has its turn later. */
  function serve(count: number): void {
    if (batch === null) return
    const current = batch
    let written = 0
    let served = 0
    while (served < count) {
      const { done, value } = current.left.next()
      if (done) {
        batch = null
        break
      }
      served += 1
      written += write(value[0], value[1], current)
    }
    delivered(written)
    if (batch !== null) setImmediate(serve, PART_SOCKETS)
    else if (pending.length > 0) thisTurn(begin)
  }

  function write(subscriber: Subscriber, from: number, { items, first, chunks }: Batch): number {
    if (from <= first) {
      chunks[subscriber.form] ??= chunkOf(subscriber.form, items)
      return subscriber.deliver(chunks[subscriber.form] as Buffer, items) ? messagesIn(items) : 0
    }
    // It came in the middle of this batch, or after it.
    const own = items.slice(from - first)
    return own.length > 0 && subscriber.deliver(chunkOf(subscriber.form, own), own) ? messagesIn(own) : 0
  }

  return {
    add(subscriber) {
      subscribers.set(subscriber, made)
    },
    delete(subscriber) {
      subscribers.delete(subscriber)
    },
    size: () => subscribers.size,
    tell(item, bytes) {
      if (subscribers.size === 0) return
      made += 1
      pending.push(item)
      pendingBytes += bytes
      if (pending.length === 1 && batch === null) thisTurn(begin)
      if (pendingBytes < TURN_MAX_BYTES) return
      // Whoever publishes faster than it can be written waits here.
      serve(Number.POSITIVE_INFINITY)
      begin()
    }
  }
}

function messagesIn(items: readonly Item[]): number {
  return items.reduce((sum, item) => sum + ('message' in item ? 1 : 0), 0)
}

function chunkOf(form: Form, items: readonly Item[]): Buffer {
  const frames = items.map(item => frameFor(form, item)).filter(frame => frame !== null)
  return frames.length === 1 ? (frames[0] as Buffer) : Buffer.concat(frames)
}
