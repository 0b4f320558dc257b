/** How a punch over TCP ends when no connection ends it: deadline, call-off, or an error that more tries cannot mend. */
import { type PunchCause, PunchFailedError } from './errors.ts'
import { causeOf } from './socket-errors.ts'

export interface PunchEnding {
  /** Aborts when the punch is over, whichever way. */
  signal: AbortSignal
  /** Rejects with the PunchFailedError; never resolves. */
  failed: Promise<never>
  /** Remember why the last try failed: what the punch fails of, unless a connection comes. */
  note: (error: unknown, reason?: PunchCause) => void
  /** It is hopeless: fail of what was noted last. */
  fail: () => void
  /** The punch is over; call it in any case. */
  clear: () => void
}

/** @param options.calledOff a TimeoutError as its reason is a deadline like our own: the cause is what was noted last */
export function createPunchEnding(options: {
  address: string
  timeoutMs: number
  calledOff: readonly AbortSignal[]
}): PunchEnding {
  const over = new AbortController()
  const { promise: failed, reject } = Promise.withResolvers<never>()
  failed.catch(() => undefined)
  let reason: PunchCause = 'timeout'
  let cause: unknown

  function note(error: unknown, why: PunchCause = causeOf(error)): void {
    reason = why
    cause = error
  }
  function fail(): void {
    reject(new PunchFailedError(reason, options.address, { cause }))
  }
  function onAbort(this: AbortSignal): void {
    const why: unknown = this.reason
    if (!(why instanceof Error && why.name === 'TimeoutError')) note(why, 'aborted')
    fail()
  }

  const timer = setTimeout(fail, options.timeoutMs)
  for (const signal of options.calledOff) signal.addEventListener('abort', onAbort, { once: true })
  return {
    signal: over.signal,
    failed,
    note,
    fail,
    clear() {
      clearTimeout(timer)
      for (const signal of options.calledOff) signal.removeEventListener('abort', onAbort)
      over.abort()
    }
  }
}
