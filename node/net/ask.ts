/** The asking side of the blob protocols: uploads and downloads that go on after a cut, from where they were. */
import type { Stream } from '@libp2p/interface'
import {
  PeerRefusedError,
  PeerTimeoutError,
  PeerUnreachableError,
  ProtocolViolationError,
  TransferCutError
} from '../errors.ts'
import { concat, textOf } from './bytes.ts'
import { type FrameReader, frameReader, sendBytes, sendHeader } from './frames.ts'
import type { Opened, Paths } from './paths.ts'
import { createPatience } from './patience.ts'
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
  type StoreReply,
  storeReply
} from './protocols.ts'
import { letGo } from './sources.ts'
import { deadline, type Timings, transferDeadlineMs } from './timings.ts'

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
  ) => Promise<StoreReply>
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
  counters: () => Readonly<TransferCounters>
}

/** What happened to requests on their way, since start. */
export interface TransferCounters {
  /** Transfers that went on on a direct connection when there was one. */
  movedToDirect: number
  /** Requests that lost a direct connection and went on through a relay. */
  fellBack: number
  /** Requests that were cut and went on, wherever. */
  resumed: number
}

export function createAsker(paths: Paths, timings: Timings): Asker {
  const counters: TransferCounters = { movedToDirect: 0, fellBack: 0, resumed: 0 }
  const patienceFor = (peerId: string) => createPatience(timings, paths.wasConnected(peerId))

  /** Opens where a request goes on: `before` is where it was. */
  async function open(peerId: string, protocol: string, signal: AbortSignal, before?: Opened): Promise<Opened> {
    const opened = await paths.open(peerId, protocol, { signal })
    if (before === undefined) return opened
    counters.resumed++
    if (opened.direct && !before.direct) counters.movedToDirect++
    if (!opened.direct && before.direct) counters.fellBack++
    return opened
  }

  /** Gives the stream up as soon as there is a better path. What it gives ends that. */
  function leaveWhenMoved({ stream, moved, release }: Opened): () => void {
    const leave = () => stream.abort(moved.reason as Error)
    if (moved.aborted) leave()
    moved.addEventListener('abort', leave, { once: true })
    return () => {
      moved.removeEventListener('abort', leave)
      release()
    }
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
    const patience = patienceFor(peerId)
    let transfer = newTransfer()
    let resume = false
    let best = -1
    let last: Opened | undefined
    try {
      for (;;) {
        let settle: () => void = () => undefined
        /** Of this round: that an earlier stream was left for a better path says nothing of one that did not open. */
        let now: Opened | undefined
        try {
          now = await open(peerId, protocol, signal, last)
          last = now
          const { stream } = now
          settle = leaveWhenMoved(now)
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
              patience.progressed()
            }
          }
          resume = true
          const answer = await sendAndHear(peerId, stream, reader, source, offset, signal)
          settle()
          await finish(stream, reader)
          return answer
        } catch (error) {
          settle()
          now?.stream.abort(error as Error)
          signal.throwIfAborted()
          if (now?.moved.aborted === true) continue
          if (error instanceof PeerRefusedError && error.code === TRANSFER_UNKNOWN) {
            transfer = newTransfer()
            resume = false
          } else if (!mayGoOn(error)) throw error
          await patience.wait(error, signal)
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
    signal: AbortSignal,
    before: Opened | undefined
  ) {
    const opened = await open(peerId, PROTOCOLS.retrieve, signal, before)
    const { stream } = opened
    try {
      const reader = frameReader(stream)
      await sendHeader(
        stream,
        { cid, offset, ...(length === undefined ? {} : { length }) },
        { idleTimeoutMs: timings.idleTimeoutMs, signal }
      )
      const header = parseHeader(retrieveReply, await reply(peerId, reader, timings.replyTimeoutMs, signal))
      const due = Math.max(0, Math.min(length ?? Number.POSITIVE_INFINITY, header.sizeBytes - offset))
      if (header.offset !== offset || header.length !== due) {
        throw new ProtocolViolationError(
          `${header.length} bytes from ${header.offset} on, where ${due} from ${offset} on are due`
        )
      }
      return { stream, reader, header, opened, settle: leaveWhenMoved(opened) }
    } catch (error) {
      opened.release()
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
    signal: AbortSignal,
    before?: Opened
  ) {
    const patience = patienceFor(peerId)
    for (;;) {
      try {
        return await openRetrieve(peerId, cid, offset, length, signal, before)
      } catch (error) {
        signal.throwIfAborted()
        if (!mayGoOn(error)) throw error
        await patience.wait(error, signal)
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
        let at = first
        let got = 0
        let complete = false
        const patience = patienceFor(peerId)
        try {
          while (got < length) {
            const before = got
            const idle = { idleTimeoutMs: timings.idleTimeoutMs, signal }
            try {
              for await (const chunk of at.reader.bytes(length - got, idle)) {
                got += chunk.byteLength
                yield chunk
              }
            } catch (error) {
              at.settle()
              at.stream.abort(error as Error)
              signal.throwIfAborted()
              if (!mayGoOn(error)) throw error
              if (got > before) patience.progressed()
              else if (!at.opened.moved.aborted) await patience.wait(error, signal)
              at = await openPatiently(peerId, cid, from + got, length - got, signal, at.opened)
            }
          }
          complete = true
        } finally {
          at.settle()
          if (complete) await finish(at.stream, at.reader)
          else at.stream.abort(new Error('the reader left'))
        }
      }
      if (length > 0) {
        const begun = bytes()
        const abandon = () => {
          first.settle()
          first.stream.abort(new Error('nobody reads it'))
        }
        return { sizeBytes, mimeType, bytes: letGo(begun, abandon) }
      }
      first.settle()
      await finish(first.stream, first.reader)
      return { sizeBytes, mimeType, bytes: nothing() }
    },
    async health(peerId, options) {
      const limit = deadline(timings.idleTimeoutMs, options.signal)
      const { signal } = limit
      const patience = patienceFor(peerId)
      let last: Opened | undefined
      try {
        for (;;) {
          try {
            last = await open(peerId, PROTOCOLS.health, signal, last)
            last.release()
            return await askHealth(peerId, last.stream, signal)
          } catch (error) {
            last?.stream.abort(error as Error)
            signal.throwIfAborted()
            // A peer that was not there before is told to be away at once: who asks for its health asks for that.
            if (!mayGoOn(error) || (last === undefined && !paths.wasConnected(peerId))) throw error
            await patience.wait(error, signal)
          }
        }
      } finally {
        limit.clear()
      }
    },
    counters: () => counters
  }

  async function askHealth(peerId: string, stream: Stream, signal: AbortSignal): Promise<HealthReport> {
    const reader = frameReader(stream)
    const frame = { idleTimeoutMs: timings.idleTimeoutMs, signal }
    await sendHeader(stream, {}, frame)
    const { sizeBytes } = parseHeader(healthReply, await reply(peerId, reader, timings.idleTimeoutMs, signal))
    const chunks: Uint8Array[] = []
    for await (const chunk of reader.bytes(sizeBytes, frame)) chunks.push(chunk)
    const report = parseHeader(healthReport, JSON.parse(textOf(concat(chunks))))
    await finish(stream, reader)
    return report
  }
}

/** Reads an answer; the peer's error is thrown as PeerRefusedError. */
export async function reply(peerId: string, reader: FrameReader, idleTimeoutMs: number, signal: AbortSignal) {
  const header = await reader.header({ idleTimeoutMs, signal })
  const error = errorOf(header)
  if (error !== null) throw new PeerRefusedError(peerId, error.code, error.status ?? 500, error.message)
  return header
}

/** Whether another attempt may succeed where this one stopped. */
function mayGoOn(error: unknown): boolean {
  return error instanceof TransferCutError || error instanceof PeerTimeoutError || error instanceof PeerUnreachableError
}

function newTransfer(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(TRANSFER_ID_BYTES))
  return Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('')
}

async function* nothing(): AsyncGenerator<Uint8Array, void, undefined> {}

const CLOSE_TIMEOUT_MS = 1000

/** Ends our half of a stream whose answer was read; what is left unsent does not matter any more. */
export async function finish(stream: Stream, reader: FrameReader): Promise<void> {
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
