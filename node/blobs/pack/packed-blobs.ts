/**
 * The packed blobs of a store: the index over the log, rebuilt at start, and adding, reading, deleting. It takes no turns
 * and counts no quota: the store does, and calls this within a blob's turn.
 */
import { mkdir, open, rm, stat } from 'node:fs/promises'
import type { Log } from '../../log.ts'
import { errnoOf, FOLDER_MODE, isDiskFull, syncFolder } from '../durable.ts'
import { SEAL_TAG_BYTES, SealBrokenError } from '../seal.ts'
import { cidWith, digestIn, keyOf } from './cid-key.ts'
import type { PackFacts } from './compact-plan.ts'
import {
  bodyOf,
  indexPath,
  listPacks,
  type PackEntry,
  packPath,
  readIndex,
  readRecord,
  scanPack,
  writeIndex
} from './pack-file.ts'
import { type Packed, PackIndex } from './pack-index.ts'
import type { PackLimits } from './pack-limits.ts'
import { createPackLog, type OpenPack, type PackLog, type Written } from './pack-log.ts'
import { deletionOf, RECORD_HEADER_BYTES, type RecordDraft, recordBytes } from './record.ts'
import { createReserve } from './reserve.ts'

/** A small blob, sealed, as it goes into a pack. */
export interface SealedBlob {
  /** Text of `meta.json`. */
  meta: Buffer
  /** One sealed chunk. */
  data: Buffer
}

/** Facts of the packs on disk, bytes. */
export interface PackStats {
  packs: number
  packedBlobs: number
  fileBytes: number
  /** Of them, not those of blobs that are here. */
  deadBytes: number
  /** Memory of the index. */
  indexBytes: number
}

export interface PackedBlobs {
  get: (cid: string) => Packed | null
  list: () => Generator<[cid: string, packed: Packed]>
  /** Durable when it resolves. */
  add: (cid: string, blob: SealedBlob, sizeBytes: number) => Promise<void>
  /** Whether a deletion of it may be in a pack that this start could not read: the next one may then take it for gone. */
  isDoubtful: (cid: string) => boolean
  /** Write one that is here again, newer than any deletion; durable when it resolves. */
  renew: (cid: string, blob: SealedBlob) => Promise<void>
  /**
   * The record of a blob as it is on disk: its checksum holds, its tags are unchecked.
   * @throws SealBrokenError, or the disk's error
   */
  read: (cid: string) => Promise<SealedBlob>
  /** The bytes at its place, whatever they are; null when the disk does not give them. */
  rawBytes: (packed: Packed) => Promise<Buffer | null>
  /** Out of the index, and into it again. */
  forget: (cid: string, packed: Packed) => void
  remember: (cid: string, packed: Packed) => void
  /** Keep a pack until the next start, whatever lives in it: it has a record that could be neither read nor copied. */
  retain: (pack: number) => void
  /** Write its deletion down; durable when it resolves. It is to be forgotten before. */
  bury: (cid: string) => Promise<void>
  stats: () => PackStats
  close: () => Promise<void>
  /** For the compaction. */
  readonly parts: PackParts
}

/** What the compaction works on. */
export interface PackParts {
  folder: string
  limits: PackLimits
  packLog: PackLog
  index: PackIndex
  facts: () => Generator<PackFacts>
  /** Records of a pack, from its index if it has one. */
  entries: (pack: number) => Promise<Iterable<PackEntry>>
  /** Write a record again at the end of the log; the blob is then there. `frees`: room follows, so it may have the reserve. */
  move: (draft: RecordDraft, from: Packed, options: { frees: boolean }) => Promise<void>
  /** Write a deletion again. */
  moveDeletion: (draft: RecordDraft) => Promise<void>
  /** Keep room for deletions again, where there is some. */
  restock: () => Promise<void>
  /** A pack's file is gone. */
  removed: (pack: number) => void
}

/** What a start set aside. */
export interface Damage {
  /** CIDs of damaged records, as far as their headers tell. */
  cids: string[]
  /** Places that held something else. */
  places: number
  /** Packs that could not be gone through. They stay as they are for the next start. */
  packs: number[]
}

/** More records than packs that could not be read can have; a sequence has 48 bits. */
const UNREAD_SEQUENCES = 2 ** 30

