/** The newest messages of a topic, for sockets that come back: bounded by count, bytes and age, and all topics together. */
import { REPLAY_MAX_AGE_MS, REPLAY_MAX_BYTES, REPLAY_MAX_MESSAGES } from './limits.ts'
import { type Message, weightOf } from './message.ts'

/** Messages `from` to `to` of a publisher were missed; `to` null: at least those, it is not known how many. */
export interface Gap {
  publisher: string
  from: number
  to: number | null
}

/** How far a socket had come, by publisher. */
export type Cursor = ReadonlyMap<string, number>

export interface Replay {
  add: (message: Message) => void
  /** What is here of a publisher, in order. */
  of: (publisher: string) => Message[]
  /**
   * What the socket has missed, in order, and what of it is not here any more.
   * Of a publisher that the cursor does not name: what is newer than `sinceMs` (ms since the epoch).
   * @param lastOf the newest message of a publisher that this gateway knows of; null: it does not know the publisher
   */
  after: (
    cursor: Cursor,
    sinceMs: number,
    lastOf: (publisher: string) => number | null
  ) => { gaps: Gap[]; messages: Message[] }
  /** Forgets what is too old. */
  expire: () => void
  clear: () => void
}

/** Bytes kept by all topics of a namespace, or of a gateway. */
export interface ReplayBudget {
  usedBytes: number
  readonly maxBytes: number
}

export function replayBudget(maxBytes: number): ReplayBudget {
  return { usedBytes: 0, maxBytes }
}

/** @param budgets all of them hold */
export function createReplay(...budgets: ReplayBudget[]): Replay {
  const kept: Array<{ message: Message; weight: number; atMs: number }> = []
  let bytes = 0

  function weigh(change: number): void {
    bytes += change
    for (const budget of budgets) budget.usedBytes += change
  }

  function dropOldest(count: number): void {
    for (const { weight } of kept.splice(0, count)) weigh(-weight)
  }

  function expire(): void {
    const oldestMs = performance.now() - REPLAY_MAX_AGE_MS
    const fresh = kept.findIndex(({ atMs }) => atMs >= oldestMs)
    dropOldest(fresh < 0 ? kept.length : fresh)
  }

  return {
    add(message) {
      const weight = weightOf(message)
      kept.push({ message, weight, atMs: performance.now() })
      weigh(weight)
      const over = () =>
        kept.length > REPLAY_MAX_MESSAGES ||
        bytes > REPLAY_MAX_BYTES ||
        budgets.some(({ usedBytes, maxBytes }) => usedBytes > maxBytes)
      while (kept.length > 0 && over()) dropOldest(1)
    },
    of: publisher => kept.flatMap(({ message }) => (message.publisher === publisher ? [message] : [])),
    after(cursor, sinceMs, lastOf) {
      expire()
      const messages = kept
        .map(({ message }) => message)
        .filter(({ publisher, seq, timestamp }) => {
          const seen = cursor.get(publisher)
          return seen === undefined ? timestamp > sinceMs : seq > seen
        })
      const gaps: Gap[] = []
      for (const [publisher, seen] of cursor) {
        let expected = seen + 1
        for (const { publisher: name, seq } of messages) {
          if (name !== publisher) continue
          if (seq > expected) gaps.push({ publisher, from: expected, to: seq - 1 })
          expected = seq + 1
        }
        const last = lastOf(publisher)
        if (last === null) gaps.push({ publisher, from: expected, to: null })
        else if (last >= expected) gaps.push({ publisher, from: expected, to: last })
      }
      return { gaps, messages }
    },
    expire,
    clear() {
      dropOldest(kept.length)
    }
  }
}
