/** How often and how long a request that was cut is tried again. */
import type { Timings } from './timings.ts'
import { wait } from './timings.ts'

/** Cuts in a row without a single byte of progress before we give up. */
const MAX_FRUITLESS_ATTEMPTS = 4
const MAX_RETRY_MS = 1000

export interface Patience {
  /** Something came through: all patience is there again. */
  progressed: () => void
  /**
   * Waits before the next try: not at all at first, then longer each time.
   * @throws the error itself when there were too many in a row
   */
  wait: (error: unknown, signal: AbortSignal) => Promise<void>
}

/** @param wasConnected whether the peer was there a moment ago: it may just be on its way to another address */
export function createPatience(timings: Pick<Timings, 'retryMs' | 'recoverMs'>, wasConnected: boolean): Patience {
  let fruitless = 0
  let sinceMs = performance.now()
  return {
    progressed() {
      fruitless = 0
      sinceMs = performance.now()
    },
    async wait(error, signal) {
      fruitless++
      const mayRecover = wasConnected && performance.now() - sinceMs < timings.recoverMs
      if (fruitless > MAX_FRUITLESS_ATTEMPTS && !mayRecover) throw error
      if (fruitless > 1) await wait(Math.min(timings.retryMs * 2 ** (fruitless - 1), MAX_RETRY_MS), signal)
    }
  }
}
