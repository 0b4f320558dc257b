/**
 * Streams over a connection of the QUIC package, in place of its own, which read 4 KiB at a time whether anybody wants
 * the bytes or not: a reader that pauses finds its stream reset once 4 MiB have piled up, and a stream that the peer
 * reset looks like one that ended well. Here a paused stream is not read, so that QUIC's own window holds the sender
 * back; reads grow with what arrives; a reset is a reset. And the package takes whatever is written at once, into memory
 * without a limit, however slow the peer is: here a writer waits while too much of its connection is not sent yet.
 */
import type {
  AbortOptions,
  ComponentLogger,
  Logger,
  MessageStream,
  StreamMuxer,
  StreamMuxerFactory,
  StreamOptions
} from '@libp2p/interface'
import { type StreamMuxerEvents, type StreamMuxerStatus, TypedEventEmitter } from '@libp2p/interface'
import { AbstractStream, type AbstractStreamInit } from '@libp2p/utils'
import { untilAborted } from '../../until-aborted.ts'

/** Bytes of one read: each costs a call and its buffer lives as long as what was read into it. */
const READ_BYTES = { min: 4096, max: 65_536 } as const
/** Bytes read ahead of a consumer that has not begun to listen. */
const READ_AHEAD_BYTES = 256 * 1024

/** Bytes of one stream on their way to the native side before a writer is told to wait. */
const WRITE_AHEAD_BYTES = 256 * 1024
/** Bytes of one connection that are written and not sent yet: more makes its writers wait. */
const MAX_UNSENT_BYTES = 4 * 1024 * 1024
/** Looked at after so many bytes: the look costs some 15 µs. */
const LOOK_EVERY_BYTES = 1024 * 1024
const LOOK_AGAIN_MS = 10
/** How long a stream is waited for by those who set no limit themselves: the peer says how many there may be. */
const OPEN_TIMEOUT_MS = 10_000
/** Streams of one connection that wait to be opened. */
const MAX_OPENING = 1024
/** Headers and tag of a packet full of stream data, measured. */
const OVERHEAD_BYTES = 33

/** What the package's compiled part offers; it does not declare it. */
export interface NativeStream {
  id: () => string
  /** Up to that many bytes; null at the end. */
  read: (maxBytes: number) => Promise<Uint8Array | null>
  write: (bytes: Uint8Array) => Promise<void>
  finishWrite: () => Promise<void>
  resetWrite: () => Promise<void>
  stopRead: () => Promise<void>
}

export interface NativeConnection {
  id: () => string
  inboundStream: () => Promise<NativeStream>
  outboundStream: () => Promise<NativeStream>
  stats?: () => { udpTxBytes: number; udpTxDatagrams: number; pathLostBytes: number }
}

/** The package's factory with what it was made of; the factory itself where a newer version hides that. */
export function ownStreams(factory: StreamMuxerFactory, options: StreamOptions): StreamMuxerFactory {
  const { init } = factory as StreamMuxerFactory & { init?: { connection?: NativeConnection; logger: ComponentLogger } }
  const connection = init?.connection
  if (typeof connection?.outboundStream !== 'function' || typeof connection.inboundStream !== 'function') return factory
  return {
    protocol: factory.protocol,
    createStreamMuxer: maConn => new QuicMuxer(connection, maConn, init!.logger, options)
  }
}

/** How much a connection has taken and not sent yet, told from what it has sent in all. */
class Unsent {
  readonly #connection: NativeConnection
  #written = 0
  #unseen = 0
  #base = 0
  #room: Promise<void> | undefined
  #isOver = false

  constructor(connection: NativeConnection) {
    this.#connection = connection
  }

