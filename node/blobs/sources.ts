/** Reading a blob from other nodes: who may have it, who answers first, and going on elsewhere when one breaks off. */
import { BlobNotFoundError, CidMismatchError, TransferCutError } from '../errors.ts'
import type { Log } from '../log.ts'
import { verifyCid } from './cid.ts'
import type { BlobNetwork, RemoteRead } from './network.types.ts'
import { placementOrder } from './placement.ts'
import { race } from './race.ts'

/** Ask another holder when nobody answered for this long. */
export const SOURCE_STAGGER_MS = 800
/** Most holders asked at once for one read. */
export const SOURCES_AT_ONCE = 4
/** Most holders asked in all for one read. */
export const SOURCES_MAX = 24
/** Time a holder has to answer with a header, relays and hole punching included. */
export const SOURCE_HEADER_TIMEOUT_MS = 20_000
/** Time the DHT has to name providers. */
export const PROVIDERS_TIMEOUT_MS = 3000

export interface RemoteRange {
  offset: number
  /** Undefined: to the end. */
  length?: number | undefined
  signal?: AbortSignal | undefined
}

/** Finds and reads blobs on other nodes. */
export interface RemoteBlobs {
  /**
   * Open a range. A holder that breaks off is replaced by another at the byte it stopped at. The bytes of a whole blob
   * are compared with the CID, their last piece held back until it is known to be right; those of a range are not.
   * @throws BlobNotFoundError when nobody reachable has it
   */
  open: (cid: string, range: RemoteRange) => Promise<RemoteRead>
  /** Which of these peers say that they have it. */
  holders: (cid: string, peerIds: readonly string[], signal: AbortSignal) => Promise<string[]>
}

export function createRemoteBlobs({ network, log }: { network: BlobNetwork; log: Log }): RemoteBlobs {
  /** Owners of its shard in placement order, those heard of lately first; then whoever the DHT names; then the others. */
  async function* candidates(cid: string, tried: Set<string>, signal?: AbortSignal): AsyncGenerator<string> {
    const isNew = (peerId: string): boolean => {
      if (peerId === network.self || tried.has(peerId)) return false
      tried.add(peerId)
      return true
    }
    const owners = placementOrder(cid, network.members())
    for (const owner of [...owners.filter(o => o.reachable), ...owners.filter(o => !o.reachable)]) {
      if (isNew(owner.peerId)) yield owner.peerId
    }
    const timeout = AbortSignal.timeout(PROVIDERS_TIMEOUT_MS)
    try {
      const found = network.findProviders(cid, { signal: signal ? AbortSignal.any([signal, timeout]) : timeout })
      for await (const peerId of found) if (isNew(peerId)) yield peerId
    } catch (error) {
      log.debug({ cid, err: error }, 'provider look-up ended')
    }
    // While ranges move, the copies may still be with who owned its shard before.
    for (const member of network.members()) if (member.reachable && isNew(member.peerId)) yield member.peerId
  }

  async function ask(peerId: string, cid: string, range: RemoteRange, signal: AbortSignal): Promise<RemoteRead> {
    const header = new AbortController()
    const timer = setTimeout(
      () => header.abort(new TransferCutError(`${peerId} did not answer`)),
      SOURCE_HEADER_TIMEOUT_MS
    )
    try {
      const length = range.length === undefined ? {} : { length: range.length }
      const options = { offset: range.offset, ...length, signal: AbortSignal.any([signal, header.signal]) }
      return await network.retrieve(peerId, cid, options)
    } finally {
      clearTimeout(timer)
    }
  }

  /** The next holder that answers; null when there is none. */
  async function next(cid: string, range: RemoteRange, tried: Set<string>) {
    const { signal } = range
    return await race(candidates(cid, tried, signal), (peerId, askSignal) => ask(peerId, cid, range, askSignal), {
      staggerMs: SOURCE_STAGGER_MS,
      maxAtOnce: SOURCES_AT_ONCE,
      maxInAll: SOURCES_MAX,
      signal,
      dispose: read => void endEarly(read.bytes),
      onFailure: (peerId, error) => log.debug({ cid, peerId, err: error }, 'holder did not answer')
    })
  }

  async function open(cid: string, range: RemoteRange): Promise<RemoteRead> {
    const tried = new Set<string>()
    const first = await next(cid, range, tried)
    if (!first) throw new BlobNotFoundError(cid)
    const { sizeBytes, mimeType } = first.value
    const wanted = Math.max(0, Math.min(range.length ?? sizeBytes, sizeBytes - range.offset))

    async function* resumed(): AsyncGenerator<Uint8Array> {
      let source = first
      let done = 0
      while (source) {
        try {
          for await (const bytes of source.value.bytes) {
            const piece = bytes.subarray(0, wanted - done)
            done += piece.length
            if (piece.length > 0) yield piece
            if (done === wanted) return
          }
          if (done >= wanted) return
          throw new TransferCutError(`${source.from} ended ${wanted - done} bytes early`)
        } catch (error) {
          range.signal?.throwIfAborted()
          log.info({ cid, peerId: source.from, done, wanted, err: error }, 'holder broke off, asking another')
          source = await next(cid, { ...range, offset: range.offset + done, length: wanted - done }, tried)
          if (!source) throw error
          if (source.value.sizeBytes !== sizeBytes) {
            await endEarly(source.value.bytes)
            throw new CidMismatchError(cid, `one of ${source.value.sizeBytes} bytes`)
          }
        }
      }
    }
    const whole = range.offset === 0 && wanted === sizeBytes && sizeBytes > 0
    return { sizeBytes, mimeType, bytes: whole ? verifyCid(cid, resumed()) : resumed() }
  }

  async function holders(cid: string, peerIds: readonly string[], signal: AbortSignal): Promise<string[]> {
    const answers = await Promise.all(
      peerIds.map(async peerId => {
        try {
          const read = await ask(peerId, cid, { offset: 0, length: 0 }, signal)
          await endEarly(read.bytes)
          return peerId
        } catch {
          return null
        }
      })
    )
    return answers.filter(peerId => peerId !== null)
  }

  return { open, holders }
}

/** Tell a source that nobody reads on. */
export async function endEarly(source: AsyncIterable<Uint8Array>): Promise<void> {
  try {
    await source[Symbol.asyncIterator]().return?.()
  } catch {
    // It is not needed any more, so neither is its error.
  }
}
