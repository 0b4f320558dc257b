import { setTimeout as delay } from 'node:timers/promises'
import type { Chain } from './chain.ts'

const PROBE_INTERVAL_MS = 5_000
/** More than one, since a process that was stopped for a while wakes up with its deadlines passed. */
const MAX_FAILURES_IN_A_ROW = 3

/**
 * Asks the chain for its block now and then. Resolves with the reason once it failed several times in a row, or with
 * null when the signal ends the watch.
 */
export async function watchChain(chain: Chain, signal: AbortSignal): Promise<string | null> {
  for (let failures = 0; ; ) {
    try {
      await delay(PROBE_INTERVAL_MS, undefined, { signal, ref: false })
      await chain.blockNumber()
      failures = 0
    } catch (error) {
      if (signal.aborted) return null
      failures += 1
      if (failures >= MAX_FAILURES_IN_A_ROW) return (error as Error).message
    }
  }
}
