/**
 * The SDK for pages: it finds nodes in the directory of a relay, speaks to them over WebSocket (through the relay where
 * they cannot be dialled), by the same protocols as nodes do, and takes no bytes for a blob that do not hash to its CID.
 * `browser/bundle.ts` makes one file of it for browsers; on Node it runs as it is, though `client.ts` does more there.
 */
import { CidMismatchError, PeerRefusedError, ProtocolViolationError, parseCid, type Timings } from '../node/portable.ts'
import { type BrowserNode, createBrowserNetwork } from './browser/network.ts'
import { findRelays } from './browser/relays.ts'
import { type BlobSource, hashed, piecesOf, streamOf } from './browser/sources.ts'
import {
  BlobAlteredError,
  BlobMissingError,
  BlobTooLargeError,
  ClientClosedError,
  NoNodeError,
  TransferTimeoutError
} from './errors.ts'
import { createStorage, MAX_NODES_ASKED } from './storage.ts'

export {
  CidInvalidError,
  PeerRefusedError,
  PeerTimeoutError,
  ProtocolViolationError,
  TransferCutError,
  WarrenError
} from '../node/portable.ts'
export type { BrowserNode } from './browser/network.ts'
export type { BlobSource } from './browser/sources.ts'
export {
  BlobAlteredError,
  BlobMissingError,
  BlobTooLargeError,
  ClientClosedError,
  ClientError,
  NoNodeError,
  RelayInvalidError,
  RelayUnreachableError,
  SizeMismatchError,
  TransferTimeoutError
} from './errors.ts'

/** Largest blob that `retrieve` takes into memory when the caller does not say, bytes. */
export const RETRIEVE_MAX_BYTES = 256 * 1024 * 1024
/** Largest blob that `stream` and `store` take when the caller does not say, bytes: what a node may allow at most. */
export const STREAM_MAX_BYTES = 10 * 1024 * 1024 * 1024
/** Nobody is left to ask. */
const OVER = [NoNodeError, BlobMissingError, PeerRefusedError]
const DEFAULT_FIRST_NODE_TIMEOUT_MS = 15_000

export interface BrowserClientOptions {
  /** WebSocket multiaddrs with peer id of relays; or the URL of a relay's HTTP port, which says them. */
  relays: readonly string[] | URL
  /** Ends the start. */
  signal?: AbortSignal
  /** How long transfers wait for what. */
  timings?: Partial<Timings>
  /** Longest wait of a store or retrieve for the first node to become known, ms. Default 15 s. */
  firstNodeTimeoutMs?: number
}

export interface StoreOptions {
  /** Default: a Blob's own type. */
  mime?: string
  /** Most bytes taken from the source. Default `STREAM_MAX_BYTES`; nodes have limits of their own. */
  maxBytes?: number
  signal?: AbortSignal
}

export interface StoredBlob {
  /** Worked out here, from the bytes that were sent; the node's answer was the same. */
  cid: string
  sizeBytes: number
  /** The node that took it. */
  peerId: string
  /** Peer ids known to hold it when it was acknowledged, where the node tells. */
  replicas: readonly string[]
}

export interface RetrieveOptions {
  /** Most bytes. Default `RETRIEVE_MAX_BYTES`, of `stream` `STREAM_MAX_BYTES`. */
  maxBytes?: number
  signal?: AbortSignal
}

export interface BlobFacts {
  cid: string
  sizeBytes: number
  /** As whoever stored it said; the CID does not cover it. */
  mimeType: string
}

/**
 * Every call throws, besides what it names, the reason of its signal, TransferTimeoutError, and ClientClosedError after
 * `close`. Errors have a stable `code`; a node's refusal is a PeerRefusedError with the node's.
 */
