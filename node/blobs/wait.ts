/** Waiting: for a time, and as long as a rate asks. */

const SECOND_MS = 1000
/** Pauses shorter than this are saved up. */
const PAUSE_MIN_MS = 20

/** Waiting that a signal ends, without keeping the process alive. Resolves either way. */
export function pause(timeMs: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  const { promise, resolve } = Promise.withResolvers<void>()
  const end = () => {
    clearTimeout(timer)
    signal.removeEventListener('abort', end)
    resolve()
  }
  const timer = setTimeout(end, timeMs)
  timer.unref()
  signal.addEventListener('abort', end)
  return promise
}

/** Waits so that no more than the rate passes over time; a rate of 0 never waits. */
export function limiter(bytesPerSecond: number, signal: AbortSignal): (bytes: number) => Promise<void> {
  let freeAtMs = performance.now()
  return async bytes => {
    if (bytesPerSecond <= 0) return
    const now = performance.now()
    freeAtMs = Math.max(freeAtMs, now - SECOND_MS) + (bytes / bytesPerSecond) * SECOND_MS
    if (freeAtMs - now > PAUSE_MIN_MS) await pause(freeAtMs - now, signal)
  }
}
