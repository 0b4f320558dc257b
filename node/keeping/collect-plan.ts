/**
 * What the collection may take, as pure functions.
 *
 * A stored blob is a promise, and the node cannot know who still wants it: so neither age nor a full disk ever takes one
 * of the copies that the promise needs. They only choose among copies beyond REPLICATION_FACTOR, as nodes that come back
 * after a repair leave them. Which copies those are is decided so that holders need not agree on anything first: all of
 * them order the holders by the same hash, and only one that sees REPLICATION_FACTOR confirmed holders before itself may
 * drop its copy. The first REPLICATION_FACTOR holders of that order never see so many, whatever they see else.
 */
import { createHash } from 'node:crypto'
import { ownsShard, type ShardRange, shardOf } from '../blobs/shards.ts'
import type { StoredBlob } from '../blobs/store.types.ts'

export const RETENTION_MODES = ['hybrid', 'size', 'time'] as const
export type RetentionMode = (typeof RETENTION_MODES)[number]

/** The operator's wishes. */
export interface RetentionPolicy {
  /** `time`: by age; `size`: by room; `hybrid`: by either. */
  mode: RetentionMode
  maxAgeMs: number
  /** Most blob bytes. */
  maxBytes: number
  /** Least room on the disk. */
  minFreeDiskBytes: number
  /** Part of `maxBytes` that only pinned blobs may fill; counted as half of `maxBytes` at most. */
  reservedForPinnedBytes: number
}

export type CollectReason = 'age' | 'size' | 'disk'

export interface Candidate extends StoredBlob {
  why: CollectReason
}

export interface CollectPlan {
  /** In the order they should go: those over age first, then for room the oldest first. None is pinned. */
  candidates: Candidate[]
  /** Bytes to be freed for room; those over age count towards it. */
  neededBytes: number
}

/** Choose candidates. Whether the promise can spare one of them is a second question: `spareCopy`. */
export function planCollection(options: {
  blobs: Iterable<StoredBlob>
  isPinned: (cid: string) => boolean
  policy: RetentionPolicy
  nowMs: number
  freeDiskBytes: number
}): CollectPlan {
  const { blobs, isPinned, policy, nowMs, freeDiskBytes } = options
  const free: StoredBlob[] = []
  let pinnedBytes = 0
  let freeBytes = 0
  for (const blob of blobs) {
    if (isPinned(blob.cid)) {
      pinnedBytes += blob.sizeBytes
    } else {
      freeBytes += blob.sizeBytes
      free.push(blob)
    }
  }

  const reservedBytes = Math.min(policy.reservedForPinnedBytes, policy.maxBytes / 2)
  const overSizeBytes = freeBytes - Math.max(0, policy.maxBytes - Math.max(reservedBytes, pinnedBytes))
  const overDiskBytes = policy.minFreeDiskBytes - freeDiskBytes
  const byRoom = policy.mode !== 'time'
  const neededBytes = byRoom ? Math.max(0, overSizeBytes, overDiskBytes) : 0
  const why: CollectReason = overSizeBytes >= overDiskBytes ? 'size' : 'disk'

  const isOld = (blob: StoredBlob) => policy.mode !== 'size' && nowMs - blob.storedAtMs > policy.maxAgeMs
  const old = free.filter(isOld).sort(oldestFirst)
  const forRoom = neededBytes > 0 ? free.filter(blob => !isOld(blob)).sort(oldestFirst) : []
  const byAge = old.map(blob => ({ ...blob, why: 'age' as const }))
  return { candidates: [...byAge, ...forRoom.map(blob => ({ ...blob, why }))], neededBytes }
}

function oldestFirst(a: StoredBlob, b: StoredBlob): number {
  return a.storedAtMs - b.storedAtMs || (a.cid < b.cid ? -1 : 1)
}

/** What the question of spare copies needs of a node. */
export interface Holder {
  nodeId: string
  shards: readonly ShardRange[]
  shardCount: number
  /** Empty: alone. */
  failureGroup: string
}

export type SpareVerdict = { spare: true } | { spare: false; why: string }

/**
 * The owners that go before this node in the order of who keeps a copy. Without asking anybody: where fewer than
 * `factor` members do, no answer could make this copy a spare one.
 */
export function ownersBefore<T extends Holder>(cid: string, self: Holder, members: readonly T[]): T[] {
  const mine = isOwner(cid, self) ? scoreOf(cid, self.nodeId) : null
  return members.filter(
    ({ nodeId, ...rest }) =>
      nodeId !== self.nodeId && isOwner(cid, { nodeId, ...rest }) && (mine === null || scoreOf(cid, nodeId) < mine)
  )
}

/**
 * Whether the copy of `self` may go.
 * @param confirmed the other nodes that answered just now that they hold the blob; one that did not answer holds nothing
 */
export function spareCopy(cid: string, self: Holder, confirmed: readonly Holder[], factor: number): SpareVerdict {
  const before = ownersBefore(cid, self, confirmed).length
  if (before < factor) {
    return { spare: false, why: `${before} of the ${factor} owners that go before this node are known to hold it` }
  }
  const others = confirmed.filter(({ nodeId }) => nodeId !== self.nodeId)
  const wanted = Math.min(factor, groupsOf([...others, self]))
  const left = groupsOf(others)
  if (left < wanted)
    return { spare: false, why: `the other copies are in ${left} failure groups, ${wanted} are wanted` }
  return { spare: true }
}

function isOwner(cid: string, { shards, shardCount }: Holder): boolean {
  return ownsShard(shards, shardOf(cid, shardCount))
}

/** Not placement's order, which knows failure groups: two nodes may believe different things of those. */
function scoreOf(cid: string, nodeId: string): string {
  return createHash('sha256').update(`${cid}:${nodeId}`, 'utf8').digest('hex')
}

function groupsOf(holders: readonly Holder[]): number {
  return new Set(holders.map(({ nodeId, failureGroup }) => (failureGroup === '' ? `node:${nodeId}` : failureGroup)))
    .size
}
