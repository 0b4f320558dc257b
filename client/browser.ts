/**
 * The SDK for pages: it finds nodes in the directory of a relay, speaks to them over WebSocket (through the relay where
 * they cannot be dialled), by the same protocols as nodes do, and takes no bytes for a blob that do not hash to its CID.
 * `browser/bundle.ts` makes one file of it for browsers; on Node it runs as it is, though `client.ts` does more there.
 */
import { CidMismatchError, parseCid, type Timings } from '../node/portable.ts'
import { type BrowserNode, createBrowserNetwork } from './browser/network.ts'
import { altered, createReading } from './browser/reading.ts'
import { findRelays } from './browser/relays.ts'
import { type BlobSource, hashed, piecesOf, streamOf } from './browser/sources.ts'
import { BlobTooLargeError, ClientClosedError, TransferTimeoutError } from './errors.ts'
import { createStorage } from './storage.ts'

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
   * `MAX_NODES_ASKED` of them it gives up. Nodes that contradict each other are each asked for the whole.
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
  const reading = createReading(storage)

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
        return { cid, ...(await reading.whole(cid, maxBytes, limit)) }
      }),
    stream: (text, { maxBytes = STREAM_MAX_BYTES, signal } = {}) =>
      under(signal, async limit => {
        const cid = parseCid(text)
        const { sizeBytes, mimeType, bytes, from } = await reading.begin(cid, maxBytes, limit)
        const body = streamOf(bytes, error => {
          if (limit.aborted) return limit.reason as Error
          return error instanceof CidMismatchError ? altered(cid, from(), error) : told(error)
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

/** A deadline of ours has no code of its own. */
function told(error: unknown): Error {
  const isTimeout = error instanceof DOMException && error.name === 'TimeoutError'
  return isTimeout ? new TransferTimeoutError({ cause: error }) : (error as Error)
}
