/**
 * Frames on a libp2p stream: varint length-prefixed JSON headers and raw bytes, with back-pressure both ways.
 *
 * libp2p's own iterator of a stream queues without bound and its `onDrain` resolves for ever after the first drain,
 * so both directions are done here: the reader pauses the stream above a watermark (yamux then grants no window and
 * the sender waits), the writer waits for the `drain` event each time.
 */
import type { Stream, StreamCloseEvent, StreamMessageEvent } from '@libp2p/interface'
import { PeerTimeoutError, ProtocolViolationError, TransferCutError } from '../errors.ts'
import { ByteQueue, concat, encodeVarint } from './bytes.ts'

/** Bytes of one `send`. */
export const CHUNK_BYTES = 64 * 1024
/** Longest header either side accepts. */
export const MAX_HEADER_BYTES = 8 * 1024
/** Unread bytes above which the sender is held back. */
const HIGH_WATER_BYTES = 256 * 1024
/** Bytes of a varint that can name a header or chunk length. */
const MAX_PREFIX_BYTES = 4
const utf8 = new TextEncoder()

export interface FrameOptions {
  /** Longest silence of the peer while we wait for it. */
  idleTimeoutMs: number
  signal?: AbortSignal
}

/** Reads frames of one stream. Attach it before the first await after the stream was got. */
export interface FrameReader {
  /**
   * The next JSON header.
   * @throws ProtocolViolationError when it is no JSON object or over MAX_HEADER_BYTES
   * @throws TransferCutError when the stream ends first
   * @throws PeerTimeoutError when the peer is silent for `idleTimeoutMs`
   */
  header: (options: FrameOptions) => Promise<Record<string, unknown>>
  /** Exactly `sizeBytes` raw bytes, as chunks; throws like `header`. */
  bytes: (sizeBytes: number, options: FrameOptions) => AsyncGenerator<Uint8Array, void, undefined>
  /** Length-prefixed chunks until the empty one: bytes whose number nobody knew before. */
  chunks: (options: FrameOptions) => AsyncGenerator<Uint8Array, void, undefined>
  /** Stop listening to the stream; the rest is thrown away and whoever reads meets a TransferCutError. */
  release: () => void
}

export function frameReader(stream: Stream): FrameReader {
  const buffer = new ByteQueue()
  let ended = stream.readableEnded
  let failure: Error | undefined
  let wake: () => void = () => undefined

  const onMessage = (event: StreamMessageEvent) => {
    buffer.push(event.data)
    if (buffer.byteLength >= HIGH_WATER_BYTES && stream.readStatus === 'readable') stream.pause()
    wake()
  }
  const onEnd = () => {
    ended = true
    wake()
  }
  const onClose = (event: StreamCloseEvent) => {
    failure ??= event.error
    // What came before the end is still there, held back by our own pause.
    if (stream.readStatus === 'paused' && stream.readBufferLength > 0) resume()
    ended = true
    wake()
  }
  const resume = () => {
    // Also called after the far end closed, when libp2p may have closed the readable end already.
    if (stream.readStatus !== 'paused') return
    try {
      stream.resume()
    } catch {
      // libp2p hands over what was held back first, then sends a window update, which a connection that is gone
      // refuses. Its end is told by 'close'; thrown from that handler it would end the process.
    }
  }
  stream.addEventListener('message', onMessage)
  stream.addEventListener('end', onEnd)
  stream.addEventListener('close', onClose)

  /** Waits until at least one more byte is there; false at the end of the stream. */
  async function more({ idleTimeoutMs, signal }: FrameOptions): Promise<boolean> {
    const before = buffer.byteLength
    resume()
    if (buffer.byteLength > before) return true
    if (ended) return false
    signal?.throwIfAborted()
    let timer: ReturnType<typeof setTimeout> | undefined
    let onAbort: (() => void) | undefined
    try {
      await new Promise<void>((resolve, reject) => {
        wake = resolve
        timer = setTimeout(() => reject(new PeerTimeoutError('The peer sent nothing', idleTimeoutMs)), idleTimeoutMs)
        onAbort = () => reject(signal?.reason ?? new Error('aborted'))
        signal?.addEventListener('abort', onAbort, { once: true })
      })
    } finally {
      clearTimeout(timer)
      if (onAbort !== undefined) signal?.removeEventListener('abort', onAbort)
      wake = () => undefined
    }
    return buffer.byteLength > before || (!ended && (await more({ idleTimeoutMs, ...(signal ? { signal } : {}) })))
  }

  const cut = (what: string) => new TransferCutError(`The stream ended ${what}`, failure ? { cause: failure } : {})

  async function prefix(options: FrameOptions, maxBytes: number): Promise<number> {
    for (;;) {
      const length = buffer.takeVarint(MAX_PREFIX_BYTES)
      if (length === 'invalid') throw new ProtocolViolationError('a length that is no varint')
      if (length !== null) {
        if (length > maxBytes)
          throw new ProtocolViolationError(`a frame of ${length} bytes where ${maxBytes} are allowed`)
        return length
      }
      if (!(await more(options))) throw cut('before a frame')
    }
  }

  async function* bytes(sizeBytes: number, options: FrameOptions): AsyncGenerator<Uint8Array, void, undefined> {
    let missing = sizeBytes
    while (missing > 0) {
      if (buffer.byteLength === 0 && !(await more(options))) throw cut(`${missing} bytes before its time`)
      const chunk = buffer.take(missing)
      missing -= chunk.byteLength
      yield chunk
    }
  }

  return {
    bytes,
    async header(options) {
      const length = await prefix(options, MAX_HEADER_BYTES)
      while (buffer.byteLength < length) if (!(await more(options))) throw cut('inside a header')
      const text = buffer.takeText(length)
      let value: unknown
      try {
        value = JSON.parse(text)
      } catch {
        throw new ProtocolViolationError('a header that is not JSON')
      }
      if (typeof value !== 'object' || value === null || Array.isArray(value)) {
        throw new ProtocolViolationError('a header that is not a JSON object')
      }
      return value as Record<string, unknown>
    },
    async *chunks(options) {
      for (;;) {
        const length = await prefix(options, CHUNK_BYTES)
        if (length === 0) return
        yield* bytes(length, options)
      }
    },
    release() {
      stream.removeEventListener('message', onMessage)
      stream.removeEventListener('end', onEnd)
      stream.removeEventListener('close', onClose)
      buffer.clear()
      ended = true
      wake()
    }
  }
}

