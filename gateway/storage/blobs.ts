/** Values over 64 KiB: blobs on the nodes, through the client. */
import { BLOB_PUTS_MAX, BLOB_TIMEOUT_MS } from '../constants.ts'
import { NetworkUnavailableError, OverloadedError } from '../errors.ts'

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

/**
 * @param network null where the gateway runs without one
 * @param maxPuts values on their way to the nodes at once; the next put is an OverloadedError
 */
export function createBlobs(network: BlobNetwork | null, maxPuts = BLOB_PUTS_MAX): Blobs {
  if (network === null) {
    const refuse = async () => {
      throw new NetworkUnavailableError('this gateway runs without a network (GATEWAY_BOOTSTRAP_PEERS is empty)')
    }
    return { put: refuse, get: refuse }
  }
  let putsUnderWay = 0
  return {
    async put(source, { sizeHint, signal }) {
      if (putsUnderWay >= maxPuts) throw new OverloadedError()
      putsUnderWay += 1
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
      } finally {
        putsUnderWay -= 1
      }
    },
    async get(cid, sizeBytes, { offset, length, signal }) {
      // The deadline is for the first byte; a long answer may take as long as its reader.
      const late = new AbortController()
      const timer = setTimeout(() => late.abort(new NetworkUnavailableError('no byte in time')), BLOB_TIMEOUT_MS)
      try {
        const part = offset === 0 && length === sizeBytes ? {} : { offset, length }
        const blob = await network.get(cid, { ...part, signal: AbortSignal.any([signal, late.signal]) })
        if (blob.sizeBytes !== sizeBytes) {
          // Begun first: a generator that was not skips its `finally` when it is returned.
          await (await begun(blob.bytes)).return()
          throw new NetworkUnavailableError(
            `a node has ${blob.sizeBytes} bytes of this value's ${sizeBytes}: try again, another node may answer`
          )
        }
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
async function begun(source: AsyncIterable<Uint8Array>) {
  const iterator = source[Symbol.asyncIterator]()
  const first = await iterator.next()
  let held: IteratorResult<Uint8Array> | null = first
  // No generator: one that was never begun skips its `finally`, and a node would wait for its reader.
  const bytes = {
    async next(): Promise<IteratorResult<Uint8Array>> {
      if (held === null) return await iterator.next()
      const next = held
      held = null
      return next
    },
    async return(): Promise<IteratorResult<Uint8Array>> {
      held = null
      await iterator.return?.()
      return { done: true, value: undefined }
    },
    [Symbol.asyncIterator]: (): AsyncIterator<Uint8Array> => bytes
  }
  return bytes
}
