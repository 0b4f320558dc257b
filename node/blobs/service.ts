/**
 * Blobs as the whole node offers them: this disk, the other owners of the shard, and repair between them. Past 300 lines:
 * storing and reading share the rules of who is asked and what is refused, and those are best read in one place.
 */
import PQueue from 'p-queue'
import {
  BlobCorruptError,
  BlobLeavingError,
  BlobNotFoundError,
  CidMismatchError,
  ContentBlockedError,
  MembersUnknownError,
  ReplicationFailedError,
  ShardMismatchError,
  ShardOwnerUnavailableError,
  StoppedError
} from '../errors.ts'
import { untilAborted } from '../until-aborted.ts'
import { CidHasher, parseCid } from './cid.ts'
import { createHandOver } from './hand-over.ts'
import { createHealer } from './heal.ts'
import { createLeaving } from './leaving.ts'
import type { RemoteRead } from './network.types.ts'
import { placementOrder } from './placement.ts'
import { startRepair } from './repair.ts'
import { createReplicator, REPLICATION_MS_PER_MIB } from './replicate.ts'
import type {
  BlobService,
  BlobServiceOptions,
  GetOptions,
  PutOptions,
  PutResult,
  ReplicationStatus
} from './service.types.ts'
import { ownsShard, shardOf } from './shards.ts'
import { createRemoteBlobs, endEarly } from './sources.ts'
import type { StagedBlob } from './store.types.ts'
import { chain, eachOf, pulled } from './streams.ts'

/** Most owners asked for the state of one blob. */
export const STATUS_OWNERS_MAX = 16
/** Time they have to answer. */
export const STATUS_TIMEOUT_MS = 5000
/** Most CIDs waiting to be announced in the DHT; more are left to the next change of the blob. */
export const PROVIDE_QUEUE_MAX = 1000
/** Owners that a foreign blob is offered to. */
export const FORWARD_OWNERS_MAX = 6

const MIB = 1024 * 1024

