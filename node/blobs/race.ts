/** Asking several peers for the same thing without waiting for each one's timeout. */

export interface RaceOptions<C, T> {
  /** Ask the next one when nobody answered for this long. */
  staggerMs: number
  /** Most asked at once. */
  maxAtOnce: number
  /** Most asked in all. */
  maxInAll: number
  signal?: AbortSignal | undefined
  /** An answer nobody wants any more. */
  dispose: (value: T) => void
  /** Why a candidate is out. */
  onFailure: (candidate: C, error: unknown) => void
}

/** The answer that came first, and whom it is from. */
export interface RaceWin<C, T> {
  from: C
  value: T
}

/**
 * Ask candidates in their order: the next when one refused or after `staggerMs`. The first answer wins; the signals
 * of the others abort. The winner's signal goes on following `options.signal`.
 * @returns null when everybody refused
 */
export async function race<C, T>(
  candidates: AsyncIterable<C>,
  ask: (candidate: C, signal: AbortSignal) => Promise<T>,
  options: RaceOptions<C, T>
): Promise<RaceWin<C, T> | null> {
  const { staggerMs, maxAtOnce, maxInAll, signal, dispose, onFailure } = options
  const iterator = candidates[Symbol.asyncIterator]()
  const running = new Set<AbortController>()
  let win: RaceWin<C, T> | null = null
  let over = false
  let asked = 0
  let exhausted = false
  let pulling = false
  let nextAtMs = 0
  let wake = Promise.withResolvers<void>()
  const wakeUp = () => wake.resolve()

  const start = (from: C): void => {
    const abort = new AbortController()
    running.add(abort)
    asked += 1
    nextAtMs = performance.now() + staggerMs
    ask(from, signal ? AbortSignal.any([signal, abort.signal]) : abort.signal)
      .then(
        value => {
          if (over || win) dispose(value)
          else win = { from, value }
        },
        error => {
          nextAtMs = 0
          if (!over) onFailure(from, error)
        }
      )
      .finally(() => {
        running.delete(abort)
        wakeUp()
      })
  }
  // Not awaited where it is called: a slow look-up must not hold up the answers of those already asked.
  const pull = async (): Promise<void> => {
    pulling = true
    try {
      const next = await iterator.next()
      if (over) return
      if (next.done) exhausted = true
      else start(next.value)
    } catch {
      exhausted = true
    } finally {
      pulling = false
      wakeUp()
    }
  }

  signal?.addEventListener('abort', wakeUp)
  try {
    for (;;) {
      wake = Promise.withResolvers<void>()
      signal?.throwIfAborted()
      if (win) return win
      const more = !exhausted && asked < maxInAll
      const waitMs = running.size === 0 ? 0 : nextAtMs - performance.now()
      if (more && !pulling && running.size < maxAtOnce && waitMs <= 0) pull()
      if (!more && !pulling && running.size === 0) return null
      const timed = more && !pulling && running.size < maxAtOnce
      const timer = timed ? setTimeout(wakeUp, waitMs) : undefined
      await wake.promise
      clearTimeout(timer)
    }
  } finally {
    over = true
    signal?.removeEventListener('abort', wakeUp)
    for (const abort of running) abort.abort()
    // Not awaited: the source of candidates may be a look-up that takes its time to stop.
    iterator.return?.()?.catch(() => {})
  }
}
