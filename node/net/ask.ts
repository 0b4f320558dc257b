/** The asking side of the blob protocols: uploads and downloads that go on after a cut, from where they were. */
import { randomBytes } from 'node:crypto'
import type { Stream } from '@libp2p/interface'
import { PeerRefusedError, PeerTimeoutError, PeerUnreachableError, TransferCutError } from '../errors.ts'
import { type FrameReader, frameReader, sendBytes, sendHeader } from './frames.ts'
import type { Paths } from './paths.ts'
import {
  errorOf,
  type HealthReport,
  healthReply,
  healthReport,
  PROTOCOLS,
  parseHeader,
  replicateReply,
  resumeReply,
  retrieveReply,
  storeReply
} from './protocols.ts'
import { deadline, type Timings, transferDeadlineMs, wait } from './timings.ts'

/** Cuts in a row without a single byte of progress before we give up. */
const MAX_FRUITLESS_ATTEMPTS = 4
const MAX_RETRY_MS = 2000
const TRANSFER_ID_BYTES = 18
/** Deadlines of uploads of unknown length are those of this one. */
export const UNKNOWN_SIZE_BYTES = 1024 * 1024 * 1024

/** Answer to a resume of an upload the far end does not know (it restarted, say): begin again. */
export const TRANSFER_UNKNOWN = 'TRANSFER_UNKNOWN'

/** Bytes that can be read again from any offset. */
export interface UploadSource {
  /** null when unknown. */
  sizeBytes: number | null
  open: (offset: number) => AsyncIterable<Uint8Array>
}

export interface Asker {
  store: (
    peerId: string,
    source: UploadSource,
    options: { mimeType?: string; signal?: AbortSignal }
  ) => Promise<{ cid: string; sizeBytes: number }>
  replicate: (
    peerId: string,
    source: UploadSource & { sizeBytes: number },
    options: { cid: string; mimeType: string; signal?: AbortSignal }
  ) => Promise<{ alreadyStored: boolean }>
  retrieve: (
    peerId: string,
    cid: string,
    options: { offset?: number; length?: number; signal?: AbortSignal }
  ) => Promise<{ sizeBytes: number; mimeType: string; bytes: AsyncIterable<Uint8Array> }>
  health: (peerId: string, options: { signal?: AbortSignal }) => Promise<HealthReport>
}

