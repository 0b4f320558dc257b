/**
 * Compaction: moves the blobs that live in a pack with much that is dead to the end of the log, then removes the pack. The
 * copies are synced before the pack goes, and have the sequence of what they are copies of: a crash at any moment leaves
 * one of the two, or both, which say the same.
 *
 * A deletion goes with its pack only when no other pack holds a record that it is older than; else it is written again.
 */
import { rm } from 'node:fs/promises'
import type { Log } from '../../log.ts'
import { errnoOf, syncFolder } from '../durable.ts'
import { limiter } from '../wait.ts'
import { cidWith, keyOf } from './cid-key.ts'
import { planCompaction } from './compact-plan.ts'
import { bodyOf, indexPath, type PackEntry, packPath, readRecord } from './pack-file.ts'
import type { Packed } from './pack-index.ts'
import { bytesAt, type PackParts } from './packed-blobs.ts'
import { deletionOf, RECORD_HEADER_BYTES, type RecordDraft, type RecordHeader } from './record.ts'

/** Blobs moved at the same time; they share syncs. */
const MOVES_AT_ONCE = 32

export interface CompactReport {
  /** Packs removed. */
  packs: number
  movedBlobs: number
  movedBytes: number
  freedBytes: number
  /** Packs that stay because the disk refused something; why is in the log. */
  failedPacks: number
}

export interface CompactOptions {
  parts: PackParts
  /** Run within the turn of a blob. */
  inTurn: <T>(cid: string, work: () => Promise<T>) => Promise<T>
  /** Set a damaged blob aside; called within its turn. */
  moveAside: (cid: string, packed: Packed, why: string) => Promise<void>
  log: Log
  signal: AbortSignal
}

