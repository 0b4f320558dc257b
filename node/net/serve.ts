/** The answering side of the blob protocols: caps, deadlines, and the blob service behind it. */
import type { Connection, Libp2p, Stream } from '@libp2p/interface'
import type { BlobHandlers } from '../blobs/network.types.ts'
import { endEarly } from '../blobs/sources.ts'
import { BusyError, PeerTimeoutError, StoppedError, WarrenError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Prover } from '../proofs/prover.ts'
import { CHALLENGE_LIFE_MS, proofRequest } from '../proofs/statement.ts'
import { TRANSFER_UNKNOWN, UNKNOWN_SIZE_BYTES } from './ask.ts'
import { type FrameReader, frameReader, sendBytes, sendHeader } from './frames.ts'
import type { NetworkLimits } from './limits.ts'
import {
  type HealthReport,
  MAX_HEALTH_BYTES,
  MAX_REPLICAS_TOLD,
  PROTOCOLS,
  parseHeader,
  replicateRequest,
  retrieveRequest,
  storeRequest,
  toErrorReply
} from './protocols.ts'
import { deadline, type Timings, transferDeadlineMs } from './timings.ts'
import { UploadSession } from './upload-session.ts'

/** What the protocols ask of the node. */
export interface Handlers extends BlobHandlers {
  health: () => Promise<HealthReport> | HealthReport
  /** Left out by roles that keep no blobs: they do not speak the protocol. */
  prove?: Prover['prove']
}

/** After the answer the asker closes; one that does not is cut. */
const GOODBYE_MS = 5000
/** Uploads kept at once, those included that wait for their sender to come back or to ask for the answer again. */
const MAX_SESSIONS = 10_000
const FALLBACK_MIME = 'application/octet-stream'

interface Request {
  stream: Stream
  reader: FrameReader
  from: string
  header: Record<string, unknown>
}

