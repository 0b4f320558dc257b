/** Bodies within their limits, answers that arrive although a body is refused, and a cap on requests at once. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Context } from 'koa'
import { BODY_IDLE_TIMEOUT_MS, LINGER_MAX_BYTES, LINGER_TIMEOUT_MS, REQUEST_TIMEOUT_MS } from '../constants.ts'
import {
  BodyStalledError,
  BodyTooLargeError,
  CallerGoneError,
  OverloadedError,
  RequestInvalidError
} from '../errors.ts'
import type { GatewayMiddleware } from '../http.ts'

export interface BodyOptions {
  maxBytes: number
  /** Longest pause. */
  idleTimeoutMs?: number
  /** From the first look to the last byte; default: as long as the whole request may take. */
  timeoutMs?: number
}

/** Requests whose caller waits for `100 Continue` before it sends the body (curl does, over 1 MiB). */
const waiting = new WeakSet<IncomingMessage>()

/**
 * Marks a request that came by the server's `checkContinue` event: it is told to continue only when a handler
 * begins to read, so that a refusal costs the caller no upload.
 */
export function waitsForContinue(request: IncomingMessage): void {
  waiting.add(request)
}

/**
 * The body's bytes as they come; nothing is kept. The limit holds by Content-Length before anything is read, and
 * by counting for a chunked body.
 * @throws BodyTooLargeError, BodyStalledError, CallerGoneError
 */
export async function* bodyOf(context: Context, options: BodyOptions): AsyncGenerator<Buffer> {
  const { req: request, res: response } = context
  const { maxBytes, idleTimeoutMs = BODY_IDLE_TIMEOUT_MS, timeoutMs = REQUEST_TIMEOUT_MS } = options
  const announced = request.headers['content-length']
  if (announced !== undefined && Number(announced) > maxBytes) throw new BodyTooLargeError(maxBytes)
  continueNow(request, response)
  // The stream survives an early end of this iteration: the answer still has to go out on its socket.
  const chunks = request.iterator({ destroyOnReturn: false })[Symbol.asyncIterator]()
  const lateMs = performance.now() + timeoutMs
  let sizeBytes = 0
  try {
    for (;;) {
      const leftMs = lateMs - performance.now()
      if (leftMs <= 0) throw new BodyStalledError(timeoutMs)
      const { done, value } = await nextChunk(chunks, Math.min(idleTimeoutMs, leftMs))
      if (done) return
      sizeBytes += (value as Buffer).byteLength
      if (sizeBytes > maxBytes) throw new BodyTooLargeError(maxBytes)
      yield value as Buffer
    }
  } finally {
    // Not awaited: a stalled read would hold it up.
    chunks.return?.().catch(() => {})
  }
}

/**
 * The same for a short body of known length, whole: many times cheaper than piece by piece.
 * @throws BodyTooLargeError, BodyStalledError, CallerGoneError
 */
export async function wholeBodyOf(context: Context, options: BodyOptions): Promise<Buffer> {
  const { req: request, res: response } = context
  const { maxBytes, idleTimeoutMs = BODY_IDLE_TIMEOUT_MS, timeoutMs } = options
  if (Number(request.headers['content-length']) > maxBytes) throw new BodyTooLargeError(maxBytes)
  if (request.destroyed) throw new CallerGoneError()
  continueNow(request, response)
  return await new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    // At once, not when the promise is looked at: after the end the request closes too, and that is no failure.
    const leave = () => {
      clearTimeout(timer)
      clearTimeout(late)
      // The stream survives: the answer still has to go out on its socket.
      request.off('data', take).off('end', finish).off('error', gone).off('close', gone)
    }
    const take = (chunk: Buffer) => {
      chunks.push(chunk)
      timer.refresh()
    }
    const finish = () => {
      leave()
      resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks))
    }
    const gone = () => {
      leave()
      reject(new CallerGoneError())
    }
    const giveUp = (afterMs: number) => {
      leave()
      request.pause()
      reject(new BodyStalledError(afterMs))
    }
    const timer = setTimeout(giveUp, idleTimeoutMs, idleTimeoutMs)
    const late = timeoutMs === undefined ? undefined : setTimeout(giveUp, timeoutMs, timeoutMs)
    request.on('data', take).once('end', finish).once('error', gone).once('close', gone)
  })
}

/**
 * The whole body as a JSON object.
 * @throws RequestInvalidError with `expected` when it is none; and what `bodyOf` throws
 */
export async function jsonBodyOf(
  context: Context,
  options: BodyOptions & { expected: string }
): Promise<Record<string, unknown>> {
  const chunks: Buffer[] = []
  for await (const chunk of bodyOf(context, options)) chunks.push(chunk)
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks)))
  } catch {
    throw new RequestInvalidError(`invalid body: expected ${options.expected}`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new RequestInvalidError(`invalid body: expected ${options.expected}`)
  }
  return value as Record<string, unknown>
}

/** Answers 503 while as many requests are under way as the gateway takes at once. */
export function createConcurrencyLimit(max: number): GatewayMiddleware {
  let underWay = 0
  return async (context, next) => {
    if (underWay >= max) throw new OverloadedError()
    let isUnderWay = true
    underWay += 1
    const leave = () => {
      if (isUnderWay) underWay -= 1
      isUnderWay = false
    }
    context.res.once('close', leave)
    try {
      await next()
    } catch (error) {
      // What is left is a short answer. A caller that is slow to take it, or to send a body nobody reads, takes no place.
      leave()
      throw error
    }
  }
}

/**
 * For an answer that is given before the body was read: sends the answer whole, reads and throws away a bounded
 * rest so that the caller gets to see it (a socket closed on unread bytes resets), and closes the connection.
 */
export async function lingers(context: Context): Promise<void> {
  const { req: request, res: response } = context
  if (request.complete || !hasBody(request) || response.headersSent) return
  context.respond = false
  const body = Buffer.from(JSON.stringify(context.body))
  response.setHeader('Content-Type', 'application/json; charset=utf-8')
  response.setHeader('Content-Length', body.byteLength)
  response.setHeader('Connection', 'close')
  response.writeHead(context.status)
  if (waiting.has(request)) {
    response.end(body)
    return
  }
  response.write(body)
  await discard(request)
  response.end()
}

function hasBody(request: IncomingMessage): boolean {
  return request.headers['transfer-encoding'] !== undefined || Number(request.headers['content-length'] ?? 0) > 0
}

function continueNow(request: IncomingMessage, response: ServerResponse): void {
  if (!waiting.delete(request)) return
  response.writeContinue()
}

function discard(request: IncomingMessage): Promise<void> {
  return new Promise(resolve => {
    let left = LINGER_MAX_BYTES
    const timer = setTimeout(done, LINGER_TIMEOUT_MS)
    function done(): void {
      clearTimeout(timer)
      request.off('data', count)
      request.pause()
      resolve()
    }
    function count(chunk: Buffer): void {
      left -= chunk.byteLength
      if (left <= 0) done()
    }
    request.once('end', done).once('error', done).once('close', done)
    request.on('data', count)
    request.resume()
  })
}

async function nextChunk(chunks: AsyncIterator<unknown>, idleTimeoutMs: number): Promise<IteratorResult<unknown>> {
  let timer: NodeJS.Timeout | undefined
  const stalled = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new BodyStalledError(idleTimeoutMs)), idleTimeoutMs)
  })
  try {
    return await Promise.race([chunks.next(), stalled])
  } catch (error) {
    if (error instanceof BodyStalledError) throw error
    throw new CallerGoneError()
  } finally {
    clearTimeout(timer)
  }
}
