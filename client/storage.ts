/** Blobs to and from whichever node can: fail-over between nodes, resumption within one. */
import type { ConnectionPath, Member, Network } from '../node/index.ts'
import { letGo, ProtocolViolationError, parseCid, race, replayable, verifyCid } from '../node/portable.ts'
import { BlobAlteredError, BlobMissingError, NoNodeError, SizeMismatchError } from './errors.ts'
import { isNotFound, isOutside, isRefused, isRefusedForAll, mayAskAnother, mayReadElsewhere } from './failures.ts'

export interface PutOptions {
  mimeType?: string
  /** Exact number of bytes, when it is known: nodes then reserve the room before they read. */
  sizeHint?: number
  /** Throws BlobAlteredError when what a node acknowledged is not what it was sent: that node has failed then. */
  check?: (stored: { cid: string; sizeBytes: number; peerId: string }) => void
  signal?: AbortSignal
}

export interface GetOptions {
  /** First byte. Default 0. */
  offset?: number
  /** Number of bytes. Default: to the end. */
  length?: number
  /** Peer ids that are not asked. */
  except?: ReadonlySet<string>
  /** No other node goes on where one breaks off: that ends the reading, in what the node did. */
  alone?: boolean
  signal?: AbortSignal
}

export interface ClientStorage {
  /**
   * Stores bytes; resolves when the node says that enough replicas are on disk. The source is read once: after its
   * first 8 MiB left for a node, that node must take the rest (over cut connections too).
   * @throws NoNodeError when no node could be asked or all failed
   * @throws PeerRefusedError when a node refuses what no other would take
   * @throws BlobAlteredError when no other node made up for one that failed `check`
   */
  put: (
    source: AsyncIterable<Uint8Array> | Uint8Array,
    options?: PutOptions
  ) => Promise<{
    cid: string
    sizeBytes: number
    /** The node that took it. */
    peerId: string
    /** Peer ids known to hold it at that moment, where the node tells. */
    replicas?: readonly string[] | undefined
  }>
  /**
   * A blob or a range of it. If the node fails in the middle, another one goes on from there. A whole blob is checked
   * against its CID: wrong bytes end in a CidMismatchError instead of their last piece. A range cannot be checked.
   * `from`: peer ids of the nodes whose bytes these are, so far. Reading ends in a NodesDisagreeError when two of them
   * say different sizes, in another ProtocolViolationError when fewer bytes come than were said.
   * @throws BlobMissingError when no node has it
   * @throws NoNodeError when no node could be asked
   * @throws PeerRefusedError when the question is refused, or every node had a reason of its own to refuse
   */
  get: (
    cid: string,
    options?: GetOptions
  ) => Promise<{ sizeBytes: number; mimeType: string; bytes: AsyncIterable<Uint8Array>; from: () => readonly string[] }>
}

/** Two nodes say different sizes of one blob: which of them is wrong cannot be told from that. */
export class NodesDisagreeError extends ProtocolViolationError {}

/** A node that does not have a blob has asked the others; some more are asked in case the network was split. */
export const MAX_NODES_ASKED = 8
/** Another node is asked when nobody answered for this long: one that died holds its connections open for a while. */
const ASK_STAGGER_MS = 1500

/** An answer that has begun. */
type Opened = Awaited<ReturnType<Network['retrieve']>>

/** What of the network blobs go over. */
export interface StorageNetwork extends Pick<Network, 'self' | 'store' | 'retrieve'> {
  members: () => ReadonlyArray<StorageMember>
  connections: () => ReadonlyArray<Pick<ConnectionPath, 'peerId' | 'path'>>
}
type StorageMember = Pick<Member, 'peerId' | 'reachable'>

