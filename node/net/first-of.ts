/** A race with head starts: each runner begins when the one before had its time alone, or failed. */

export interface Runner<T> {
  /** How long it runs before the next one begins too, ms. */
  headStartMs: number
  /** `lost` aborts when another one won. */
  run: (lost: AbortSignal) => Promise<T>
}

/**
 * The first that succeeds. The others are told by `lost` and may end as they like.
 * @throws AggregateError of all failures, or the signal's reason
 */
export async function firstOf<T>(runners: readonly Runner<T>[], signal: AbortSignal): Promise<T> {
  signal.throwIfAborted()
  return await new Promise<T>((resolve, reject) => {
    const losers = runners.map(() => new AbortController())
    const errors: unknown[] = []
    let next = 0
    let isOver = false
    let timer: ReturnType<typeof setTimeout> | undefined

    const end = (winner: number | null): void => {
      isOver = true
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
      for (const [index, loser] of losers.entries()) if (index !== winner) loser.abort()
    }
    const onAbort = () => {
      end(null)
      reject(signal.reason)
    }
    const begin = (): void => {
      clearTimeout(timer)
      const index = next++
      const runner = runners[index]
      if (isOver || runner === undefined) return
      timer = setTimeout(begin, runner.headStartMs)
      runner.run(losers[index]!.signal).then(
        value => {
          if (isOver) return
          end(index)
          resolve(value)
        },
        error => {
          errors.push(error)
          if (isOver) return
          if (errors.length === runners.length) {
            end(null)
            reject(new AggregateError(errors, 'none succeeded'))
          } else if (next === index + 1) begin()
        }
      )
    }
    signal.addEventListener('abort', onAbort, { once: true })
    if (runners.length === 0) {
      end(null)
      reject(new AggregateError([], 'there was nothing to try'))
    } else begin()
  })
}