  /** @returns undefined when more may be written at once, else what resolves when it may */
  add(bytes: number): Promise<void> | undefined {
    this.#written += bytes
    this.#unseen += bytes
    if (this.#unseen < LOOK_EVERY_BYTES && this.#room === undefined) return undefined
    this.#unseen = 0
    if (this.#room === undefined && this.#bytes() <= MAX_UNSENT_BYTES) return undefined
    this.#room ??= this.#wait()
    return this.#room
  }

  /** Lets all go on: the connection is over. */
  end(): void {
    this.#isOver = true
  }

  #bytes(): number {
    const stats = this.#connection.stats?.()
    if (stats === undefined) return 0
    const sent = stats.udpTxBytes - stats.pathLostBytes - OVERHEAD_BYTES * stats.udpTxDatagrams
    const unsent = this.#written - (sent - this.#base)
    if (unsent > 0) return unsent
    // All is sent, and something beside; the next look starts from here, so that errors do not add up.
    this.#base = sent
    this.#written = 0
    return 0
  }

  async #wait(): Promise<void> {
    while (!this.#isOver && this.#bytes() > MAX_UNSENT_BYTES) {
      await new Promise(resolve => setTimeout(resolve, LOOK_AGAIN_MS))
    }
    this.#room = undefined
  }
}

class QuicStream extends AbstractStream {
  readonly #native: NativeStream
  readonly #unsent: Unsent
  /** Resolved when reading may go on. */
  #resumed: PromiseWithResolvers<void> | undefined
  #discards = false
  #queue: Uint8Array[] = []
  /** Of the queue and of the write under way. */
  #queuedBytes = 0
  #needsDrain = false
  #written: Promise<void> | undefined

  constructor(native: NativeStream, unsent: Unsent, init: AbstractStreamInit) {
    super(init)
    this.#native = native
    this.#unsent = unsent
    void this.#read()
  }

