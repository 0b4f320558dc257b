/**
 * Blobs on disk: `blobs/<cid>/data` and `blobs/<cid>/meta.json`, sealed, durable, counted.
 *
 * A blob comes into being by one rename of a complete, synced folder out of `tmp/`; it is never written in place. So a
 * crash leaves either the whole blob or a temporary folder, which the next start removes.
 *
 * Small blobs may be in packs instead (`pack/`), when that is switched on or was. A CID is in one of the two places.
 *
 * One class in one file, past 300 lines: index, quota and disk change together, each within a blob's turn.
 */
import { mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import PQueue from 'p-queue'
import { BlobCorruptError, BlobNotFoundError, StoreFailedError } from '../errors.ts'
import type { Log } from '../log.ts'
import { cidOf, isCid } from './cid.ts'
import { onDisk } from './disk-errors.ts'
import { errnoOf, FILE_MODE, FOLDER_MODE, sharedFolderSync, syncFolder } from './durable.ts'
import { openBlob } from './open-blob.ts'
import { type CompactReport, compactPacks } from './pack/compaction.ts'
import type { Packed } from './pack/pack-index.ts'
import { PACK_LIMITS, type PackLimits } from './pack/pack-limits.ts'
import { openPackedBlobs, type PackedBlobs, type SealedBlob } from './pack/packed-blobs.ts'
import type { SmallBlobs } from './pack/stage-small.ts'
import { quarantineFolder } from './quarantine.ts'
import { createQuota } from './quota.ts'
import { createRecentCopies } from './recent-copies.ts'
import { deriveSealSecrets, plainSize, SEAL_TAG_BYTES, SealBrokenError, type SealSecrets } from './seal.ts'
import { stageBlob, TEMP_PREFIX } from './stage.ts'
import type {
  BlobStat,
  BlobStore,
  OpenBlob,
  ReadRange,
  StagedBlob,
  StageOptions,
  StoredBlob,
  StoreOptions,
  StoreStats
} from './store.types.ts'

/** What the index knows of a blob in a folder; the object's identity tells one copy from a later one of the same CID. */
interface Entry {
  sizeBytes: number
  storedAtMs: number
}
/** A blob wherever it is. A packed copy is told from a later one by its sequence, which it keeps when it is moved. */
type Held = Entry | Packed
const isPacked = (held: Held): held is Packed => 'sequence' in held

const SCAN_AT_ONCE = 64

/** Whether an error says that a copy is damaged or gone; what else a disk answers (no room, no handles) does not. */
function isDamage(error: unknown): boolean {
  return error instanceof SealBrokenError || ['ENOENT', 'EIO', 'ENOTDIR'].includes(errnoOf(error) ?? '')
}

/** Open the store below `dataDir`: sweep what a crash left, count what is there, set broken copies aside. */
export async function openStore(options: StoreOptions): Promise<BlobStore> {
  const store = new DiskStore(options)
  await store.start()
  return store
}

class DiskStore implements BlobStore {
  readonly #blobs: string
  readonly #temp: string
  readonly #quarantine: string
  readonly #secrets: SealSecrets
  readonly #log: Log
  readonly #quota
  readonly #index = new Map<string, Entry>()
  /** By entry, so that a copy never gets what was that of another. */
  readonly #recent = createRecentCopies<Entry>()
  /** One commit, deletion or quarantine of a CID at a time. */
  readonly #turns = new Map<string, Promise<unknown>>()
  readonly #syncBlobs
  /** Trees made from all bytes of a blob. */
  readonly #rebuilds = new PQueue({ concurrency: 1 })
  readonly #packFolder: string
  readonly #packLimits: PackLimits
  readonly #packsSmall: boolean
  /** null: none is here and none is to be. */
  #packs: PackedBlobs | null = null
  #stagedBytes = 0
  #compacting: Promise<CompactReport> | null = null
  #quarantined = 0
  #onQuarantine: (cid: string) => void = () => {}

  constructor({ dataDir, capacityBytes, secret, packSmall = false, packLimits, log }: StoreOptions) {
    this.#blobs = join(dataDir, 'blobs')
    this.#temp = join(dataDir, 'tmp')
    this.#quarantine = join(dataDir, 'quarantine')
    this.#packFolder = join(dataDir, 'packs')
    this.#packsSmall = packSmall
    this.#packLimits = { ...PACK_LIMITS, ...packLimits }
    this.#secrets = deriveSealSecrets(secret)
    this.#log = log
    this.#quota = createQuota(capacityBytes)
    this.#syncBlobs = sharedFolderSync(this.#blobs)
  }

  async start(): Promise<void> {
    await Promise.all([this.#blobs, this.#temp].map(path => mkdir(path, { recursive: true, mode: FOLDER_MODE })))
    for (const name of await readdir(this.#temp)) {
      if (name.startsWith(TEMP_PREFIX)) await rm(join(this.#temp, name), { recursive: true, force: true })
    }
    const names = await readdir(this.#blobs)
    for (let at = 0; at < names.length; at += SCAN_AT_ONCE) {
      await Promise.all(names.slice(at, at + SCAN_AT_ONCE).map(name => this.#count(name)))
    }
    // A crash may have come between a rename and its sync: what is counted from here on is durable.
    await this.#syncBlobs()
    await this.#startPacks()
  }

  /** Packs are read where there are any, whether new blobs go there or not. */
  async #startPacks(): Promise<void> {
    if (!this.#packsSmall && !(await stat(this.#packFolder).catch(() => null))) return
    const { packed, damage } = await openPackedBlobs({
      folder: this.#packFolder,
      limits: this.#packLimits,
      log: this.#log
    })
    this.#packs = packed
    this.#quarantined += damage.cids.length
    if (damage.places > 0 || damage.cids.length > 0 || damage.packs.length > 0)
      this.#log.warn(damage, 'damaged records in packs, not served')
    const twice: string[] = []
    for (const [cid, held] of packed.list()) {
      this.#quota.found(held.sizeBytes)
      if (this.#index.has(cid)) twice.push(cid)
    }
    for (const cid of twice) await this.#keepOne(cid, packed)
  }

  /**
   * Of a copy in a folder and one in a pack, which a crash or a full disk left both, keep the one that is right. Both are
   * small. Where neither can be shown to be, nothing is thrown away: a read finds out.
   */
  async #keepOne(cid: string, packed: PackedBlobs): Promise<void> {
    const [inPack, inFolder] = [packed.get(cid)!, this.#index.get(cid)!]
    const isRight = async (held: Held): Promise<boolean> => {
      const blob = await openBlob({ ...this.#placeOf(cid, held), recent: null, guard: work => work() })
      return (await cidOf(blob.read())) === cid
    }
    if (await isRight(inFolder).catch(() => false)) {
      this.#forget(cid, inPack)
      await packed.bury(cid).catch(error => this.#log.warn({ cid, err: error }, 'second copy not deleted'))
      return
    }
    const packIsRight = await isRight(inPack).catch(() => false)
    this.#forget(cid, packIsRight ? inFolder : inPack)
    if (!packIsRight) {
      packed.retain(inPack.pack)
      return
    }
    this.#quarantined += 1
    this.#log.warn({ cid }, 'copy in a folder damaged, set aside for the one in a pack')
    await quarantineFolder(join(this.#blobs, cid), this.#quarantine, cid).catch(error =>
      this.#log.error({ cid, err: error }, 'damaged blob could not be moved')
    )
  }

  stage(source: AsyncIterable<Uint8Array>, options: StageOptions): Promise<StagedBlob> {
    return stageBlob(source, options, {
      tempFolder: this.#temp,
      secrets: this.#secrets,
      quota: this.#quota,
      adopt: (cid, sizeBytes, folder) => this.#inTurn(cid, () => this.#adopt(cid, sizeBytes, folder)),
      small: this.#packsSmall ? this.#small() : null
    })
  }

  has(cid: string): boolean {
    return this.#held(cid) !== null
  }

  async stat(cid: string): Promise<BlobStat | null> {
    const blob = await this.open(cid)
    if (!blob) return null
    const { sizeBytes, mimeType, createdAtMs } = blob
    return { cid, sizeBytes, mimeType, createdAtMs }
  }

  async open(cid: string, { mayRecall = false }: { mayRecall?: boolean } = {}): Promise<OpenBlob | null> {
    const held = this.#held(cid)
    if (!held) return null
    return await openBlob({
      ...this.#placeOf(cid, held),
      recent: mayRecall && !isPacked(held) ? this.#recent.of(held) : null,
      guard: work => this.#guard(cid, held, work)
    })
  }

  #placeOf(cid: string, held: Held) {
    return {
      cid,
      sizeBytes: held.sizeBytes,
      folder: join(this.#blobs, cid),
      packed: isPacked(held) ? () => this.#packs!.read(cid) : null,
      secrets: this.#secrets,
      rebuilds: this.#rebuilds
    }
  }

  async *read(cid: string, range: ReadRange = {}): AsyncGenerator<Uint8Array> {
    const blob = await this.open(cid)
    if (!blob) throw new BlobNotFoundError(cid)
    yield* blob.read(range)
  }

  delete(cid: string, allowed: () => boolean = () => true): Promise<boolean> {
    return this.#inTurn(cid, async () => {
      const held = this.#held(cid)
      if (!held || !allowed()) return false
      // Out of the index first: whoever pins it now finds that it is not here.
      this.#forget(cid, held)
      const grave = join(this.#temp, `${TEMP_PREFIX}deleted-${cid}-${Date.now()}`)
      try {
        await onDisk(() => (isPacked(held) ? this.#packs!.bury(cid) : rename(join(this.#blobs, cid), grave)))
      } catch (error) {
        this.#remember(cid, held)
        throw error
      }
      if (isPacked(held)) return true
      await onDisk(() => this.#syncBlobs())
      // What cannot be removed now is swept at the next start.
      await rm(grave, { recursive: true, force: true }).catch(error =>
        this.#log.warn({ cid, err: error }, 'not removed')
      )
      return true
    })
  }

  async quarantine(cid: string, why: string): Promise<void> {
    const held = this.#held(cid)
    if (held) await this.#setAside(cid, held, why)
  }

  *list(): Generator<string> {
    yield* this.#index.keys()
    for (const [cid] of this.#packs?.list() ?? []) yield cid
  }

  *entries(): Generator<StoredBlob> {
    for (const [cid, { sizeBytes, storedAtMs }] of this.#index) yield { cid, sizeBytes, storedAtMs }
    for (const [cid, { sizeBytes, storedAtMs }] of this.#packs?.list() ?? []) yield { cid, sizeBytes, storedAtMs }
  }

  async setAsideOrphans(): Promise<number> {
    const unknown = (await readdir(this.#blobs)).filter(name => !this.#index.has(name) && isCid(name))
    let found = 0
    for (const name of unknown) {
      await this.#inTurn(name, async () => {
        // In its turn, no commit is between its rename and its place in the index.
        const folder = join(this.#blobs, name)
        if (this.#index.has(name) || !(await stat(folder).catch(() => null))) return
        found += 1
        this.#log.warn({ cid: name }, 'folder without a blob that is served, set aside')
        await quarantineFolder(folder, this.#quarantine, name)
      })
    }
    return found
  }

  stats(): StoreStats {
    return {
      storedBlobs: this.#index.size + (this.#packs?.stats().packedBlobs ?? 0),
      totalSizeBytes: this.#quota.usedBytes,
      reservedBytes: this.#quota.reservedBytes,
      capacityBytes: this.#quota.capacityBytes,
      quarantinedBlobs: this.#quarantined,
      packs: this.#packs?.stats() ?? null
    }
  }

  async compact({ signal }: { signal: AbortSignal }): Promise<CompactReport | null> {
    const packs = this.#packs
    if (!packs) return null
    this.#compacting ??= compactPacks({
      parts: packs.parts,
      inTurn: (cid, work) => this.#inTurn(cid, work),
      moveAside: (cid, packed, why) => this.#moveAside(cid, packed, why),
      log: this.#log,
      signal
    }).finally(() => {
      this.#compacting = null
    })
    return await onDisk(() => this.#compacting!)
  }

  async close(): Promise<void> {
    await this.#compacting?.catch(() => {})
    await this.#packs?.close()
  }

  onQuarantine(listener: (cid: string) => void): void {
    this.#onQuarantine = listener
  }

  /** Move a complete, synced folder in. False: the blob is here already, and the folder stays where it is. */
  async #adopt(cid: string, sizeBytes: number, folder: string): Promise<boolean> {
    const before = this.#held(cid)
    if (await this.#isWhole(cid)) return false
    const target = join(this.#blobs, cid)
    await rename(folder, target).catch(async (error: unknown) => {
      const code = errnoOf(error)
      if (code !== 'ENOTEMPTY' && code !== 'EEXIST' && code !== 'ENOTDIR') throw error
      // Something the index does not know, so nothing that may be served: out of the way.
      await quarantineFolder(target, this.#quarantine, cid)
      await rename(folder, target)
    })
    try {
      await this.#syncBlobs()
    } catch (error) {
      // Whether the rename will survive is unknown: take it back, so that a later try starts from nothing.
      await rename(target, folder).catch(() => {})
      throw error
    }
    this.#index.set(cid, { sizeBytes, storedAtMs: Date.now() })
    if (before && isPacked(before)) {
      // The next start finds both and keeps the right one.
      await this.#packs!.bury(cid).catch(error => this.#log.warn({ cid, err: error }, 'damaged record not deleted'))
    }
    return true
  }

  /** Write a small blob into the log. False: the blob is here already. */
  async #adoptPacked(cid: string, sizeBytes: number, blob: SealedBlob): Promise<boolean> {
    const packs = this.#packs!
    if (await this.#isWhole(cid)) {
      if (packs.isDoubtful(cid)) await packs.renew(cid, blob)
      return false
    }
    await packs.add(cid, blob, sizeBytes)
    return true
  }

  /** Whether a blob is here, with as many bytes as it should have; a copy that has not is set aside. */
  async #isWhole(cid: string): Promise<boolean> {
    const held = this.#held(cid)
    if (!held) return false
    const size = isPacked(held)
      ? this.#packs!.read(cid).then(({ data }) => data.length - SEAL_TAG_BYTES)
      : stat(join(this.#blobs, cid, 'data')).then(file => plainSize(file.size))
    const found = await size.catch((error: unknown) => {
      // Whatever else the disk answers says nothing of the copy: whoever asked is refused, and it stays.
      if (!isDamage(error)) throw error
      return null
    })
    if (found === held.sizeBytes) return true
    // No deletion for a packed one: what takes its place has a higher sequence.
    await this.#moveAside(cid, held, 'its data is gone or has a wrong size', { bury: false })
    return false
  }

  /** Small blobs, while they are staged and when they are committed. */
  #small(): SmallBlobs {
    const { sealedBytesMax, stagedBytes } = this.#packLimits
    return {
      maxBytes: sealedBytesMax - SEAL_TAG_BYTES,
      takeRoom: () => {
        if (this.#stagedBytes + sealedBytesMax > stagedBytes) return null
        this.#stagedBytes += sealedBytesMax
        let taken = true
        return () => {
          if (taken) this.#stagedBytes -= sealedBytesMax
          taken = false
        }
      },
      adopt: (cid, sizeBytes, blob) => this.#inTurn(cid, () => this.#adoptPacked(cid, sizeBytes, blob))
    }
  }

  async #count(name: string): Promise<void> {
    const folder = join(this.#blobs, name)
    if (!isCid(name)) {
      this.#log.warn({ name }, 'not a blob, left alone')
      return
    }
    const [data, meta] = await Promise.all(
      ['data', 'meta.json'].map(file => stat(join(folder, file)).catch(() => null))
    )
    const sizeBytes = data ? plainSize(data.size) : null
    if (!data || sizeBytes === null || !meta || meta.size === 0) {
      this.#quarantined += 1
      this.#log.warn({ cid: name }, 'blob incomplete on disk, set aside')
      await quarantineFolder(folder, this.#quarantine, name)
      return
    }
    this.#index.set(name, { sizeBytes, storedAtMs: data.mtimeMs })
    this.#quota.found(sizeBytes)
  }

  /** Run a read; a damaged or vanished copy is set aside before the error leaves. */
  async #guard<T>(cid: string, held: Held, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      const code = errnoOf(error)
      if (!isDamage(error)) throw code?.startsWith('E') ? new StoreFailedError(error) : error
      // Deleted while it was read is not damaged.
      if (code === 'ENOENT' && !this.#held(cid)) throw new BlobNotFoundError(cid)
      const why = error instanceof SealBrokenError ? error.message : `the disk answered ${code}`
      await this.#setAside(cid, held, why)
      throw new BlobCorruptError(cid, why)
    }
  }

  async #setAside(cid: string, held: Held, why: string): Promise<void> {
    await this.#inTurn(cid, async () => {
      const now = this.#held(cid)
      const isIt = now && isPacked(now) && isPacked(held) ? now.sequence === held.sequence : now === held
      // Else another reader was first, or a good copy has taken its place.
      if (now && isIt) await this.#moveAside(cid, now, why)
    })
  }

  async #moveAside(cid: string, held: Held, why: string, { bury = true } = {}): Promise<void> {
    this.#forget(cid, held)
    this.#quarantined += 1
    this.#log.warn({ cid, why }, 'blob damaged, set aside')
    try {
      if (isPacked(held)) {
        const isKept = await this.#quarantineRecord(cid, held).catch(error => {
          this.#log.warn({ cid, err: error }, 'no copy of it kept')
          return false
        })
        // A disk that gives nothing now may give it after a restart: without a copy nothing is thrown away.
        if (!isKept) this.#packs!.retain(held.pack)
        else if (bury) await this.#packs!.bury(cid)
      } else {
        await quarantineFolder(join(this.#blobs, cid), this.#quarantine, cid)
        await syncFolder(this.#blobs)
      }
    } catch (error) {
      // It is out of the index, so it is not served; the next start finds it again and reads notice it again.
      this.#log.error({ cid, err: error }, 'damaged blob could not be moved')
    }
    this.#onQuarantine(cid)
  }

  /** Keep the bytes of a damaged record for whoever wants to look; what the disk does not give is not there to be kept. */
  async #quarantineRecord(cid: string, packed: Packed): Promise<boolean> {
    const bytes = await this.#packs!.rawBytes(packed)
    if (!bytes) return false
    const folder = join(this.#temp, `${TEMP_PREFIX}damaged-${cid}-${Date.now()}`)
    await mkdir(folder, { mode: FOLDER_MODE })
    await writeFile(join(folder, 'record'), bytes, { mode: FILE_MODE })
    await quarantineFolder(folder, this.#quarantine, cid)
    return true
  }

  #held(cid: string): Held | null {
    return this.#index.get(cid) ?? this.#packs?.get(cid) ?? null
  }

  #forget(cid: string, held: Held): void {
    if (isPacked(held)) this.#packs!.forget(cid, held)
    else {
      this.#index.delete(cid)
      this.#recent.forget(held)
    }
    this.#quota.freed(held.sizeBytes)
  }

  #remember(cid: string, held: Held): void {
    if (isPacked(held)) this.#packs!.remember(cid, held)
    else this.#index.set(cid, held)
    this.#quota.found(held.sizeBytes)
  }

  #inTurn<T>(cid: string, work: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(cid) ?? Promise.resolve()
    const mine = before.catch(() => {}).then(work)
    this.#turns.set(cid, mine)
    const done = () => {
      if (this.#turns.get(cid) === mine) this.#turns.delete(cid)
    }
    mine.then(done, done)
    return mine
  }
}
