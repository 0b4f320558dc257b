/** Datagrams that one side of an attempt may still send, and how fast: every one of them is taken from here. */
import { pause } from '../../timings.ts'

export interface Budget {
  /** One more datagram; false when there is none left. */
  take: () => boolean
  spent: () => number
  left: () => number
}

export function createBudget(packets: number): Budget {
  let spent = 0
  return {
    take() {
      if (spent >= packets) return false
      spent++
      return true
    },
    spent: () => spent,
    left: () => packets - spent
  }
}

const TICK_MS = 5
const SECOND_MS = 1000

/**
 * Call `send` for each, at most `perSecond`, in small steps, until `signal` aborts or `isOver`.
 * @returns how many were called
 */
export async function paced<T>(
  each: readonly T[],
  send: (one: T, nth: number) => void,
  options: { perSecond: number; signal: AbortSignal; isOver: () => boolean }
): Promise<number> {
  const { perSecond, signal, isOver } = options
  const perTick = Math.max(1, Math.floor((perSecond * TICK_MS) / SECOND_MS))
  const began = performance.now()
  let done = 0
  while (done < each.length && !signal.aborted && !isOver()) {
    // After a stall nothing is made up for: at most one step's worth leaves at once.
    const due = Math.min(perTick, Math.ceil(((performance.now() - began + TICK_MS) * perSecond) / SECOND_MS) - done)
    for (let nth = 0; nth < due && done < each.length && !isOver(); nth++) send(each[done]!, done++)
    await pause(TICK_MS, signal)
  }
  return done
}