/** Registers the protocols; `stop` unregisters them and ends what runs. */
export async function serveProtocols(options: {
  libp2p: Libp2p
  handlers: Handlers
  limits: NetworkLimits
  timings: Timings
  /** Told of every connection a request comes by. */
  onUse?: (connection: Connection) => void
  log: Log
}): Promise<{ active: () => number; stop: () => Promise<void> }> {
  const { libp2p, handlers, limits, timings, log } = options
  const stopping = new AbortController()
  const sessions = new Map<string, UploadSession>()
  const running = new Set<Promise<void>>()
  /** Requests in hand; above the cap only the answer BUSY is. */
  let active = 0

  async function answer(stream: Stream, header: object): Promise<void> {
    await sendHeader(stream, header, { idleTimeoutMs: timings.idleTimeoutMs, signal: stopping.signal })
  }

  async function upload(
    request: Request,
    sizeBytes: number | null,
    id: { transfer: string; resume?: true | undefined },
    run: (source: AsyncIterable<Uint8Array>, signal: AbortSignal) => Promise<object>
  ): Promise<void> {
    const { stream, reader, from } = request
    // Peers choose the ids: another peer's id names nothing of theirs.
    const key = `${from} ${id.transfer}`
    let session = sessions.get(key)
    if (id.resume === true) {
      if (session === undefined) throw new TransferUnknownError()
      session.detach()
      if (!session.settled) await answer(stream, { offset: session.received })
    } else {
      if (session !== undefined) throw new TransferUnknownError()
      if (sessions.size >= MAX_SESSIONS) throw new BusyError('uploads')
      session = new UploadSession({
        sizeBytes,
        idleTimeoutMs: timings.idleTimeoutMs,
        resumeWaitMs: timings.resumeWaitMs
      })
      sessions.set(key, session)
      begin(key, session, sizeBytes, run)
    }
    session.attach({ stream, reader })
    await answer(stream, await session.result.promise)
  }

  /** Runs the service on a session; the session outlives its streams by the time a sender may need to come back. */
  function begin(
    key: string,
    session: UploadSession,
    sizeBytes: number | null,
    run: (source: AsyncIterable<Uint8Array>, signal: AbortSignal) => Promise<object>
  ): void {
    const limit = deadline(transferDeadlineMs(timings, sizeBytes ?? UNKNOWN_SIZE_BYTES), stopping.signal)
    const work = run(session.source(limit.signal), limit.signal)
      .catch((error: unknown) => {
        report(error, 'upload failed')
        return toErrorReply(error)
      })
      .then(answered => {
        limit.clear()
        session.settle(answered)
        setTimeout(() => sessions.delete(key), timings.resumeWaitMs).unref()
      })
    track(work)
  }

  async function retrieve({ stream, from, header }: Request): Promise<void> {
    const { cid, offset = 0, length } = parseHeader(retrieveRequest, header)
    const limit = deadline(transferDeadlineMs(timings, length ?? UNKNOWN_SIZE_BYTES), stopping.signal)
    try {
      const range = { offset, ...(length === undefined ? {} : { length }) }
      const blob = await handlers.get(cid, { ...range, signal: limit.signal, from })
      const sends = Math.max(0, Math.min(length ?? Number.POSITIVE_INFINITY, blob.sizeBytes - offset))
      const reply = { sizeBytes: blob.sizeBytes, mimeType: blob.mimeType || FALLBACK_MIME, offset, length: sends }
      try {
        await answer(stream, reply)
      } catch (error) {
        // Nobody will read: the file behind the bytes is closed.
        await endEarly(blob.bytes)
        throw error
      }
      if (sends === 0) return await endEarly(blob.bytes)
      try {
        await sendBytes(stream, blob.bytes, { idleTimeoutMs: timings.idleTimeoutMs, signal: limit.signal })
      } catch (error) {
        // The header is out: an error told now would be taken for bytes of the blob.
        stream.abort(error as Error)
        throw error
      }
    } finally {
      limit.clear()
    }
  }

  async function prove({ stream, header }: Request): Promise<void> {
    if (handlers.prove === undefined) return
    const limit = deadline(CHALLENGE_LIFE_MS, stopping.signal)
    const { signal } = limit
    // Proofs are dear: none is made for an asker who left.
    stream.addEventListener('close', limit.abort)
    try {
      const { statement, payloadBytes, blocks, undelivered } = await handlers.prove(parseHeader(proofRequest, header), {
        signal
      })
      try {
        await answer(stream, { statement, sizeBytes: payloadBytes })
        await sendBytes(stream, blocks(signal), { idleTimeoutMs: timings.idleTimeoutMs, signal })
      } catch (error) {
        undelivered()
        // The header is out: an error told now would be taken for bytes of a block.
        stream.abort(error as Error)
        throw error
      }
    } finally {
      stream.removeEventListener('close', limit.abort)
      limit.clear()
    }
  }

  const serving: Record<string, (request: Request) => Promise<void>> = {
    [PROTOCOLS.store](request) {
      const { sizeBytes, mimeType, ...id } = parseHeader(storeRequest, request.header)
      return upload(request, sizeBytes, id, (source, signal) =>
        handlers
          .put(source, {
            signal,
            from: request.from,
            ...(mimeType === undefined ? {} : { mimeType }),
            ...(sizeBytes === null ? {} : { sizeHint: sizeBytes })
          })
          .then(({ cid, sizeBytes: stored, replicas }) => ({
            cid,
            sizeBytes: stored,
            ...(replicas === undefined ? {} : { replicas: replicas.slice(0, MAX_REPLICAS_TOLD) })
          }))
      )
    },
    [PROTOCOLS.replicate](request) {
      const { cid, sizeBytes, mimeType, ...id } = parseHeader(replicateRequest, request.header)
      return upload(request, sizeBytes, id, (source, signal) =>
        handlers
          .putReplica(cid, mimeType, source, { signal, from: request.from, sizeHint: sizeBytes })
          .then(({ alreadyStored }) => ({ alreadyStored }))
      )
    },
    [PROTOCOLS.retrieve]: retrieve,
    [PROTOCOLS.blob]: retrieve,
    [PROTOCOLS.proof]: prove,
    async [PROTOCOLS.health]({ stream }) {
      const full = await handlers.health()
      let json = Buffer.from(JSON.stringify(full))
      // A node with thousands of connections leaves them out rather than say nothing.
      if (json.byteLength > MAX_HEALTH_BYTES) json = Buffer.from(JSON.stringify({ ...full, connections: [] }))
      await answer(stream, { sizeBytes: json.byteLength })
      await sendBytes(stream, [json], { idleTimeoutMs: timings.idleTimeoutMs, signal: stopping.signal })
    }
  }

  async function handle(protocol: string, stream: Stream, connection: Connection): Promise<void> {
    const reader = frameReader(stream)
    const from = connection.remotePeer.toString()
    options.onUse?.(connection)
    active++
    try {
      if (stopping.signal.aborted) throw new StoppedError()
      if (active > limits.maxInboundTransfers) throw new BusyError('blob requests')
      const header = await headerOf(reader, timings.headerTimeoutMs)
      await serving[protocol]?.({ stream, reader, from, header })
    } catch (error) {
      report(error, `${protocol} failed`, from)
      if (stream.writeStatus !== 'writable') return stream.abort(error as Error)
      await answer(stream, toErrorReply(error)).catch(() => undefined)
    } finally {
      active--
    }
    await goodbye(stream, stopping.signal)
    reader.release()
  }

  function report(error: unknown, what: string, from?: string): void {
    const told = { code: (error as { code?: string }).code, why: (error as Error).message, from }
    if (error instanceof WarrenError) log.debug(told, what)
    else log.warn({ ...told, err: error }, what)
  }

  function track(work: Promise<void>): void {
    running.add(work)
    void work.finally(() => running.delete(work))
  }

  const spoken = Object.values(PROTOCOLS).filter(id => id !== PROTOCOLS.proof || handlers.prove !== undefined)
  for (const protocol of spoken) {
    await libp2p.handle(protocol, (stream, connection) => track(handle(protocol, stream, connection)), {
      maxInboundStreams: limits.maxProtocolStreams,
      maxOutboundStreams: limits.maxProtocolStreams,
      runOnLimitedConnection: true
    })
  }
  return {
    active: () => running.size,
    async stop() {
      stopping.abort(new StoppedError())
      await libp2p.unhandle(spoken)
      await Promise.allSettled(running)
    }
  }
}

