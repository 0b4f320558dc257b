/**
 * The open end of the pack log: records of many callers go out in one write and one fdatasync, and each caller is told
 * only after the sync that covers its record. While one batch is being synced the next gathers; nobody waits for company
 * longer than a turn of the event loop.
 *
 * After a failed fdatasync nothing is known of what the file holds behind the last good one (the kernel may have dropped the
 * pages and say yes the next time). So the pack is closed there: cut off, its index naming only what was synced before, and
 * the callers are refused. The next batch begins a new file.
 */
import { type FileHandle, open, rm } from 'node:fs/promises'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Log } from '../../log.ts'
import { errnoOf, FILE_MODE, isDiskFull, syncFolder } from '../durable.ts'
import { type PackEntry, PackRows, packPath, writeIndex } from './pack-file.ts'
import type { PackLimits } from './pack-limits.ts'
import { draftBytes, RECORD_HEADER_BYTES, type RecordDraft, writeRecord } from './record.ts'

/** Where a record went. */
export interface Written {
  pack: number
  offset: number
}

/** The pack that is being written. */
export interface OpenPack {
  number: number
  file: FileHandle
  /** Bytes of it that are synced; the next record goes here. */
  syncedBytes: number
  rows: PackRows
}

export interface PackLogOptions {
  folder: string
  limits: PackLimits
  /** Number of the next pack that is begun. */
  nextPack: number
  /** A pack that a start found without an index and whole. */
  open: OpenPack | null
  /** Told of bytes that are durable, before their callers are. */
  onWritten: (pack: number, bytes: number) => void
  /** Told of a pack that ended without a record and was removed. */
  onRemoved: (pack: number) => void
  log: Log
}

export interface PackLog {
  /** Durable when it resolves. Rejects with the disk's own error; the record is then nowhere. */
  append: (draft: RecordDraft) => Promise<Written>
  /** Records of the pack that is being written; null when another one is asked for. */
  openEntries: (pack: number) => Generator<PackEntry> | null
  isOpen: (pack: number) => boolean
  /** Wait for what is under way and let the file go. */
  close: () => Promise<void>
}

interface Waiting {
  draft: RecordDraft
  resolve: (written: Written) => void
  reject: (error: unknown) => void
}

export function createPackLog(options: PackLogOptions): PackLog {
  const { folder, limits, onWritten, onRemoved, log } = options
  let nextPack = options.nextPack
  let current: OpenPack | null = options.open
  let waiting: Waiting[] = []
  let running: Promise<void> | null = null
  let closed = false

  async function run(): Promise<void> {
    while (waiting.length > 0) {
      // Whoever is ready in this turn of the event loop comes along: one sync where there would be two.
      await nextTurn()
      const batch = nextBatch()
      try {
        const written = await write(batch.map(({ draft }) => draft))
        for (const [at, { resolve }] of batch.entries()) resolve(written[at]!)
      } catch (error) {
        for (const { reject } of batch) reject(error)
      }
      if (current && isFull(current)) await seal(current)
    }
    running = null
  }

  function nextBatch(): Waiting[] {
    let bytes = 0
    let count = 0
    while (count < waiting.length && (count === 0 || bytes < limits.batchBytes)) {
      bytes += draftBytes(waiting[count]!.draft)
      count += 1
    }
    const batch = waiting.slice(0, count)
    waiting = waiting.slice(count)
    return batch
  }

  async function write(drafts: readonly RecordDraft[]): Promise<Written[]> {
    current ??= await begin()
    const pack = current
    const start = pack.syncedBytes
    const bytes = Buffer.allocUnsafe(drafts.reduce((sum, draft) => sum + draftBytes(draft), 0))
    const ends: number[] = []
    for (const draft of drafts) ends.push(writeRecord(bytes, ends.at(-1) ?? 0, pack.number, draft))
    try {
      await writeAt(pack.file, bytes, start)
    } catch (error) {
      if (!isDiskFull(error) || !(await cut(pack))) await giveUp(pack)
      throw error
    }
    try {
      await pack.file.datasync()
    } catch (error) {
      await giveUp(pack)
      throw error
    }
    pack.syncedBytes = start + bytes.length
    onWritten(pack.number, bytes.length)
    return ends.map((_, at) => {
      const begin = ends[at - 1] ?? 0
      pack.rows.add(start + begin, bytes.subarray(begin, begin + RECORD_HEADER_BYTES))
      return { pack: pack.number, offset: start + begin }
    })
  }

  async function begin(): Promise<OpenPack> {
    const number = nextPack
    nextPack += 1
    const file = await open(packPath(folder, number), 'wx', FILE_MODE)
    try {
      // The name is to be as durable as what will be under it.
      await syncFolder(folder)
    } catch (error) {
      await file.close().catch(() => {})
      await rm(packPath(folder, number), { force: true }).catch(() => {})
      throw error
    }
    return { number, file, syncedBytes: 0, rows: new PackRows() }
  }

  function isFull({ syncedBytes, rows }: OpenPack): boolean {
    return syncedBytes >= limits.packBytes || rows.count >= limits.packRecords
  }

  /** Take a half-written batch off again, so that the room is free and the pack goes on. */
  async function cut(pack: OpenPack): Promise<boolean> {
    return await pack.file.truncate(pack.syncedBytes).then(
      () => true,
      () => false
    )
  }

  async function giveUp(pack: OpenPack): Promise<void> {
    log.error({ pack: pack.number, syncedBytes: pack.syncedBytes }, 'pack closed after a failed write')
    await cut(pack)
    await seal(pack)
    // That it ends here is to be known after a crash too. Where the disk refuses this as well, a start reads what is there.
    await syncFolder(folder).catch(error => log.error({ err: error }, 'packs not synced'))
  }

  async function seal(pack: OpenPack): Promise<void> {
    if (current === pack) current = null
    try {
      if (pack.rows.count === 0) {
        await rm(packPath(folder, pack.number), { force: true })
        onRemoved(pack.number)
      } else await writeIndex(folder, pack.number, pack.rows, pack.syncedBytes)
    } catch (error) {
      // The next start reads the pack itself.
      log.warn({ pack: pack.number, code: errnoOf(error) }, 'index of a pack not written')
    }
    await pack.file.close().catch(() => {})
  }

  return {
    append: draft => {
      if (closed) return Promise.reject(new Error('the pack log is closed'))
      return new Promise((resolve, reject) => {
        waiting.push({ draft, resolve, reject })
        running ??= run()
      })
    },
    openEntries: pack => (current?.number === pack ? current.rows.entries(pack) : null),
    isOpen: pack => current?.number === pack,
    close: async () => {
      closed = true
      await running
      await current?.file.close().catch(() => {})
      current = null
    }
  }
}

async function writeAt(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done)
    done += bytesWritten
  }
}
