/** Blobs to and from whichever node can: fail-over between nodes, resumption within one. */
import {
  type Member,
  type Network,
  PeerRefusedError,
  PeerTimeoutError,
  PeerUnreachableError,
  parseCid,
  race,
  replayable,
  TransferCutError,
  verifyCid
} from '../node/index.ts'
import { BlobMissingError, NoNodeError, SizeMismatchError } from './errors.ts'

export interface PutOptions {
  mimeType?: string
  /** Exact number of bytes, when it is known: nodes then reserve the room before they read. */
  sizeHint?: number
  signal?: AbortSignal
}

export interface GetOptions {
  /** First byte. Default 0. */
  offset?: number
  /** Number of bytes. Default: to the end. */
  length?: number
  signal?: AbortSignal
}

export interface ClientStorage {
  /**
   * Stores bytes; resolves when the node says that enough replicas are on disk. The source is read once: after its
   * first 8 MiB left for a node, that node must take the rest (over cut connections too).
   * @throws NoNodeError when no node could be asked or all failed
   * @throws PeerRefusedError when a node refuses what no other would take
   */
  put: (
    source: AsyncIterable<Uint8Array> | Uint8Array,
    options?: PutOptions
  ) => Promise<{ cid: string; sizeBytes: number; peerId: string }>
  /**
   * A blob or a range of it. If the node fails in the middle, another one goes on from there. A whole blob is checked
   * against its CID: wrong bytes end in a CidMismatchError instead of their last piece. A range cannot be checked.
   * @throws BlobMissingError when no node has it
   * @throws NoNodeError when no node could be asked
   */
  get: (
    cid: string,
    options?: GetOptions
  ) => Promise<{ sizeBytes: number; mimeType: string; bytes: AsyncIterable<Uint8Array> }>
}

/** A node that does not have a blob has asked the others; some more are asked in case the network was split. */
const MAX_NODES_ASKED = 8
/** Another node is asked when nobody answered for this long: one that died holds its connections open for a while. */
const ASK_STAGGER_MS = 1500
const NOT_FOUND = 'BLOB_NOT_FOUND'
const SERVER_FAULT = 500

/** An answer that has begun. */
type Opened = Awaited<ReturnType<Network['retrieve']>>

/** @param options.wait resolves when nodes are known, or rejects when nobody came in time */
export function createStorage(options: {
  network: Network
  wait: (signal?: AbortSignal) => Promise<void>
}): ClientStorage {
  const { network } = options

  /** Nodes to ask, best first: direct connections, then reachable ones, mixed so that load spreads. */
  async function nodes(signal?: AbortSignal): Promise<Member[]> {
    await options.wait(signal)
    const paths = new Map<string, number>()
    for (const { peerId, path } of network.connections()) {
      paths.set(peerId, Math.max(paths.get(peerId) ?? 0, path === 'direct' ? 2 : 1))
    }
    return network
      .members()
      .filter(({ peerId }) => peerId !== network.self)
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
    rest: Member[],
    range: { offset: number; length: number; signal?: AbortSignal | undefined }
  ): AsyncGenerator<Uint8Array, void, undefined> {
    let source = first
    let got = 0
    for (;;) {
      try {
        for await (const chunk of source) {
          got += chunk.byteLength
          yield chunk
        }
        return
      } catch (error) {
        range.signal?.throwIfAborted()
        const next = mayAskAnother(error)
          ? await opened(cid, rest, { ...range, offset: range.offset + got, length: range.length - got })
          : null
        if (next === null) throw error
        source = next.bytes
      }
    }
  }

  /** Who of `candidates` answers first; those that were asked are taken off the list. Null when nobody was there to ask. */
  async function opened(
    cid: string,
    candidates: Member[],
    range: { offset: number; length?: number | undefined; signal?: AbortSignal | undefined }
  ): Promise<Opened | null> {
    const { offset, length, signal } = range
    async function* taken(): AsyncGenerator<Member> {
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
          if (mayAskAnother(error)) throw error
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
      if ('bytes' in win.value) return win.value
      throw win.value.refusal
    }
    if (last === undefined) return null
    if (isNotFound(last)) throw new BlobMissingError(cid, { cause: last })
    throw new NoNodeError((last as Error).message, { cause: last })
  }

  return {
    async put(given, { mimeType, sizeHint, signal } = {}) {
      const source = given instanceof Uint8Array ? once(given) : given
      const size = given instanceof Uint8Array ? given.byteLength : (sizeHint ?? null)
      const replay = replayable(size === null ? source : exactly(source, size))
      let last: unknown
      for (const { peerId } of await nodes(signal)) {
        try {
          const blob = { sizeBytes: size, open: () => replay.openAt(0), openAt: replay.openAt }
          const stored = await network.store(
            peerId,
            { ...blob, ...(mimeType === undefined ? {} : { mimeType }) },
            signal === undefined ? {} : { signal }
          )
          return { ...stored, peerId }
        } catch (error) {
          signal?.throwIfAborted()
          if (!mayAskAnother(error)) throw error
          last = error
          if (!replay.whole())
            throw new NoNodeError(`${(error as Error).message} The source cannot be read again`, { cause: error })
        }
      }
      throw new NoNodeError(last === undefined ? 'none is known' : (last as Error).message, { cause: last })
    },
    async get(cid, { offset = 0, length, signal } = {}) {
      const candidates = await nodes(signal)
      const found = await opened(cid, candidates, { offset, length, signal })
      if (found === null) throw new NoNodeError('none is known')
      const { sizeBytes, mimeType, bytes } = found
      const wanted = Math.max(0, Math.min(length ?? Number.POSITIVE_INFINITY, sizeBytes - offset))
      const read = ranged(cid, bytes, candidates, { offset, length: wanted, signal })
      const whole = offset === 0 && wanted === sizeBytes && sizeBytes > 0
      return { sizeBytes, mimeType, bytes: whole ? verifyCid(parseCid(cid), read) : read }
    }
  }
}

function isNotFound(error: unknown): boolean {
  return error instanceof PeerRefusedError && error.code === NOT_FOUND
}

/** Whether another node might do what this one could not. */
function mayAskAnother(error: unknown): boolean {
  if (error instanceof PeerRefusedError) return error.status >= SERVER_FAULT || isNotFound(error)
  return error instanceof PeerUnreachableError || error instanceof TransferCutError || error instanceof PeerTimeoutError
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
