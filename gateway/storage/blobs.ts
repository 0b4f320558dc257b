/** Values over 64 KiB: blobs on the nodes, through the client. */
import { BLOB_TIMEOUT_MS } from '../constants.ts'
import { NetworkUnavailableError } from '../errors.ts'

/** What the gateway needs of the client's storage. */
export interface BlobNetwork {
  put: (
    source: AsyncIterable<Uint8Array>,
    options: { mimeType?: string; sizeHint?: number; signal?: AbortSignal }
  ) => Promise<{ cid: string; sizeBytes: number }>
  get: (
    cid: string,
    options: { offset?: number; length?: number; signal?: AbortSignal }
  ) => Promise<{ sizeBytes: number; bytes: AsyncIterable<Uint8Array> }>
}

export interface Blobs {
  /** Resolves when enough holders have it on disk. */
  put: (
    source: AsyncIterable<Uint8Array>,
    options: { sizeHint?: number | undefined; signal: AbortSignal }
  ) => Promise<{ cid: string; sizeBytes: number }>
  /** Resolves when the first bytes are here, so that an outage can still be answered as one. */
  get: (
    cid: string,
    sizeBytes: number,
    range: { offset: number; length: number; signal: AbortSignal }
  ) => Promise<AsyncIterable<Uint8Array>>
}

/** @param network null where the gateway runs without one */
export function createBlobs(network: BlobNetwork | null): Blobs {
  if (network === null) {
    const refuse = async () => {
      throw new NetworkUnavailableError('this gateway runs without a network (GATEWAY_BOOTSTRAP_PEERS is empty)')
    }
    return { put: refuse, get: refuse }
  }
  return {
    async put(source, { sizeHint, signal }) {
      const watched = watch(source)
      try {
        const { cid, sizeBytes } = await network.put(watched.bytes, {
          mimeType: 'application/octet-stream',
          ...(sizeHint === undefined ? {} : { sizeHint }),
          signal
        })
        return { cid, sizeBytes }
      } catch (error) {
        // A body over its limit or a caller that hung up breaks the upload too; then that is what happened.
        throw watched.failure() ?? error
      }
    },
    async get(cid, sizeBytes, { offset, length, signal }) {
      // The deadline is for the first byte; a long answer may take as long as its reader.
      const late = new AbortController()
      const timer = setTimeout(() => late.abort(new NetworkUnavailableError('no byte in time')), BLOB_TIMEOUT_MS)
      try {
        const part = offset === 0 && length === sizeBytes ? {} : { offset, length }
        const blob = await network.get(cid, { ...part, signal: AbortSignal.any([signal, late.signal]) })
        return await begun(blob.bytes)
      } finally {
        clearTimeout(timer)
      }
    }
  }
}

function watch(source: AsyncIterable<Uint8Array>): { bytes: AsyncIterable<Uint8Array>; failure: () => unknown } {
  let failure: unknown
  async function* bytes(): AsyncGenerator<Uint8Array> {
    try {
      yield* source
    } catch (error) {
      failure = error
      throw error
    }
  }
  return { bytes: bytes(), failure: () => failure }
}

/** The same bytes with the first chunk already read. */
async function begun(source: AsyncIterable<Uint8Array>): Promise<AsyncIterable<Uint8Array>> {
  const iterator = source[Symbol.asyncIterator]()
  const first = await iterator.next()
  return (async function* () {
    try {
      for (let next = first; !next.done; next = await iterator.next()) yield next.value
    } finally {
      await iterator.return?.()
    }
  })()
}