/** One pass over the packs that are worth it. Ends early when the signal does. A pack that fails does not keep the others. */
export async function compactPacks(options: CompactOptions): Promise<CompactReport> {
  const { parts, inTurn, moveAside, log, signal } = options
  const { folder, limits, index } = parts
  const report: CompactReport = { packs: 0, movedBlobs: 0, movedBytes: 0, freedBytes: 0, failedPacks: 0 }
  const slowly = limiter(limits.compactBytesPerSecond, signal)

  for (const pack of planCompaction(parts.facts(), limits)) {
    if (signal.aborted || report.movedBytes >= limits.compactBytes) break
    try {
      await compact(pack)
    } catch (error) {
      if (signal.aborted) break
      report.failedPacks += 1
      log.error({ pack, err: error }, 'pack not compacted')
    }
  }
  if (report.packs > 0) await parts.restock()
  return report

  async function compact(pack: number): Promise<void> {
    const entries = [...(await parts.entries(pack))]
    const blobs = entries.filter(({ record }) => record.kind === 'blob')
    const deletions = await stillNeeded(pack, entries)
    // A look that was broken off says nothing about what is needed.
    if (signal.aborted || !isWorthIt(pack, deletions.length)) return
    // With half of the reserve all of it is moved and the pack goes; more of it would be spent for nothing.
    const frees = (factsOf(pack)?.liveBytes ?? 0) <= limits.reserveBytes / 2
    for (let at = 0; at < blobs.length; at += MOVES_AT_ONCE) {
      if (signal.aborted) return
      const moved = await Promise.all(blobs.slice(at, at + MOVES_AT_ONCE).map(entry => move(pack, entry, frees)))
      await slowly(moved.reduce((sum, bytes) => sum + bytes, 0))
    }
    // Before the deletions: they would be written again at every pass, and the pack would still stay.
    if (!isEmpty()) return
    await Promise.all(
      deletions.map(({ digest, sequence, storedAtMs }) => {
        return parts.moveDeletion(deletionOf(Uint8Array.from(digest), sequence, storedAtMs))
      })
    )
    if (!isEmpty()) return
    const freedBytes = factsOf(pack)?.bytes ?? 0
    await rm(packPath(folder, pack), { force: true })
    parts.removed(pack)
    report.packs += 1
    report.freedBytes += freedBytes
    await rm(indexPath(folder, pack), { recursive: true, force: true })
    await syncFolder(folder)
    log.info({ pack, freedBytes }, 'pack compacted')

    /** Somebody may live in it that its index does not name, or that the disk did not give: not to be thrown away. */
    function isEmpty(): boolean {
      const facts = factsOf(pack)
      if (facts && !facts.stays && facts.liveBytes === 0) return true
      report.failedPacks += 1
      log.error({ pack, liveBytes: facts?.liveBytes }, 'pack not removed: not all that lives in it could be moved')
      return false
    }
  }

  function factsOf(pack: number) {
    return [...parts.facts()].find(one => one.pack === pack)
  }

  /** Not worth it: a pack whose dead part is deletions that are needed. Their turn comes when what they delete is gone. */
  function isWorthIt(pack: number, deletions: number): boolean {
    const facts = factsOf(pack)
    if (!facts) return false
    const liveBytes = facts.liveBytes + deletions * RECORD_HEADER_BYTES
    return planCompaction(
      [...parts.facts()].map(one => (one.pack === pack ? { ...one, liveBytes } : one)),
      limits
    ).includes(pack)
  }

  /** Move one blob if it still lives at that place; answers the bytes read. */
  async function move(pack: number, { offset, record }: PackEntry, frees: boolean): Promise<number> {
    const livesThere = (packed: Packed | null) => packed?.pack === pack && packed.offset === offset
    const now = index.get(record.digest)
    // One that is nowhere may be about to be deleted, which the disk may refuse: known in its turn.
    if (now && !livesThere(now)) return 0
    const cid = cidWith(record.digest)
    return await inTurn(cid, async () => {
      const packed = index.get(record.digest)
      if (!packed || !livesThere(packed)) return 0
      const bytes = bytesAt(packed)
      const draft = await readDraft(pack, offset, record, bytes)
      // It stays, and its pack with it: the next pass may read it.
      if (draft === null) return 0
      if ('why' in draft) {
        await moveAside(cid, packed, draft.why)
        return bytes
      }
      await parts.move(draft, packed, { frees })
      report.movedBlobs += 1
      report.movedBytes += bytes
      return bytes
    })
  }

  /** The record as it is to be written again; or why it is damaged; null where the disk does not give it. */
  async function readDraft(
    pack: number,
    offset: number,
    { sequence }: RecordHeader,
    bytes: number
  ): Promise<RecordDraft | { why: string } | null> {
    try {
      const { raw, record } = await readRecord(folder, { pack, offset, bytes })
      const body = record?.sequence === sequence ? bodyOf(raw, record) : null
      if (!record || !body?.holds) return { why: 'its record in the pack is damaged' }
      const { digest, storedAtMs, kind } = record
      return { kind, digest, sequence, storedAtMs, meta: body.meta, data: body.data }
    } catch (error) {
      const code = errnoOf(error)
      if (code !== 'ENOENT' && code !== 'EIO') throw error
      log.warn({ pack, offset, code }, 'record not read, left where it is')
      return null
    }
  }

  /** The deletions of a pack that an older record in another pack needs. */
  async function stillNeeded(pack: number, entries: readonly PackEntry[]) {
    const deletions = new Map<string, { record: RecordHeader; needed: boolean }>()
    for (const { record } of entries) {
      const key = keyOf(record.digest)
      const isNewest = record.sequence > (deletions.get(key)?.record.sequence ?? -1)
      if (record.kind === 'deletion' && isNewest) deletions.set(key, { record, needed: false })
    }
    if (deletions.size === 0) return []
    for (const { pack: other, bytes, liveBytes, stays } of [...parts.facts()]) {
      // Where nothing is dead there is nothing that a deletion deletes.
      if (other === pack || (bytes === liveBytes && !stays) || signal.aborted) continue
      let headers = 0
      const others = await parts.entries(other).catch((error: unknown) => {
        log.warn({ pack: other, err: error }, 'pack not read: the deletions that it may need are kept')
        for (const deletion of deletions.values()) deletion.needed = true
        return []
      })
      for (const { record } of others) {
        headers += 1
        if (record.kind !== 'blob') continue
        const deletion = deletions.get(keyOf(record.digest))
        if (deletion && record.sequence < deletion.record.sequence) deletion.needed = true
      }
      await slowly(headers * RECORD_HEADER_BYTES)
    }
    return [...deletions.values()].filter(({ needed }) => needed).map(({ record }) => record)
  }
}