export function createAsker(paths: Paths, timings: Timings): Asker {
  /** Reads an answer; the peer's error is thrown as PeerRefusedError. */
  async function reply(peerId: string, reader: FrameReader, idleTimeoutMs: number, signal: AbortSignal) {
    const header = await reader.header({ idleTimeoutMs, signal })
    const error = errorOf(header)
    if (error !== null) throw new PeerRefusedError(peerId, error.code, error.status ?? 500, error.message)
    return header
  }

  /** Sends while listening: an answer may come before the end, because the peer refuses or already has the blob. */
  async function sendAndHear(
    peerId: string,
    stream: Stream,
    reader: FrameReader,
    source: UploadSource,
    offset: number,
    signal: AbortSignal
  ): Promise<Record<string, unknown>> {
    let heard = false
    const waitMs = transferDeadlineMs(timings, source.sizeBytes ?? UNKNOWN_SIZE_BYTES) + timings.replyTimeoutMs
    const answer = reply(peerId, reader, waitMs, signal).finally(() => {
      heard = true
    })
    // Looked at below; a refusal must not count as unhandled while we still send.
    answer.catch(() => undefined)
    try {
      await sendBytes(stream, source.open(offset), {
        idleTimeoutMs: timings.idleTimeoutMs,
        signal,
        framed: source.sizeBytes === null,
        until: () => heard
      })
    } catch (error) {
      if (!(error instanceof TransferCutError)) throw error
      // The peer may have answered and closed: then its answer is what happened.
      return await answer
    }
    return await answer
  }

  async function upload(
    peerId: string,
    protocol: string,
    request: Record<string, unknown>,
    source: UploadSource,
    parent?: AbortSignal
  ): Promise<Record<string, unknown>> {
    const limit = deadline(transferDeadlineMs(timings, source.sizeBytes ?? UNKNOWN_SIZE_BYTES) * 2, parent)
    const { signal } = limit
    let transfer = newTransfer()
    let resume = false
    let best = -1
    let fruitless = 0
    try {
      for (;;) {
        let stream: Stream | undefined
        try {
          stream = await paths.open(peerId, protocol, { signal })
          const reader = frameReader(stream)
          const idle = { idleTimeoutMs: timings.idleTimeoutMs, signal }
          await sendHeader(stream, { ...request, transfer, ...(resume ? { resume: true } : {}) }, idle)
          let offset = 0
          if (resume) {
            const first = await reply(peerId, reader, timings.idleTimeoutMs, signal)
            if (!('offset' in first)) return first
            offset = parseHeader(resumeReply, first).offset
            if (offset > best) {
              best = offset
              fruitless = 0
            }
          }
          resume = true
          const answer = await sendAndHear(peerId, stream, reader, source, offset, signal)
          await finish(stream, reader)
          return answer
        } catch (error) {
          stream?.abort(error as Error)
          signal.throwIfAborted()
          if (error instanceof PeerRefusedError && error.code === TRANSFER_UNKNOWN) {
            transfer = newTransfer()
            resume = false
          } else if (!mayGoOn(error)) throw error
          if (++fruitless > MAX_FRUITLESS_ATTEMPTS) throw error
          await wait(Math.min(timings.retryMs * 2 ** fruitless, MAX_RETRY_MS), signal)
        }
      }
    } finally {
      limit.clear()
    }
  }

  async function openRetrieve(
    peerId: string,
    cid: string,
    offset: number,
    length: number | undefined,
    signal: AbortSignal
  ) {
    const stream = await paths.open(peerId, PROTOCOLS.retrieve, { signal })
    try {
      const reader = frameReader(stream)
      await sendHeader(
        stream,
        { cid, offset, ...(length === undefined ? {} : { length }) },
        { idleTimeoutMs: timings.idleTimeoutMs, signal }
      )
      const header = parseHeader(retrieveReply, await reply(peerId, reader, timings.replyTimeoutMs, signal))
      return { stream, reader, header }
    } catch (error) {
      stream.abort(error as Error)
      throw error
    }
  }

  /** Tries until it is opened, refused, or too often cut. */
  async function openPatiently(
    peerId: string,
    cid: string,
    offset: number,
    length: number | undefined,
    signal: AbortSignal
  ) {
    for (let attempt = 0; ; attempt++) {
      try {
        return await openRetrieve(peerId, cid, offset, length, signal)
      } catch (error) {
        signal.throwIfAborted()
        if (!mayGoOn(error) || attempt >= MAX_FRUITLESS_ATTEMPTS) throw error
        await wait(Math.min(timings.retryMs * 2 ** attempt, MAX_RETRY_MS), signal)
      }
    }
  }

  return {
    async store(peerId, source, { mimeType, signal }) {
      const request = { sizeBytes: source.sizeBytes, ...(mimeType === undefined ? {} : { mimeType }) }
      return parseHeader(storeReply, await upload(peerId, PROTOCOLS.store, request, source, signal))
    },
    async replicate(peerId, source, { cid, mimeType, signal }) {
      const request = { cid, mimeType, sizeBytes: source.sizeBytes }
      return parseHeader(replicateReply, await upload(peerId, PROTOCOLS.replicate, request, source, signal))
    },
    async retrieve(peerId, cid, options) {
      const never = new AbortController().signal
      const signal = options.signal ?? never
      const from = options.offset ?? 0
      const first = await openPatiently(peerId, cid, from, options.length, signal)
      const { sizeBytes, mimeType, length } = first.header
      async function* bytes(): AsyncGenerator<Uint8Array, void, undefined> {
        let { stream, reader } = first
        let got = 0
        let complete = false
        try {
          for (let fruitless = 0; got < length; ) {
            const before = got
            try {
              for await (const chunk of reader.bytes(length - got, { idleTimeoutMs: timings.idleTimeoutMs, signal })) {
                got += chunk.byteLength
                yield chunk
              }
            } catch (error) {
              stream.abort(error as Error)
              signal.throwIfAborted()
              fruitless = got > before ? 0 : fruitless + 1
              if (!mayGoOn(error) || fruitless > MAX_FRUITLESS_ATTEMPTS) throw error
              ;({ stream, reader } = await openPatiently(peerId, cid, from + got, length - got, signal))
            }
          }
          complete = true
        } finally {
          if (complete) await finish(stream, reader)
          else stream.abort(new Error('the reader left'))
        }
      }
      if (length > 0) {
        const begun = bytes()
        return { sizeBytes, mimeType, bytes: letGo(begun, () => first.stream.abort(new Error('nobody reads it'))) }
      }
      await finish(first.stream, first.reader)
      return { sizeBytes, mimeType, bytes: nothing() }
    },
    async health(peerId, options) {
      const limit = deadline(timings.idleTimeoutMs, options.signal)
      const { signal } = limit
      let stream: Stream | undefined
      try {
        stream = await paths.open(peerId, PROTOCOLS.health, { signal })
        const reader = frameReader(stream)
        const frame = { idleTimeoutMs: timings.idleTimeoutMs, signal }
        await sendHeader(stream, {}, frame)
        const header = await reply(peerId, reader, timings.idleTimeoutMs, signal)
        const { sizeBytes } = parseHeader(healthReply, header)
        const chunks: Uint8Array[] = []
        for await (const chunk of reader.bytes(sizeBytes, frame)) chunks.push(chunk)
        const report = parseHeader(healthReport, JSON.parse(Buffer.concat(chunks).toString('utf8')))
        await finish(stream, reader)
        return report
      } catch (error) {
        stream?.abort(error as Error)
        throw error
      } finally {
        limit.clear()
      }
    }
  }
}

/** Whether another attempt may succeed where this one stopped. */
function mayGoOn(error: unknown): boolean {
  return error instanceof TransferCutError || error instanceof PeerTimeoutError || error instanceof PeerUnreachableError
}

function newTransfer(): string {
  return randomBytes(TRANSFER_ID_BYTES).toString('base64url')
}

/** The same bytes. A generator that was never begun skips its `finally` when it is returned: then `abandon` is called. */
function letGo(source: AsyncGenerator<Uint8Array, void, undefined>, abandon: () => void): AsyncIterable<Uint8Array> {
  let isBegun = false
  const iterator: AsyncIterator<Uint8Array, void, undefined> = {
    next() {
      isBegun = true
      return source.next()
    },
    return() {
      if (!isBegun) abandon()
      return source.return()
    }
  }
  return { [Symbol.asyncIterator]: () => iterator }
}

async function* nothing(): AsyncGenerator<Uint8Array, void, undefined> {}

const CLOSE_TIMEOUT_MS = 1000

/** Ends our half of a stream whose answer was read; what is left unsent does not matter any more. */
async function finish(stream: Stream, reader: FrameReader): Promise<void> {
  reader.release()
  if (stream.writeBufferLength > 0 || stream.writableNeedsDrain) {
    stream.abort(new Error('the answer came before the end'))
    return
  }
  try {
    await stream.close({ signal: AbortSignal.timeout(CLOSE_TIMEOUT_MS) })
  } catch (error) {
    stream.abort(error as Error)
  }
}