  sendData(data: Parameters<AbstractStream['sendData']>[0]): ReturnType<AbstractStream['sendData']> {
    this.#queue.push(data.subarray())
    this.#queuedBytes += data.byteLength
    this.#written ??= this.#write()
    this.#needsDrain = this.#queuedBytes >= WRITE_AHEAD_BYTES
    return { sentBytes: data.byteLength, canSendMore: !this.#needsDrain }
  }

  /** One write at a time, of all that waits: the native side does not promise the order of two. */
  async #write(): Promise<void> {
    try {
      while (this.#queue.length > 0) {
        const chunks = this.#queue.splice(0)
        const bytes = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)
        await this.#native.write(bytes)
        await this.#unsent.add(bytes.byteLength)
        this.#queuedBytes -= bytes.byteLength
        if (this.#needsDrain && this.#queuedBytes < WRITE_AHEAD_BYTES) {
          this.#needsDrain = false
          this.safeDispatchEvent('drain')
        }
      }
    } catch (error) {
      this.abort(error as Error)
    } finally {
      this.#written = undefined
    }
  }

  sendReset(): void {
    this.#queue.length = 0
    reset(this.#native)
    this.#goOn()
  }

  async sendCloseWrite(options?: AbortOptions): Promise<void> {
    if (this.#written !== undefined) await untilAborted(this.#written, options?.signal)
    await this.#native.finishWrite()
  }

  async sendCloseRead(): Promise<void> {
    // Still read, to hear of the peer's end; what comes is thrown away.
    this.#discards = true
    this.#goOn()
  }

  sendPause(): void {
    this.#resumed ??= Promise.withResolvers()
  }

  sendResume(): void {
    this.#goOn()
  }

  override addEventListener(...args: Parameters<AbstractStream['addEventListener']>): void {
    super.addEventListener(...args)
    if (args[0] === 'message' && this.readStatus !== 'paused') this.#goOn()
  }

  #goOn(): void {
    this.#resumed?.resolve()
    this.#resumed = undefined
  }

  /** Nobody listens yet, and enough is read. */
  #isAhead(): boolean {
    return !this.#discards && this.listenerCount('message') === 0 && this.readBufferLength >= READ_AHEAD_BYTES
  }

  async #read(): Promise<void> {
    let size: number = READ_BYTES.min
    try {
      for (;;) {
        if (this.#isAhead()) this.#resumed ??= Promise.withResolvers()
        if (this.#resumed !== undefined) await this.#resumed.promise
        if (this.status !== 'open' && this.status !== 'closing') return
        const chunk = await this.#native.read(size)
        if (chunk === null || chunk === undefined) {
          this.onRemoteCloseWrite()
          return
        }
        if (!this.#discards) this.onData(chunk)
        if (chunk.length === size) size = Math.min(READ_BYTES.max, size * 2)
        else if (chunk.length < size / 4) size = Math.max(READ_BYTES.min, size / 2)
      }
    } catch (error) {
      if (/reset/i.test(String((error as Error).message))) this.onRemoteReset()
      else this.abort(error as Error)
    }
  }
}

function reset(native: NativeStream): void {
  native.resetWrite().catch(() => {})
  native.stopRead().catch(() => {})
}

class QuicMuxer extends TypedEventEmitter<StreamMuxerEvents> implements StreamMuxer {
  readonly protocol = 'quic'
  streams: QuicStream[] = []
  status: StreamMuxerStatus = 'open'
  readonly #connection: NativeConnection
  readonly #logger: ComponentLogger
  readonly #log: Logger
  readonly #options: StreamOptions
  readonly #unsent: Unsent
  /** Streams asked for that the native side has not opened yet. */
  #opening = 0

  constructor(connection: NativeConnection, maConn: MessageStream, logger: ComponentLogger, options: StreamOptions) {
    super()
    this.#connection = connection
    this.#unsent = new Unsent(connection)
    this.#options = options
    this.#logger = logger
    this.#log = logger.forComponent('warren:quic:muxer')
    // Before libp2p's own listener, so that streams are gone when the connection is told to be closed.
    maConn.addEventListener('close', () => this.abort(new Error('The connection was closed')), { once: true })
    void this.#accept()
  }

  /** Waits while the peer lets no more streams be opened, until the signal aborts. */
  async createStream(options?: AbortOptions): Promise<QuicStream> {
    if (this.#opening >= MAX_OPENING) throw new Error(`No stream was opened: ${MAX_OPENING} wait for the peer already`)
    this.#opening++
    const opening = this.#connection.outboundStream().finally(() => this.#opening--)
    let native: NativeStream
    try {
      native = await untilAborted(opening, options?.signal ?? AbortSignal.timeout(OPEN_TIMEOUT_MS))
    } catch (error) {
      // The native side cannot be told that nobody waits any more.
      opening.then(reset, () => {})
      throw error
    }
    if (this.status !== 'open') {
      reset(native)
      throw new Error(`No stream was opened: the connection is ${this.status}`)
    }
    return this.#add(native, 'outbound')
  }

  async #accept(): Promise<void> {
    while (this.status === 'open') {
      let native: NativeStream
      try {
        native = await this.#connection.inboundStream()
      } catch (error) {
        // It fails only when the connection is over; its close event ends the streams.
        this.#log('no more inbound streams - %e', error)
        return
      }
      if (this.status !== 'open') return
      this.safeDispatchEvent('stream', { detail: this.#add(native, 'inbound') })
    }
  }

  #add(native: NativeStream, direction: 'inbound' | 'outbound'): QuicStream {
    const id = native.id()
    const stream = new QuicStream(native, this.#unsent, {
      ...this.#options,
      id,
      direction,
      log: this.#logger.forComponent(`libp2p:quic:stream:${this.#connection.id()}:${id}:${direction}`)
    })
    this.streams.push(stream)
    stream.addEventListener(
      'close',
      () => {
        const at = this.streams.indexOf(stream)
        if (at >= 0) this.streams.splice(at, 1)
      },
      { once: true }
    )
    return stream
  }

  async close(options?: { signal?: AbortSignal }): Promise<void> {
    if (this.status !== 'open') return
    this.status = 'closing'
    // Whoever does not close in time is reset.
    await Promise.all(this.streams.map(stream => stream.close(options))).catch(() => {})
    this.abort(new Error('The connection is being closed'))
  }

  abort(error: Error): void {
    if (this.status === 'closed') return
    this.status = 'closed'
    this.#unsent.end()
    for (const stream of [...this.streams]) stream.abort(error)
    this.streams = []
  }
}