/** The request's header, whole within the time: a peer that trickles it is as silent as one that sends nothing. */
async function headerOf(reader: FrameReader, timeoutMs: number): Promise<Record<string, unknown>> {
  const limit = deadline(timeoutMs)
  try {
    return await reader.header({ idleTimeoutMs: timeoutMs, signal: limit.signal })
  } catch (error) {
    throw limit.signal.aborted ? new PeerTimeoutError('The request had no whole header', timeoutMs) : error
  } finally {
    limit.clear()
  }
}

/** Closes our half and gives the asker time to read the answer and close its own. */
async function goodbye(stream: Stream, stopping: AbortSignal): Promise<void> {
  try {
    await stream.close({ signal: AbortSignal.timeout(GOODBYE_MS) })
  } catch (error) {
    return stream.abort(error as Error)
  }
  if (stream.remoteWriteStatus === 'closed' || stopping.aborted) return
  await new Promise<void>(resolve => {
    const end = () => {
      clearTimeout(timer)
      stream.removeEventListener('close', end)
      stream.removeEventListener('remoteCloseWrite', end)
      stopping.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, GOODBYE_MS)
    stream.addEventListener('close', end)
    stream.addEventListener('remoteCloseWrite', end)
    stopping.addEventListener('abort', end)
  })
  if (stream.status === 'open') stream.abort(new Error('the asker did not close'))
}

class TransferUnknownError extends WarrenError {
  constructor() {
    super(TRANSFER_UNKNOWN, 409, 'No upload of this id can go on here. Begin again under a new id.')
  }
}
