/** Removes what is over, now and then, one bounded batch a transaction. */

export interface SweeperOptions {
  /** Removes one batch; how many. */
  sweep: () => Promise<number>
  everyMs: number
  onError: (error: unknown) => void
}

export interface Sweeper {
  /** Ends; a batch under way is waited for. */
  close: () => Promise<void>
}

export function createSweeper({ sweep, everyMs, onError }: SweeperOptions): Sweeper {
  let closed = false
  let sweeping = Promise.resolve()
  let isSweeping = false

  async function sweepAll(): Promise<void> {
    isSweeping = true
    try {
      // Between two batches others write: a sweep of many rows holds nobody up for longer than one batch.
      while (!closed && (await sweep()) > 0);
    } catch (error) {
      onError(error)
    } finally {
      isSweeping = false
    }
  }

  const timer = setInterval(() => {
    if (!isSweeping) sweeping = sweepAll()
  }, everyMs).unref()
  return {
    async close() {
      closed = true
      clearInterval(timer)
      await sweeping
    }
  }
}
