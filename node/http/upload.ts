/** A request's body as bytes for the store: never gathered, ended when the client goes away or falls silent. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { RequestInvalidError, RequestTimeoutError } from '../errors.ts'
import { HTTP_LIMITS } from './http-limits.ts'

const MIB = 1024 * 1024

/** How long a client may take over a body. */
export interface BodyPatience {
  /** Longest silence, milliseconds. */
  requestTimeoutMs: number
  /** Time for every MiB, on top of one such silence; only the waits for the client count. */
  bodyMsPerMib: number
}

const DEFAULT_PATIENCE: BodyPatience = {
  requestTimeoutMs: HTTP_LIMITS.requestTimeoutMs.default,
  bodyMsPerMib: HTTP_LIMITS.bodyMsPerMib.default
}

/** Content-Length as a number, undefined for a chunked body. @throws RequestInvalidError */
export function announcedBytes(req: IncomingMessage): number | undefined {
  const text = req.headers['content-length']
  if (text === undefined) return undefined
  const bytes = Number(text)
  if (!Number.isSafeInteger(bytes)) throw new RequestInvalidError('The Content-Length is not a number of bytes.')
  return bytes
}

const waiting = new WeakMap<IncomingMessage, () => void>()

/** The client waits for `100 Continue`: it is sent when `bodyOf` is first read, so that a refusal comes before it. */
export function continueWhenRead(req: IncomingMessage, res: ServerResponse): void {
  waiting.set(req, () => res.writeContinue())
}

/**
 * The body. Stopping to read leaves the connection open, so that an answer can still be sent.
 * @throws RequestTimeoutError, RequestInvalidError when the client goes away
 */
export async function* bodyOf(
  req: IncomingMessage,
  { requestTimeoutMs: idleMs, bodyMsPerMib }: BodyPatience = DEFAULT_PATIENCE
): AsyncGenerator<Uint8Array> {
  waiting.get(req)?.()
  waiting.delete(req)
  let timer: NodeJS.Timeout | undefined
  let waitedMs = 0
  let sizeBytes = 0
  const pieces = req.iterator({ destroyOnReturn: false })[Symbol.asyncIterator]()
  try {
    for (;;) {
      const { promise: silence, reject } = Promise.withResolvers<never>()
      // A body that drips would otherwise hold its place for as long as it likes.
      const leftMs = idleMs + (sizeBytes / MIB) * bodyMsPerMib - waitedMs
      const waitMs = Math.max(0, Math.min(idleMs, leftMs))
      timer = setTimeout(() => reject(new RequestTimeoutError(Math.round(waitMs))), waitMs)
      const startedMs = performance.now()
      const reading = pieces.next()
      // When silence wins, the read is still pending and fails later, with nobody to hear it.
      reading.catch(() => {})
      const next = await Promise.race([reading, silence])
      clearTimeout(timer)
      waitedMs += performance.now() - startedMs
      if (next.done) {
        if (!req.complete) throw new RequestInvalidError('The body broke off.')
        return
      }
      const bytes = next.value as Uint8Array
      sizeBytes += bytes.length
      yield bytes
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ECONNRESET') throw new RequestInvalidError('The body broke off.')
    throw error
  } finally {
    clearTimeout(timer)
    // Its listener would keep what still arrives from being thrown away. Not waited for: a read may be pending.
    pieces.return?.().catch(() => {})
  }
}
