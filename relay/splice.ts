/**
 * Joins the two streams of a circuit: bytes of each go to the other, never faster than it takes them, nor than the
 * peers' rates allow. js-libp2p's own `pipe` reads without a bound what the far end does not take.
 */
import type { Stream, StreamCloseEvent, StreamMessageEvent } from '@libp2p/interface'

/** Why a circuit ended. */
export const CIRCUIT_ENDS = ['closed', 'lost', 'bytes', 'duration', 'stalled', 'stopped'] as const
export type CircuitEnd = (typeof CIRCUIT_ENDS)[number]

/** After one side is closed the other has this long to close as well. */
const GOODBYE_MS = 5000

export interface SpliceOptions {
  /** Streams of who opened the circuit, and of whom it leads to. */
  ends: readonly [Stream, Stream]
  /** Bytes, both ways together, after which it is cut. */
  maxBytes: number
  durationMs: number
  /** How long one end may take no bytes while some wait. */
  stallMs: number
  signal: AbortSignal
  /** Told of bytes from end `from`, before they go on. Gives the ms to wait before the next. */
  onBytes: (from: 0 | 1, bytes: number) => number
  onEnd: (why: CircuitEnd) => void
}

/** Attach it in the tick in which both streams were got: what came before waits in them. */
export function splice(options: SpliceOptions): void {
  const { ends, signal, onBytes, onEnd } = options
  let left = options.maxBytes
  let isOver = false
  let goodbye: NodeJS.Timeout | undefined
  const duration = setTimeout(() => cut('duration'), options.durationMs)
  duration.unref()
  const onStop = () => cut('stopped')
  signal.addEventListener('abort', onStop, { once: true })
  const releases = [pump(0), pump(1)]
  if (signal.aborted) onStop()

  function finish(why: CircuitEnd): void {
    if (isOver) return
    isOver = true
    clearTimeout(duration)
    clearTimeout(goodbye)
    signal.removeEventListener('abort', onStop)
    for (const release of releases) release()
    onEnd(why)
  }

  function cut(why: CircuitEnd): void {
    if (isOver) return
    finish(why)
    for (const stream of ends) stream.abort(new Error(`the circuit was cut: ${why}`))
  }

  /** Bytes of one end to the other. Gives the function that lets go of both. */
  function pump(from: 0 | 1): () => void {
    const source = ends[from]
    const target = ends[from === 0 ? 1 : 0]
    let rateTimer: NodeJS.Timeout | undefined
    let stallTimer: NodeJS.Timeout | undefined

    const isFull = () => target.writableNeedsDrain || target.writeBufferLength > 0

    function hold(waitMs: number): void {
      if (waitMs > 0) {
        clearTimeout(rateTimer)
        rateTimer = setTimeout(() => {
          rateTimer = undefined
          goOn()
        }, waitMs)
        rateTimer.unref()
      }
      if (isFull()) {
        stallTimer ??= setTimeout(() => cut('stalled'), options.stallMs)
        stallTimer.unref()
      }
      if (source.readStatus === 'readable') source.pause()
    }

    function goOn(): void {
      if (isOver || isFull()) return
      clearTimeout(stallTimer)
      stallTimer = undefined
      if (rateTimer !== undefined || source.readStatus !== 'paused') return
      source.resume()
    }

    const onMessage = ({ data }: StreamMessageEvent) => {
      if (isOver) return
      left -= data.byteLength
      if (left < 0) return cut('bytes')
      const waitMs = onBytes(from, data.byteLength)
      try {
        target.send(data)
      } catch {
        return cut('lost')
      }
      if (waitMs > 0 || isFull()) hold(waitMs)
    }
    // No more will come, and all that came went on.
    const onEnded = () => {
      target.close({ signal: AbortSignal.timeout(options.stallMs) }).catch(() => cut('lost'))
    }
    const onClosed = ({ error }: StreamCloseEvent) => {
      if (error !== undefined) return cut('lost')
      if (target.status !== 'open') return finish('closed')
      goodbye ??= setTimeout(() => cut('closed'), GOODBYE_MS)
      goodbye.unref()
    }

    source.addEventListener('message', onMessage)
    source.addEventListener('end', onEnded)
    source.addEventListener('close', onClosed)
    target.addEventListener('drain', goOn)
    target.addEventListener('idle', goOn)
    if (source.readableEnded) onEnded()
    if (source.status !== 'open') setImmediate(() => cut('lost'))
    return () => {
      clearTimeout(rateTimer)
      clearTimeout(stallTimer)
      source.removeEventListener('message', onMessage)
      source.removeEventListener('end', onEnded)
      source.removeEventListener('close', onClosed)
      target.removeEventListener('drain', goOn)
      target.removeEventListener('idle', goOn)
    }
  }
}
