/** What was done and what came of it, in order: one JSON object a line. Checks may read nothing else of a workload. */
import { appendFileSync } from 'node:fs'
import { reason } from './check.ts'

export interface HistoryEntry {
  /** Milliseconds since the history began. */
  atMs: number
  /** Operations: `invoke`, then one of `ok`, `fail` (surely did not happen) or `info` (nobody knows). Events: `event`. */
  type: 'invoke' | 'ok' | 'fail' | 'info' | 'event'
  /** The same for the entries of one operation. */
  id: number
  what: string
  detail?: unknown
}

export interface History {
  readonly entries: readonly HistoryEntry[]
  event: (what: string, detail?: unknown) => void
  /** Run an operation between its `invoke` and its end. An error is recorded as `info` (or `fail` if `surelyNot` says so) and thrown on. */
  operation: <T>(
    what: string,
    detail: unknown,
    act: () => Promise<T>,
    summary?: (result: T) => unknown,
    surelyNot?: (error: unknown) => boolean
  ) => Promise<T>
}

/** A history kept in memory and, when a file is given, on disk as it happens. */
export function startHistory(file?: string): History {
  const entries: HistoryEntry[] = []
  const began = performance.now()
  let lastId = 0
  const add = (type: HistoryEntry['type'], id: number, what: string, detail?: unknown): void => {
    const entry = {
      atMs: Math.round(performance.now() - began),
      type,
      id,
      what,
      ...(detail === undefined ? {} : { detail })
    }
    entries.push(entry)
    if (file !== undefined) appendFileSync(file, `${JSON.stringify(entry)}\n`)
  }
  return {
    entries,
    event: (what, detail) => add('event', ++lastId, what, detail),
    async operation(what, detail, act, summary, surelyNot) {
      const id = ++lastId
      add('invoke', id, what, detail)
      try {
        const result = await act()
        add('ok', id, what, summary?.(result))
        return result
      } catch (error) {
        add(surelyNot?.(error) === true ? 'fail' : 'info', id, what, reason(error))
        throw error
      }
    }
  }
}