/**
 * Sends one JSON header.
 * @throws RangeError when it is over MAX_HEADER_BYTES: a mistake of ours, not the peer's
 */
export async function sendHeader(stream: Stream, header: object, options: FrameOptions): Promise<void> {
  const json = utf8.encode(JSON.stringify(header))
  if (json.byteLength > MAX_HEADER_BYTES) throw new RangeError(`a header of ${json.byteLength} bytes`)
  await send(stream, concat([encodeVarint(json.byteLength), json]), options)
}

/**
 * Sends raw bytes as they come from `source`, never more than the stream takes.
 * @param options.framed length-prefix each chunk and end with an empty one, for a source of unknown length
 * @param options.until ends early, without an error, once it says true
 * @returns bytes sent
 */
export async function sendBytes(
  stream: Stream,
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  options: FrameOptions & { framed?: boolean; until?: () => boolean }
): Promise<number> {
  let sent = 0
  for await (const block of source) {
    for (let at = 0; at < block.byteLength; at += CHUNK_BYTES) {
      if (options.until?.() === true) return sent
      options.signal?.throwIfAborted()
      const chunk = block.subarray(at, at + CHUNK_BYTES)
      if (options.framed === true) stream.send(encodeVarint(chunk.byteLength))
      await send(stream, chunk, options)
      sent += chunk.byteLength
    }
  }
  if (options.framed === true) await send(stream, encodeVarint(0), options)
  return sent
}

async function send(stream: Stream, bytes: Uint8Array, options: FrameOptions): Promise<void> {
  try {
    stream.send(bytes)
  } catch (cause) {
    throw new TransferCutError('The stream was closed while we sent', { cause })
  }
  while (stream.writableNeedsDrain || stream.writeBufferLength > 0) await drained(stream, options)
}

function drained(stream: Stream, { idleTimeoutMs, signal }: FrameOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = (error?: unknown) => {
      clearTimeout(timer)
      stream.removeEventListener('drain', onDrain)
      stream.removeEventListener('idle', onDrain)
      stream.removeEventListener('close', onClose)
      signal?.removeEventListener('abort', onAbort)
      if (error === undefined) resolve()
      else reject(error)
    }
    const onDrain = () => end()
    const onClose = (event: StreamCloseEvent) =>
      end(new TransferCutError('The stream was closed while we sent', { cause: event.error }))
    const onAbort = () => end(signal?.reason ?? new Error('aborted'))
    const timer = setTimeout(() => end(new PeerTimeoutError('The peer took no bytes', idleTimeoutMs)), idleTimeoutMs)
    stream.addEventListener('drain', onDrain)
    stream.addEventListener('idle', onDrain)
    stream.addEventListener('close', onClose)
    signal?.addEventListener('abort', onAbort, { once: true })
    if (signal?.aborted === true) onAbort()
    else if (stream.writeStatus === 'closed') end(new TransferCutError('The stream was closed while we sent'))
  })
}