export interface BrowserClient {
  /** Of this client: a new one for each. */
  readonly peerId: string
  /** Nodes that the relays know, and the way to each that is connected. @throws RelayUnreachableError */
  nodes: (options?: { signal?: AbortSignal }) => Promise<BrowserNode[]>
  /**
   * Stores bytes; resolves when the node says that enough replicas are on disk and named the right CID. A source is read
   * once and never held whole: past its first 8 MiB no other node can take it when one fails.
   * @throws NoNodeError when no node could be asked or all failed
   * @throws BlobAlteredError when a node acknowledged other bytes than these, and no other node took them after that
   * @throws BlobTooLargeError, PeerRefusedError, RelayUnreachableError
   */
  store: (source: BlobSource, options?: StoreOptions) => Promise<StoredBlob>
  /**
   * A whole blob, verified before it is returned. Of nodes that answer other bytes, the next is asked; after
   * `MAX_NODES_ASKED` of them it gives up.
   * @throws BlobAlteredError when every node that answered gave bytes of another CID
   * @throws ProtocolViolationError when nodes say different sizes, and none has the bytes of its own
   * @throws BlobMissingError, BlobTooLargeError, CidInvalidError, NoNodeError, RelayUnreachableError
   */
  retrieve: (cid: string, options?: RetrieveOptions) => Promise<BlobFacts & { bytes: Uint8Array }>
  /**
   * A blob as it comes. The stream ends well only after all bytes were found to hash to the CID; if they do not, it ends
   * in a BlobAlteredError instead of the last piece, or in a ProtocolViolationError where it was to go on from another
   * node and that says another size. Throws like `retrieve` before it begins.
   */
  stream: (cid: string, options?: RetrieveOptions) => Promise<BlobFacts & { body: ReadableStream<Uint8Array> }>
  close: () => Promise<void>
}

/**
 * Starts a client; resolves when a relay is connected.
 * @throws RelayInvalidError, RelayUnreachableError, or the signal's reason
 */
export async function createBrowserClient(options: BrowserClientOptions): Promise<BrowserClient> {
  const { firstNodeTimeoutMs = DEFAULT_FIRST_NODE_TIMEOUT_MS } = options
  const relays = await findRelays(options.relays, options.signal)
  const network = await createBrowserNetwork({
    relays,
    ...(options.timings === undefined ? {} : { timings: options.timings }),
    ...(options.signal === undefined ? {} : { signal: options.signal })
  })
  const closing = new AbortController()
  const storage = createStorage({ network, wait: signal => network.ready(firstNodeTimeoutMs, signal) })

  /** Runs one call under its signal and ours, and gives time-outs a code. */
  async function under<T>(given: AbortSignal | undefined, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
    closing.signal.throwIfAborted()
    const signal = given === undefined ? closing.signal : AbortSignal.any([closing.signal, given])
    signal.throwIfAborted()
    try {
      return await run(signal)
    } catch (error) {
      signal.throwIfAborted()
      throw told(error)
    }
  }

  /** A blob of at most `maxBytes` whose answer has begun; nodes in `except` are not asked. */
  async function open(cid: string, maxBytes: number, except: ReadonlySet<string>, signal: AbortSignal) {
    const got = await storage.get(cid, { except, signal })
    if (got.sizeBytes <= maxBytes) return got
    await got.bytes[Symbol.asyncIterator]().return?.()
    return { ...got, bytes: null }
  }

  /** The next node's answer, past those left out; when nobody is left to ask, what they did is the error. */
  async function firstFit(cid: string, maxBytes: number, tried: Tried, signal: AbortSignal) {
    for (;;) {
      if (tried.out.size >= MAX_NODES_ASKED && tried.problem !== null) throw tried.problem
      const got = await open(cid, maxBytes, tried.out, signal).catch((error: Error) => {
        const isOver = OVER.some(kind => error instanceof kind)
        throw tried.problem !== null && isOver ? tried.problem : error
      })
      if (got.bytes !== null) return got
      // It may be the node that exaggerates.
      tried.problem ??= new BlobTooLargeError(got.sizeBytes, maxBytes)
      leaveOut(tried, got.from())
    }
  }

  return {
    peerId: network.self,
    nodes: ({ signal } = {}) => under(signal, limit => network.nodes(limit)),
    store: (source, { mime, maxBytes = STREAM_MAX_BYTES, signal } = {}) =>
      under(signal, async limit => {
        const { pieces, sizeBytes: sizeHint, type } = piecesOf(source)
        if (sizeHint !== null && sizeHint > maxBytes) throw new BlobTooLargeError(sizeHint, maxBytes)
        const sent = hashed(pieces, sizeHint, maxBytes)
        const mimeType = mime ?? type
        const stored = await storage.put(sent.pieces, {
          signal: limit,
          check: sent.check,
          ...(sizeHint === null ? {} : { sizeHint }),
          ...(mimeType === '' ? {} : { mimeType })
        })
        const { cid, sizeBytes, peerId } = stored
        return { cid, sizeBytes, peerId, replicas: stored.replicas ?? [] }
      }),
    retrieve: (text, { maxBytes = RETRIEVE_MAX_BYTES, signal } = {}) =>
      under(signal, async limit => {
        const cid = parseCid(text)
        const tried: Tried = { out: new Set(), liars: [], problem: null }
        for (;;) {
          const got = await firstFit(cid, maxBytes, tried, limit)
          try {
            const { sizeBytes, mimeType } = got
            return { cid, sizeBytes, mimeType, bytes: await whole(got.bytes, sizeBytes) }
          } catch (error) {
            if (!(error instanceof CidMismatchError || error instanceof ProtocolViolationError)) throw error
            const from = got.from()
            leaveOut(tried, from)
            if (error instanceof CidMismatchError && from.length === 1) tried.liars.push(...from)
            if (tried.liars.length > 0) tried.problem = alteredBy(cid, tried.liars, error)
            else tried.problem = error instanceof CidMismatchError ? alteredTogether(cid, from.length, error) : error
          }
        }
      }),
    stream: (text, { maxBytes = STREAM_MAX_BYTES, signal } = {}) =>
      under(signal, async limit => {
        const cid = parseCid(text)
        const got = await firstFit(cid, maxBytes, { out: new Set(), liars: [], problem: null }, limit)
        const { sizeBytes, mimeType, bytes, from } = got
        const body = streamOf(bytes, error => {
          if (limit.aborted) return limit.reason as Error
          if (!(error instanceof CidMismatchError)) return told(error)
          const peerIds = from()
          return peerIds.length === 1 ? alteredBy(cid, peerIds, error) : alteredTogether(cid, peerIds.length, error)
        })
        return { cid, sizeBytes, mimeType, body }
      }),
    async close() {
      if (closing.signal.aborted) return
      closing.abort(new ClientClosedError())
      await network.stop()
    }
  }
}

