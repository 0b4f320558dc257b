/**
 * One incoming upload, which may arrive over several streams: when a relay cuts a circuit, the sender comes back on
 * another one and goes on where we stopped. To the blob service it is one source without a seam.
 */
import type { Stream } from '@libp2p/interface'
import { PeerTimeoutError, TransferCutError } from '../errors.ts'
import type { FrameReader } from './frames.ts'

export interface Link {
  stream: Stream
  reader: FrameReader
}

export class UploadSession {
  /** Bytes handed on so far: where a resumed stream begins. */
  received = 0
  /** The answer once there is one; kept for a sender that lost its stream before it heard. */
  readonly result = Promise.withResolvers<object>()
  settled = false
  readonly #sizeBytes: number | null
  readonly #idleTimeoutMs: number
  readonly #resumeWaitMs: number
  #link: Link | undefined
  #arrived = Promise.withResolvers<void>()

  constructor(options: { sizeBytes: number | null; idleTimeoutMs: number; resumeWaitMs: number }) {
    this.#sizeBytes = options.sizeBytes
    this.#idleTimeoutMs = options.idleTimeoutMs
    this.#resumeWaitMs = options.resumeWaitMs
    this.result.promise.catch(() => undefined)
  }

  /** Take a stream as the one that brings the bytes; an older one is given up. */
  attach(link: Link): void {
    this.detach()
    this.#link = link
    this.#arrived.resolve()
  }

  /** Give the present stream up, keep what it brought. After this `received` stands still until the next `attach`. */
  detach(): void {
    if (this.#link === undefined) return
    const { stream, reader } = this.#link
    this.#link = undefined
    this.#arrived = Promise.withResolvers()
    reader.release()
    stream.abort(new Error('the upload went on elsewhere'))
  }

  settle(answer: object): void {
    this.settled = true
    this.result.resolve(answer)
  }

  /** All bytes of the upload. Throws TransferCutError when it was cut and nobody came back in time. */
  async *source(signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    const options = { idleTimeoutMs: this.#idleTimeoutMs, signal }
    while (this.#sizeBytes === null || this.received < this.#sizeBytes) {
      const link = await this.#nextLink(signal)
      try {
        const { reader } = link
        const bytes =
          this.#sizeBytes === null ? reader.chunks(options) : reader.bytes(this.#sizeBytes - this.received, options)
        for await (const chunk of bytes) {
          this.received += chunk.byteLength
          yield chunk
        }
        return
      } catch (error) {
        if (!(error instanceof TransferCutError || error instanceof PeerTimeoutError)) throw error
        if (this.#link === link) this.detach()
      }
    }
  }

  async #nextLink(signal: AbortSignal): Promise<Link> {
    if (this.#link !== undefined) return this.#link
    let timer: NodeJS.Timeout | undefined
    let onAbort: (() => void) | undefined
    try {
      await Promise.race([
        this.#arrived.promise,
        new Promise((_, reject) => {
          const cut = new TransferCutError(`The upload was cut after ${this.received} bytes and nobody came back`)
          timer = setTimeout(() => reject(cut), this.#resumeWaitMs)
          onAbort = () => reject(signal.reason)
          signal.addEventListener('abort', onAbort, { once: true })
        })
      ])
    } finally {
      clearTimeout(timer)
      if (onAbort !== undefined) signal.removeEventListener('abort', onAbort)
    }
    return this.#link ?? (await this.#nextLink(signal))
  }
}
