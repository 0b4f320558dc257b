/** A request's body as bytes for the store: never gathered, ended when the client goes away or falls silent. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { RequestInvalidError, RequestTimeoutError } from '../errors.ts'

/** Longest silence within a body. */
export const BODY_IDLE_MS = 30_000

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
export async function* bodyOf(req: IncomingMessage, idleMs = BODY_IDLE_MS): AsyncGenerator<Uint8Array> {
  waiting.get(req)?.()
  waiting.delete(req)
  let timer: NodeJS.Timeout | undefined
  const pieces = req.iterator({ destroyOnReturn: false })[Symbol.asyncIterator]()
  try {
    for (;;) {
      const { promise: silence, reject } = Promise.withResolvers<never>()
      timer = setTimeout(() => reject(new RequestTimeoutError(idleMs)), idleMs)
      const reading = pieces.next()
      // When silence wins, the read is still pending and fails later, with nobody to hear it.
      reading.catch(() => {})
      const next = await Promise.race([reading, silence])
      clearTimeout(timer)
      if (next.done) {
        if (!req.complete) throw new RequestInvalidError('The body broke off.')
        return
      }
      yield next.value as Uint8Array
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
