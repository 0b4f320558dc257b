/**
 * Joins the two streams of a circuit: bytes of each go to the other, never faster than it takes them, nor than the
 * peers' rates allow. js-libp2p's own `pipe` reads without a bound what the far end does not take.
 */
import type { Stream, StreamCloseEvent, StreamMessageEvent } from '@libp2p/interface'
import { ByteQueue } from '../node/index.ts'

/** Why a circuit ended. */
export const CIRCUIT_ENDS = ['closed', 'lost', 'bytes', 'duration', 'stalled', 'reclaimed', 'stopped'] as const
export type CircuitEnd = (typeof CIRCUIT_ENDS)[number]

/** Most that goes on before rates are asked again. */
const SLICE_BYTES = 64 * 1024
/**
 * After one side is closed, and all it sent has gone on, the other has this long to close as well. The circuit keeps its
 * place meanwhile, which is counted, and goes to another like any on which nothing happens.
 */
export const GOODBYE_MS = 5000

export interface SpliceOptions {
  /** Streams of who opened the circuit, and of whom it leads to. */
  ends: readonly [Stream, Stream]
  /** Bytes, both ways together, after which it is cut. */
  maxBytes: number
  durationMs: number
  /** How long one end may take no bytes while some wait. */
  stallMs: number
  /** Default GOODBYE_MS. */
  goodbyeMs?: number
  signal: AbortSignal
  /** Told of bytes from end `from`, before they go on. Gives the ms to wait before the next. */
  onBytes: (from: 0 | 1, bytes: number) => number
  onEnd: (why: CircuitEnd) => void
}

export interface Splice {
  /** Cuts both ends; once it is over that does nothing. */
  cut: (why: CircuitEnd) => void
  /** Whether bytes wait, or their sender is held back, because of a rate or an end that takes none. */
  hasWaiting: () => boolean
}

/** Attach it in the tick in which both streams were got: what came before waits in them. */
export function splice(options: SpliceOptions): Splice {
  const { ends, goodbyeMs = GOODBYE_MS, signal, onBytes, onEnd } = options
  let left = options.maxBytes
  let isOver = false
  let goodbye: NodeJS.Timeout | undefined
  const duration = setTimeout(() => cut('duration'), options.durationMs)
  duration.unref()
  const onStop = () => cut('stopped')
  signal.addEventListener('abort', onStop, { once: true })
  const pumps = [pump(0), pump(1)]
  if (signal.aborted) onStop()
  return { cut, hasWaiting: () => !isOver && pumps.some(({ hasWaiting }) => hasWaiting()) }

  function finish(why: CircuitEnd): void {
    if (isOver) return
    isOver = true
    clearTimeout(duration)
    clearTimeout(goodbye)
    signal.removeEventListener('abort', onStop)
    for (const { release } of pumps) release()
    onEnd(why)
  }

  function cut(why: CircuitEnd): void {
    if (isOver) return
    finish(why)
    for (const stream of ends) stream.abort(new Error(`the circuit was cut: ${why}`))
  }

  /** Bytes of one end to the other. `release` lets go of both. */
  function pump(from: 0 | 1): { release: () => void; hasWaiting: () => boolean } {
    const source = ends[from]
    const target = ends[from === 0 ? 1 : 0]
    /** What came and may not go on yet; the source is paused meanwhile, so that it is one window at most. */
    const waiting = new ByteQueue()
    let rateTimer: NodeJS.Timeout | undefined
    let stallTimer: NodeJS.Timeout | undefined
    let hasEnded = false

    const isFull = () => target.writableNeedsDrain || target.writeBufferLength > 0

    /** Sends on what may go, and lets more come when all went. */
    function flush(): void {
      while (!isOver && waiting.byteLength > 0 && rateTimer === undefined && !isFull()) {
        const slice = waiting.take(SLICE_BYTES)
        const waitMs = onBytes(from, slice.byteLength)
        if (waitMs > 0) rateTimer = later(waitMs)
        try {
          target.send(slice)
        } catch {
          cut('lost')
        }
      }
      if (isOver) return
      watchStall()
      if (waiting.byteLength > 0) return
      if (hasEnded) target.close({ signal: AbortSignal.timeout(options.stallMs) }).catch(() => cut('lost'))
      else if (rateTimer === undefined && !isFull() && source.readStatus === 'paused') source.resume()
    }

    function later(waitMs: number): NodeJS.Timeout {
      return setTimeout(() => {
        rateTimer = undefined
        flush()
      }, waitMs).unref()
    }

    function watchStall(): void {
      if (!isFull()) {
        clearTimeout(stallTimer)
        stallTimer = undefined
      } else stallTimer ??= setTimeout(() => cut('stalled'), options.stallMs).unref()
    }

    // What is sent while libp2p tells this would stay in its buffer, and nothing would tell of it again.
    const onRoom = () => queueMicrotask(flush)
    const onMessage = ({ data }: StreamMessageEvent) => {
      if (isOver) return
      left -= data.byteLength
      if (left < 0) return cut('bytes')
      waiting.push(data)
      flush()
      if (isOver || source.readStatus !== 'readable') return
      if (waiting.byteLength > 0 || rateTimer !== undefined || isFull()) source.pause()
    }
    const onEnded = () => {
      hasEnded = true
      flush()
    }
    const onClosed = ({ error }: StreamCloseEvent) => {
      if (error !== undefined) return cut('lost')
      if (target.status !== 'open' && waiting.byteLength === 0) return finish('closed')
      if (goodbye === undefined) farewell()
    }

    /** What was sent before is still to come: it may take as long as rates, stalls and the circuit's time allow. */
    const isUnsent = () => waiting.byteLength > 0 || source.readBufferLength > 0 || target.writeBufferLength > 0
    function farewell(): void {
      goodbye = setTimeout(() => (isUnsent() ? farewell() : cut('closed')), goodbyeMs).unref()
    }

    source.addEventListener('message', onMessage)
    source.addEventListener('end', onEnded)
    source.addEventListener('close', onClosed)
    target.addEventListener('drain', onRoom)
    target.addEventListener('idle', onRoom)
    // An end that was told before the handshake put back what it had read too much: that comes first.
    if (source.readableEnded) queueMicrotask(onEnded)
    if (source.status !== 'open') setImmediate(() => cut('lost'))
    const release = () => {
      clearTimeout(rateTimer)
      clearTimeout(stallTimer)
      waiting.clear()
      source.removeEventListener('message', onMessage)
      source.removeEventListener('end', onEnded)
      source.removeEventListener('close', onClosed)
      target.removeEventListener('drain', onRoom)
      target.removeEventListener('idle', onRoom)
    }
    return { release, hasWaiting: () => rateTimer !== undefined || isUnsent() }
  }
}