/** Start the service. The network's handlers are the service itself. */
export function createBlobService(options: BlobServiceOptions): BlobService {
  const { store, network, shards, shardCount, replicationFactor, quorum, timeoutMs, maxBlobBytes, log } = options
  const { isBlocked = () => false, isPinned = () => false, leaving = createLeaving() } = options
  const stopping = new AbortController()
  const { signal: stopped } = stopping
  const remote = createRemoteBlobs({ network, log })
  const replicator = createReplicator({ store, network, timeoutMs, log, signal: stopped })
  const announcements = new PQueue({ concurrency: 2 })
  const background = new Set<Promise<unknown>>()
  const healer = createHealer({ store, remote, maxBlobBytes, log, signal: stopped })
  const { heal } = healer
  const { membersKnown } = options

  const isMember = (peerId: string | undefined): boolean =>
    peerId !== undefined && network.members().some(member => member.peerId === peerId)
  const isOwn = (cid: string): boolean => ownsShard(shards(), shardOf(cid, shardCount))
  const handOver = createHandOver({
    store,
    network,
    replicator,
    replicationFactor,
    membersKnown,
    isOwn,
    isPinned,
    proves: options.proves,
    leaving,
    confirm: (cid, peerIds) => confirm(cid, peerIds),
    signal: stopped,
    log
  })
  const requireOwnShard = (cid: string): void => {
    const shard = shardOf(cid, shardCount)
    if (!isOwn(cid)) throw new ShardMismatchError(cid, shard, shards(), shardCount)
  }
  const requireNotBlocked = (cid: string): void => {
    if (isBlocked(cid)) throw new ContentBlockedError(cid)
  }
  const inBackground = (work: Promise<unknown>): void => {
    const tracked = work
      .catch(error => log.debug({ err: error }, 'background work failed'))
      .finally(() => {
        background.delete(tracked)
      })
    background.add(tracked)
  }
  const announce = (cid: string): void => {
    if (announcements.size >= PROVIDE_QUEUE_MAX) return
    // Not waited for at the end: a look-up in a DHT nobody answers in takes long, and nothing hangs on it.
    announcements
      .add(async () => (stopped.aborted ? undefined : network.provide(cid)))
      .catch(error => log.debug({ cid, err: error }, 'not announced'))
  }

  /** Bring a blob's replicas up to the factor; answers who is known to hold it. */
  async function mend(cid: string): Promise<boolean> {
    if (isBlocked(cid)) return true
    // A copy that was lost here and could not be replaced at once.
    if (healer.isLost(cid)) await heal(cid)
    const blob = await store.stat(cid)
    if (!blob) return true
    if (!isOwn(cid)) return await handOver(blob)
    const owners = placementOrder(cid, network.members()).filter(member => member.peerId !== network.self)
    const reachable = owners.filter(member => member.reachable).map(member => member.peerId)
    const asked = reachable.slice(0, STATUS_OWNERS_MAX)
    const holders = new Set(await confirm(cid, asked))
    const missing = Math.min(replicationFactor - 1, owners.length) - holders.size
    if (missing <= 0) return true
    const free = reachable.filter(peerId => !holders.has(peerId))
    const more = await replicator.start(blob, free, missing, missing).settled
    if (more.length > 0) log.info({ cid, peers: more }, 'replicas repaired')
    return more.length >= missing
  }
  const membership = () =>
    network
      .members()
      .map(({ peerId, reachable, shards: owned }) => {
        // Who owns what is part of it: where ranges moved, others are to have the copies.
        return `${peerId}${reachable ? '' : '?'} ${owned.map(({ start, end }) => `${start}-${end}`).join('+')}`
      })
      .sort()
      .join()
  const repair = startRepair({ mend, list: () => store.list(), isOwn, membership, log, signal: stopped })
  function shardsChanged(): void {
    for (const cid of store.list()) if (!isOwn(cid)) repair.enqueue(cid)
  }
  // Left by ranges that were wider before this start.
  if (options.shardsAssigned()) shardsChanged()

  store.onQuarantine(cid => {
    healer.lost(cid)
    if (!stopped.aborted) inBackground(heal(cid).finally(() => repair.enqueue(cid)))
  })

  async function forward(staged: StagedBlob, { from, localOnly, signal }: PutOptions): Promise<PutResult> {
    const { cid, sizeBytes, mimeType } = staged
    const shard = shardOf(cid, shardCount)
    if (localOnly || isMember(from)) throw new ShardMismatchError(cid, shard, shards(), shardCount)
    const owners = replicator.candidates(cid).slice(0, FORWARD_OWNERS_MAX)
    const perOwnerMs = 2 * (timeoutMs + Math.ceil((sizeBytes / MIB) * REPLICATION_MS_PER_MIB))
    let lastError: unknown
    for (const { peerId } of owners) {
      const signals = [stopped, AbortSignal.timeout(perOwnerMs), ...(signal ? [signal] : [])]
      try {
        const blob = { sizeBytes, mimeType, open: () => staged.read() }
        const answer = await network.store(peerId, blob, { signal: AbortSignal.any(signals) })
        if (answer.cid !== cid) throw new CidMismatchError(cid, answer.cid)
        return { cid, sizeBytes, existed: false, replicas: [peerId] }
      } catch (error) {
        signal?.throwIfAborted()
        lastError = error
        log.warn({ cid, peerId, err: error }, 'owner did not take a foreign blob')
      }
    }
    throw new ShardOwnerUnavailableError(cid, shard, { cause: lastError })
  }

  async function put(source: AsyncIterable<Uint8Array>, putOptions: PutOptions): Promise<PutResult> {
    if (stopped.aborted) throw new StoppedError()
    if (!options.membersKnown()) throw new MembersUnknownError()
    const { sizeHint, isGiven, signal } = putOptions
    const staged = await store.stage(source, {
      maxBytes: maxBlobBytes,
      sizeHint,
      isGiven,
      signal,
      // Asked for when the bytes are here: a sender may name the type behind them.
      get mimeType() {
        return putOptions.mimeType
      }
    })
    const { cid, sizeBytes } = staged
    if (isBlocked(cid)) {
      await staged.discard()
      throw new ContentBlockedError(cid)
    }
    await putOptions
      .accept?.(() => staged.read())
      ?.catch(async (error: unknown) => {
        await staged.discard()
        throw error
      })
    if (!isOwn(cid)) {
      try {
        return await forward(staged, putOptions)
      } finally {
        await staged.discard()
      }
    }
    const { existed } = await staged.commit()
    announce(cid)
    const candidates = replicator.candidates(cid).map(member => member.peerId)
    const wanted = Math.min(replicationFactor - 1, candidates.length)
    const needed = Math.min(quorum - 1, candidates.length)
    const round = replicator.start({ cid, sizeBytes, mimeType: staged.mimeType }, candidates, wanted, needed)
    inBackground(
      round.settled.then(confirmed => {
        if (confirmed.length < wanted) repair.enqueue(cid)
      })
    )
    const confirmed = await round.quorum
    if (confirmed.length < needed) throw new ReplicationFailedError(cid, confirmed.length + 1, needed + 1)
    return { cid, sizeBytes, existed, replicas: [network.self, ...confirmed] }
  }

  /** Looks at the disk: a copy that is gone or cut short is set aside, and is no replica. */
  async function isReallyHere(cid: string): Promise<boolean> {
    try {
      const blob = await store.open(cid)
      if (blob) await pulled(blob.read({ length: 0 }))
      return blob !== null
    } catch (error) {
      // Damaged, or gone while it was looked at.
      if (error instanceof BlobCorruptError || error instanceof BlobNotFoundError) return false
      throw error
    }
  }

  const putReplica: BlobService['putReplica'] = async (cidText, mimeType, source, { sizeHint, signal }) => {
    if (stopped.aborted) throw new StoppedError()
    const cid = parseCid(cidText)
    requireNotBlocked(cid)
    requireOwnShard(cid)
    if (await isReallyHere(cid)) {
      await endEarly(source)
      if (leaving.has(cid)) throw new BlobLeavingError(cid)
      return { alreadyStored: true }
    }
    const stage = {
      maxBytes: maxBlobBytes,
      sizeHint,
      expectedCid: cid,
      signal,
      get mimeType() {
        return typeof mimeType === 'function' ? mimeType() : mimeType
      }
    }
    const { existed } = await (await store.stage(source, stage)).commit()
    announce(cid)
    return { alreadyStored: existed }
  }

  /** The copy here; null when there is none. A copy that turns out damaged is healed from other nodes while it is read. */
  async function openLocal(cid: string, range: GetOptions): Promise<RemoteRead | null> {
    const { holdBytes = 0 } = range
    const blob = await store.open(cid, { mayRecall: holdBytes > 0 })
    if (!blob) return null
    const offset = range.offset ?? 0
    const end = Math.min(blob.sizeBytes, offset + (range.length ?? blob.sizeBytes))
    const { sizeBytes, mimeType } = blob
    const { localOnly, from, signal } = range
    const alone = localOnly || isMember(from)
    /** The copy was set aside: a good one takes its place, if there is one. Nothing wrong has left. */
    async function mendedAfter(error: unknown): Promise<void> {
      if (alone || store.has(cid) || signal?.aborted) throw error
      await heal(cid).catch(() => Promise.reject(error))
    }
    async function* read(): AsyncGenerator<Uint8Array> {
      let at = offset
      try {
        for await (const bytes of blob!.read({ offset: at, length: end - at, signal })) {
          at += bytes.length
          yield bytes
        }
      } catch (error) {
        await mendedAfter(error)
        yield* store.read(cid, { offset: at, length: end - at, signal })
      }
    }
    if (end > offset && end - offset <= holdBytes) {
      try {
        const pieces = await blob.span(offset, end)
        return { sizeBytes, mimeType, bytes: eachOf(pieces), pieces }
      } catch (error) {
        await mendedAfter(error)
        const bytes = store.read(cid, { offset, length: end - offset, signal })
        return { sizeBytes, mimeType, bytes: chain(await pulled(bytes), bytes) }
      }
    }
    const bytes = read()
    // The first piece is read before the answer begins, so that its damage can still become a proper error.
    const first = await pulled(bytes)
    return { sizeBytes, mimeType, bytes: chain(first, bytes) }
  }

  async function get(cidText: string, asked: GetOptions): Promise<RemoteRead> {
    const cid = parseCid(cidText)
    const { offset = 0, length, signal, verify } = asked
    requireNotBlocked(cid)
    // A peer that wants no bytes asks whether a copy is here, and counts it. It need not be a member we know: another's
    // copy, vouched for here too, would count twice. Whoever wants the bytes gets them as long as they are.
    const isQuestion = asked.from !== undefined && length === 0
    if (isQuestion && leaving.has(cid)) throw new BlobLeavingError(cid)
    const getOptions = isQuestion ? { ...asked, localOnly: true } : asked
    if (verify) return await getVerified(cid, getOptions)
    let localError: unknown
    const local = await openLocal(cid, getOptions).catch(error => {
      if (store.has(cid) || signal?.aborted) throw error
      localError = error
      return null
    })
    if (local) return local
    if (getOptions.localOnly || isMember(getOptions.from)) throw localError ?? new BlobNotFoundError(cid)
    try {
      return await remote.open(cid, { offset, length, signal })
    } catch (error) {
      throw localError ?? error
    }
  }

  /** All the bytes are hashed before the first is given out: from this disk, else from a staged copy of another's. */
  async function getVerified(cid: string, asked: GetOptions): Promise<RemoteRead> {
    const { offset = 0, length, signal, holdBytes, ...rest } = asked
    const whole = await get(cid, { ...rest, signal, verify: false })
    if (store.has(cid)) {
      const hasher = new CidHasher()
      for await (const bytes of whole.bytes) hasher.update(bytes)
      if (hasher.digest() !== cid) await store.quarantine(cid, 'its bytes have another CID')
      return await get(cid, { ...rest, offset, length, signal, holdBytes, verify: false })
    }
    const { sizeBytes, mimeType } = whole
    const stage = { maxBytes: maxBlobBytes, sizeHint: sizeBytes, mimeType, expectedCid: cid, signal }
    const staged = await store.stage(whole.bytes, stage)
    async function* read(): AsyncGenerator<Uint8Array> {
      try {
        yield* staged.read({ offset, ...(length === undefined ? {} : { length }) })
      } finally {
        await staged.discard()
      }
    }
    const bytes = read()
    return { sizeBytes, mimeType, bytes: chain(await pulled(bytes), bytes) }
  }

  async function stat(cidText: string, getOptions: GetOptions) {
    const cid = parseCid(cidText)
    requireNotBlocked(cid)
    const local = await store.stat(cid).catch(() => null)
    if (local) return local
    const { sizeBytes, mimeType, bytes } = await get(cid, { ...getOptions, offset: 0, length: 0, verify: false })
    await endEarly(bytes)
    return { cid, sizeBytes, mimeType }
  }

  async function fetch(cidText: string, signal?: AbortSignal): Promise<void> {
    const cid = parseCid(cidText)
    requireNotBlocked(cid)
    if (store.has(cid)) return
    requireOwnShard(cid)
    await untilAborted(heal(cid), signal)
    announce(cid)
    repair.enqueue(cid)
  }

  async function confirm(cid: string, peerIds: readonly string[], signal?: AbortSignal): Promise<string[]> {
    const limits = [stopped, AbortSignal.timeout(STATUS_TIMEOUT_MS), ...(signal ? [signal] : [])]
    return await remote.holders(cid, peerIds, AbortSignal.any(limits))
  }

  async function replication(cidText: string, signal?: AbortSignal): Promise<ReplicationStatus> {
    const cid = parseCid(cidText)
    const owners = placementOrder(cid, network.members())
    const others = owners.map(owner => owner.peerId).filter(peerId => peerId !== network.self)
    const holders = await confirm(cid, others.slice(0, STATUS_OWNERS_MAX), signal)
    const nodes = [...(store.has(cid) ? [network.self] : []), ...holders]
    const target = Math.max(1, Math.min(replicationFactor, owners.length))
    return { cid, target, confirmed: nodes.length, complete: nodes.length >= target, nodes }
  }

  return {
    put,
    putReplica,
    get,
    stat,
    fetch,
    replication,
    confirm,
    unpinned: cid => {
      if (store.has(cid) && !isOwn(cid)) repair.enqueue(cid)
    },
    get underReplicated() {
      return repair.waiting
    },
    get unhealed() {
      return healer.count
    },
    shardsChanged,
    stop: async () => {
      stopping.abort(new StoppedError())
      announcements.clear()
      await Promise.all([repair.ended, ...background])
    }
  }
}
