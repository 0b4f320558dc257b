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
