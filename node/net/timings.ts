/** How long the blob protocols wait for what. */
export interface Timings {
  /** For the header of a request after its stream opened. */
  headerTimeoutMs: number
  /** Longest silence in the middle of a transfer. */
  idleTimeoutMs: number
  /** For the answer after the last byte was sent: the far end hashes, fsyncs and may replicate first. */
  replyTimeoutMs: number
  /** How long a cut upload is kept so that it can go on. */
  resumeWaitMs: number
  /** Longest transfer: this, and `deadlinePerMibMs` for each MiB. */
  deadlineMs: number
  deadlinePerMibMs: number
  /** For one attempt to reach a peer, all its addresses together. */
  connectTimeoutMs: number
  /** First wait before a cut transfer is tried again; doubles. */
  retryMs: number
  /** A request whose connection was lost goes on trying for at least so long: the peer may come back by another path. */
  recoverMs: number
}

export const DEFAULT_TIMINGS: Timings = {
  headerTimeoutMs: 10_000,
  idleTimeoutMs: 30_000,
  replyTimeoutMs: 60_000,
  resumeWaitMs: 20_000,
  deadlineMs: 60_000,
  deadlinePerMibMs: 10_000,
  connectTimeoutMs: 15_000,
  retryMs: 100,
  recoverMs: 4000
}

const MIB = 1024 * 1024

/** Longest time a transfer of so many bytes may take, ms. */
export function transferDeadlineMs(timings: Timings, sizeBytes: number): number {
  return timings.deadlineMs + Math.ceil(sizeBytes / MIB) * timings.deadlinePerMibMs
}

/** A signal that follows `parent` and aborts by itself after `ms`; `clear` when the work is done. */
export function deadline(
  ms: number,
  parent?: AbortSignal
): { signal: AbortSignal; clear: () => void; abort: () => void } {
  const controller = new AbortController()
  const onParent = () => controller.abort(parent?.reason)
  if (parent?.aborted === true) onParent()
  else parent?.addEventListener('abort', onParent, { once: true })
  const timer = setTimeout(() => controller.abort(new DOMException(`took longer than ${ms} ms`, 'TimeoutError')), ms)
  // A number in browsers, where nothing waits for timers at the end.
  if (typeof timer === 'object') timer.unref()
  return {
    signal: controller.signal,
    abort: () => controller.abort(),
    clear() {
      clearTimeout(timer)
      parent?.removeEventListener('abort', onParent)
    }
  }
}

/** Waits, or rejects with the signal's reason. */
export function wait(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted()
    const onAbort = () => {
      clearTimeout(timer)
      reject(signal?.reason)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort)
      resolve()
    }, ms)
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}

/** Resolves after `ms`, or as soon as `stop` aborts: for loops that look at `stop` themselves. */
export function pause(ms: number, stop: AbortSignal): Promise<void> {
  return wait(ms, stop).catch(() => undefined)
}