/** What became of the nodes asked for one blob so far. */
interface Tried {
  /** Peer ids that are not asked again; `MAX_NODES_ASKED` of them end it. */
  out: Set<string>
  /** Those that gave every byte of an answer that is not the blob. */
  liars: string[]
  /** What is thrown when nobody is left. */
  problem: Error | null
}

/** Of nodes that went on for each other only the first is left out: the others may be honest, and are asked for the whole. */
function leaveOut(tried: Tried, from: readonly string[]): void {
  const [first] = from
  if (first !== undefined) tried.out.add(first)
}

/** All bytes. @throws ProtocolViolationError when they are not `sizeBytes` */
async function whole(source: AsyncIterable<Uint8Array>, sizeBytes: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(sizeBytes)
  let at = 0
  for await (const piece of source) {
    if (piece.byteLength <= sizeBytes - at) bytes.set(piece, at)
    at += piece.byteLength
  }
  if (at !== sizeBytes) throw new ProtocolViolationError(`${at} bytes came, where ${sizeBytes} are due`)
  return bytes
}

function alteredBy(cid: string, peerIds: readonly string[], cause: Error): BlobAlteredError {
  return new BlobAlteredError(cid, `the bytes from ${peerIds.join(', ')} hash to another CID`, { cause })
}

/** Any of them may have lied: nobody is named. */
function alteredTogether(cid: string, nodes: number, cause: Error): BlobAlteredError {
  return new BlobAlteredError(cid, `the bytes that ${nodes} nodes gave between them hash to another CID`, { cause })
}

/** A deadline of ours has no code of its own. */
function told(error: unknown): Error {
  const isTimeout = error instanceof DOMException && error.name === 'TimeoutError'
  return isTimeout ? new TransferTimeoutError({ cause: error }) : (error as Error)
}