/** @param options.wait resolves when nodes are known, or rejects when nobody came in time */
export function createStorage(options: {
  network: StorageNetwork
  wait: (signal?: AbortSignal) => Promise<void>
}): ClientStorage {
  const { network } = options

  /** Nodes to ask, best first: direct connections, then reachable ones, mixed so that load spreads. */
  async function nodes(signal?: AbortSignal, except?: ReadonlySet<string>): Promise<StorageMember[]> {
    await options.wait(signal)
    const paths = new Map<string, number>()
    for (const { peerId, path } of network.connections()) {
      paths.set(peerId, Math.max(paths.get(peerId) ?? 0, path === 'direct' ? 2 : 1))
    }
    return network
      .members()
      .filter(({ peerId }) => peerId !== network.self && except?.has(peerId) !== true)
      .map(member => ({
        member,
        rank: (paths.get(member.peerId) ?? 0) * 10 + Number(member.reachable) + Math.random() / 2
      }))
      .sort((a, b) => b.rank - a.rank)
      .map(({ member }) => member)
      .slice(0, MAX_NODES_ASKED)
  }

  async function* ranged(
    cid: string,
    first: AsyncIterable<Uint8Array>,
    rest: StorageMember[],
    range: { offset: number; length: number; sizeBytes: number; signal?: AbortSignal | undefined },
    from: string[]
  ): AsyncGenerator<Uint8Array, void, undefined> {
    let source = first
    let got = 0
    for (;;) {
      try {
        for await (const chunk of source) {
          got += chunk.byteLength
          yield chunk
        }
        if (got !== range.length) throw new ProtocolViolationError(`${got} bytes came, where ${range.length} are due`)
        return
      } catch (error) {
        range.signal?.throwIfAborted()
        const next = mayReadElsewhere(error) && got <= range.length ? await goingOn(cid, rest, range, got, from) : null
        if (next === null) throw error
        from.push(next.peerId)
        source = next.bytes
      }
    }
  }

  /** The next node, from where the last one ended. Whoever says another size has not the same blob. */
  async function goingOn(
    cid: string,
    rest: StorageMember[],
    {
      offset,
      length,
      sizeBytes,
      signal
    }: { offset: number; length: number; sizeBytes: number; signal?: AbortSignal | undefined },
    got: number,
    from: readonly string[]
  ) {
    const said = `${from[0]} says that ${cid} has ${sizeBytes} bytes`
    const next = await opened(cid, rest, { offset: offset + got, length: length - got, signal }).catch(error => {
      throw isOutside(error) ? new NodesDisagreeError(`${said}, and others have fewer`) : error
    })
    if (next === null || next.sizeBytes === sizeBytes) return next
    await next.bytes[Symbol.asyncIterator]().return?.()
    throw new NodesDisagreeError(`${said}, and ${next.peerId} that it has ${next.sizeBytes}`)
  }

  /** Who of `candidates` answers first; those that were asked are taken off the list. Null when nobody was there to ask. */
  async function opened(
    cid: string,
    candidates: StorageMember[],
    range: { offset: number; length?: number | undefined; signal?: AbortSignal | undefined }
  ): Promise<(Opened & { peerId: string }) | null> {
    const { offset, length, signal } = range
    async function* taken(): AsyncGenerator<StorageMember> {
      for (let member = candidates.shift(); member !== undefined; member = candidates.shift()) yield member
    }
    let last: unknown
    const win = await race(
      taken(),
      async (member, askSignal): Promise<Opened | { refusal: unknown }> => {
        try {
          const part = length === undefined ? {} : { length }
          return await network.retrieve(member.peerId, cid, { offset, signal: askSignal, ...part })
        } catch (error) {
          if (mayReadElsewhere(error) && !isRefusedForAll(error, cid, offset)) throw error
          // What no other node would do either ends the race like an answer.
          return { refusal: error }
        }
      },
      {
        staggerMs: ASK_STAGGER_MS,
        maxAtOnce: MAX_NODES_ASKED,
        maxInAll: MAX_NODES_ASKED,
        signal,
        dispose: answer => {
          if ('bytes' in answer) void answer.bytes[Symbol.asyncIterator]().return?.()
        },
        onFailure: (_member, error) => {
          // «Not here» says more than «not reached».
          if (!isNotFound(last)) last = error
        }
      }
    )
    if (win !== null) {
      if ('bytes' in win.value) return { ...win.value, peerId: win.from.peerId }
      throw win.value.refusal
    }
    if (last === undefined) return null
    if (isNotFound(last)) throw new BlobMissingError(cid, { cause: last })
    if (isRefused(last)) throw last
    throw new NoNodeError((last as Error).message, { cause: last })
  }

  return {
    async put(given, { mimeType, sizeHint, check, signal } = {}) {
      const source = given instanceof Uint8Array ? once(given) : given
      const size = given instanceof Uint8Array ? given.byteLength : (sizeHint ?? null)
      const replay = replayable(size === null ? source : exactly(source, size))
      let last: unknown
      let altered: BlobAlteredError | null = null
      for (const { peerId } of await nodes(signal)) {
        try {
          const blob = { sizeBytes: size, open: () => replay.openAt(0), openAt: replay.openAt }
          const stored = await network.store(
            peerId,
            { ...blob, ...(mimeType === undefined ? {} : { mimeType }) },
            signal === undefined ? {} : { signal }
          )
          check?.({ ...stored, peerId })
          return { ...stored, peerId }
        } catch (error) {
          signal?.throwIfAborted()
          if (error instanceof BlobAlteredError) altered ??= error
          else if (!mayAskAnother(error)) throw error
          last = error
          if (!replay.whole() && altered !== null) throw altered
          if (!replay.whole())
            throw new NoNodeError(`${(error as Error).message} The source cannot be read again`, { cause: error })
        }
      }
      if (altered !== null) throw altered
      throw new NoNodeError(last === undefined ? 'none is known' : (last as Error).message, { cause: last })
    },
    async get(cid, { offset = 0, length, except, alone = false, signal } = {}) {
      const candidates = await nodes(signal, except)
      const found = await opened(cid, candidates, { offset, length, signal })
      if (found === null) throw new NoNodeError('none is known')
      const { sizeBytes, mimeType, bytes } = found
      const wanted = Math.max(0, Math.min(length ?? Number.POSITIVE_INFINITY, sizeBytes - offset))
      const from = [found.peerId]
      const read = ranged(cid, bytes, alone ? [] : candidates, { offset, length: wanted, sizeBytes, signal }, from)
      const whole = offset === 0 && wanted === sizeBytes
      const checked = whole ? verifyCid(parseCid(cid), read) : read
      const abandon = () => void bytes[Symbol.asyncIterator]().return?.()
      return { sizeBytes, mimeType, bytes: letGo(checked, abandon), from: () => from }
    }
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes
}

/** The source, which must give exactly `sizeBytes`. */
async function* exactly(
  source: AsyncIterable<Uint8Array>,
  sizeBytes: number
): AsyncGenerator<Uint8Array, void, undefined> {
  let given = 0
  for await (const chunk of source) {
    given += chunk.byteLength
    if (given > sizeBytes) throw new SizeMismatchError(sizeBytes, given)
    yield chunk
  }
  if (given < sizeBytes) throw new SizeMismatchError(sizeBytes, given)
}