export async function openPackedBlobs(options: {
  folder: string
  limits: PackLimits
  log: Log
}): Promise<{ packed: PackedBlobs; damage: Damage }> {
  const { folder, limits, log } = options
  await mkdir(folder, { recursive: true, mode: FOLDER_MODE })
  const index = new PackIndex()
  const bytesOf = new Map<number, number>()
  const liveBytesOf = new Map<number, number>()
  const live = (pack: number, bytes: number) => liveBytesOf.set(pack, (liveBytesOf.get(pack) ?? 0) + bytes)
  const grew = (pack: number, bytes: number) => bytesOf.set(pack, (bytesOf.get(pack) ?? 0) + bytes)
  const retained = new Set<number>()
  const damage: Damage = { cids: [], places: 0, packs: [] }
  let sequence = 0
  /** The highest of what could be read at this start. */
  let readSequence = 0
  const reserve = createReserve({ folder, bytes: limits.reserveBytes, log })

  const { openPack, nextPack } = await start()
  const packLog: PackLog = createPackLog({
    folder,
    limits,
    nextPack,
    open: openPack,
    onWritten: grew,
    onRemoved: pack => bytesOf.delete(pack),
    log
  })

  /** Read all packs' headers; the newest of a CID's records holds. */
  async function start(): Promise<{ openPack: OpenPack | null; nextPack: number }> {
    const { packs, indexes } = await listPacks(folder)
    // The pack goes before its index: one alone is what a crash left of a compaction.
    for (const orphan of indexes) {
      if (packs.includes(orphan)) continue
      await rm(indexPath(folder, orphan), { force: true }).catch(error =>
        log.warn({ pack: orphan, err: error }, 'index without a pack not removed')
      )
    }
    const deletions = new Map<string, number>()
    let openPack: OpenPack | null = null
    for (const pack of packs) {
      const found = await startPack(pack, pack === packs.at(-1)).catch(async (error: unknown) => {
        log.error({ pack, err: error }, 'pack not read: what is in it is not served until a start that can')
        damage.packs.push(pack)
        retained.add(pack)
        const size = await stat(packPath(folder, pack)).then(
          file => file.size,
          () => 0
        )
        bytesOf.set(pack, size)
        return { entries: [], openPack: null }
      })
      openPack = found.openPack ?? openPack
      for (const { offset, record } of found.entries) {
        sequence = Math.max(sequence, record.sequence)
        if (record.kind === 'deletion') {
          const key = keyOf(record.digest)
          deletions.set(key, Math.max(deletions.get(key) ?? 0, record.sequence))
          continue
        }
        const before = index.get(record.digest)
        // Of two equal ones the later is the copy that a compaction made.
        if (before && before.sequence > record.sequence) continue
        const { metaBytes, dataBytes, storedAtMs } = record
        const sizeBytes = dataBytes - SEAL_TAG_BYTES
        index.set(record.digest, { pack, offset, metaBytes, sizeBytes, sequence: record.sequence, storedAtMs })
      }
    }
    // What is written from here on is newer than whatever is in a pack that was not read.
    readSequence = sequence
    if (damage.packs.length > 0) sequence += UNREAD_SEQUENCES
    for (const [key, deletedAt] of deletions) {
      const digest = Buffer.from(key, 'latin1')
      const packed = index.get(digest)
      if (packed && packed.sequence < deletedAt) index.delete(digest)
    }
    for (const [, packed] of index) live(packed.pack, bytesAt(packed))
    // Names of packs that a crash overtook.
    await syncFolder(folder)
    return { openPack, nextPack: Math.max(0, ...packs, ...indexes) + 1 }
  }

  async function startPack(
    pack: number,
    isLast: boolean
  ): Promise<{ entries: Iterable<PackEntry>; openPack: OpenPack | null }> {
    const known = await readIndex(folder, pack)
    if (known) {
      const { size } = await stat(packPath(folder, pack))
      bytesOf.set(pack, size)
      return { entries: whole(known.entries(), Math.min(size, known.coveredBytes)), openPack: null }
    }
    const file = await open(packPath(folder, pack), 'r+')
    let keeps = false
    try {
      const { rows, endBytes, fileBytes, damaged, damagedPlaces } = await scanPack(file, pack)
      for (const { digest, kind } of damaged) if (kind === 'blob') damage.cids.push(cidWith(digest))
      damage.places += damagedPlaces
      if (endBytes < fileBytes) {
        log.info({ pack, tornBytes: fileBytes - endBytes }, 'torn tail of a pack cut off')
        await file.truncate(endBytes)
      }
      // What is counted from here on is durable.
      await file.datasync()
      bytesOf.set(pack, endBytes)
      keeps = isLast && damagedPlaces === 0 && endBytes < limits.packBytes && rows.count < limits.packRecords
      if (!keeps) {
        await writeIndex(folder, pack, rows, endBytes).catch(error =>
          log.warn({ pack, err: error }, 'index of a pack not written')
        )
      }
      const openPack = keeps ? { number: pack, file, syncedBytes: endBytes, rows } : null
      return { entries: rows.entries(pack), openPack }
    } finally {
      if (!keeps) await file.close()
    }
  }

  /** Records that the file is long enough for. */
  function* whole(entries: Iterable<PackEntry>, bytes: number): Generator<PackEntry> {
    for (const entry of entries) {
      if (entry.offset + recordBytes(entry.record) <= bytes) yield entry
      else if (entry.record.kind === 'blob') damage.cids.push(cidWith(entry.record.digest))
    }
  }

  /** Append what makes room on the disk: it may have the reserve. Anything else keeps that filled. */
  async function append(draft: RecordDraft, { frees }: { frees: boolean }): Promise<Written> {
    if (!frees) await reserve.make()
    try {
      return await packLog.append(draft)
    } catch (error) {
      if (!frees || !isDiskFull(error)) throw error
      await reserve.drop()
      return await packLog.append(draft)
    }
  }

  const restock = () => reserve.make().catch(error => log.warn({ err: error }, 'disk full: no room kept for deletions'))

  async function put(draft: RecordDraft, sizeBytes: number, { frees }: { frees: boolean }): Promise<void> {
    const { pack, offset } = await append(draft, { frees })
    const { digest, meta, sequence: own, storedAtMs } = draft
    const packed = { pack, offset, metaBytes: meta.length, sizeBytes, sequence: own, storedAtMs }
    index.set(digest, packed)
    live(pack, bytesAt(packed))
  }

  const packed: PackedBlobs = {
    get: cid => {
      const digest = digestIn(cid)
      return digest && index.get(digest)
    },
    list: function* () {
      for (const [digest, found] of index) yield [cidWith(digest), found]
    },
    add: async (cid, { meta, data }, sizeBytes) => {
      sequence += 1
      const digest = digestIn(cid)!
      await put({ kind: 'blob', digest, sequence, storedAtMs: Date.now(), meta, data }, sizeBytes, { frees: false })
    },
    isDoubtful: cid => {
      const found = index.get(digestIn(cid)!)
      return damage.packs.length > 0 && found !== null && found.sequence <= readSequence
    },
    renew: async (cid, { meta, data }) => {
      const digest = digestIn(cid)!
      const before = index.get(digest)!
      sequence += 1
      const draft = { kind: 'blob', digest, sequence, storedAtMs: Date.now(), meta, data } as const
      await put(draft, before.sizeBytes, { frees: false })
      live(before.pack, -bytesAt(before))
    },
    read: async cid => {
      const digest = digestIn(cid)!
      for (let place = index.get(digest); ; ) {
        if (!place) throw new SealBrokenError('it went while it was looked for')
        try {
          const { raw, record } = await readRecord(folder, { ...place, bytes: bytesAt(place) })
          const isIt = record?.sequence === place.sequence && Buffer.compare(record.digest, digest) === 0
          if (!record || !isIt) throw new SealBrokenError('its place in the pack holds something else')
          const { meta, data, holds } = bodyOf(raw, record)
          if (!holds) throw new SealBrokenError('its record in the pack is damaged')
          return { meta, data }
        } catch (error) {
          const now = index.get(digest)
          // A compaction may have moved it in the meantime.
          if (errnoOf(error) !== 'ENOENT' || !now || now.pack === place.pack) throw error
          place = now
        }
      }
    },
    rawBytes: async place => {
      const read = readRecord(folder, { ...place, bytes: bytesAt(place) })
      return await read.then(
        ({ raw }) => raw,
        () => null
      )
    },
    forget: (cid, place) => {
      index.delete(digestIn(cid)!)
      live(place.pack, -bytesAt(place))
    },
    remember: (cid, place) => {
      index.set(digestIn(cid)!, place)
      live(place.pack, bytesAt(place))
    },
    retain: pack => void retained.add(pack),
    bury: async cid => {
      sequence += 1
      await append(deletionOf(digestIn(cid)!, sequence, Date.now()), { frees: true })
    },
    stats: () => {
      const sum = (values: Iterable<number>) => [...values].reduce((all, one) => all + one, 0)
      const fileBytes = sum(bytesOf.values())
      return {
        packs: bytesOf.size,
        packedBlobs: index.size,
        fileBytes,
        deadBytes: fileBytes - sum(liveBytesOf.values()),
        indexBytes: index.memoryBytes
      }
    },
    close: packLog.close,
    parts: {
      folder,
      limits,
      packLog,
      index,
      facts: function* () {
        for (const [pack, bytes] of bytesOf) {
          yield {
            pack,
            bytes,
            liveBytes: liveBytesOf.get(pack) ?? 0,
            stays: packLog.isOpen(pack) || retained.has(pack)
          }
        }
      },
      entries: async pack => {
        const isOpen = packLog.openEntries(pack)
        if (isOpen) return isOpen
        const known = await readIndex(folder, pack)
        if (known) return known.entries()
        const file = await open(packPath(folder, pack), 'r')
        try {
          return (await scanPack(file, pack)).rows.entries(pack)
        } finally {
          await file.close()
        }
      },
      restock,
      moveDeletion: async draft => void (await append(draft, { frees: true })),
      move: async (draft, from, options) => {
        await put(draft, from.sizeBytes, options)
        live(from.pack, -bytesAt(from))
      },
      removed: pack => {
        bytesOf.delete(pack)
        liveBytesOf.delete(pack)
      }
    }
  }
  if (bytesOf.size > 0) await restock()
  return { packed, damage }
}

/** Bytes of a blob's record. */
export function bytesAt({ metaBytes, sizeBytes }: Pick<Packed, 'metaBytes' | 'sizeBytes'>): number {
  return RECORD_HEADER_BYTES + metaBytes + sizeBytes + SEAL_TAG_BYTES
}
