/**
 * Blobs on disk: `blobs/<cid>/data` and `blobs/<cid>/meta.json`, sealed, durable, counted.
 *
 * A blob comes into being by one rename of a complete, synced folder out of `tmp/`; it is never written in place. So a
 * crash leaves either the whole blob or a temporary folder, which the next start removes.
 *
 * One class in one file, past 300 lines: index, quota and disk change together, each within a blob's turn.
 */
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import PQueue from 'p-queue'
import { BlobCorruptError, BlobNotFoundError, StoreFailedError } from '../errors.ts'
import type { Log } from '../log.ts'
import { isCid } from './cid.ts'
import { errnoOf, FOLDER_MODE, sharedFolderSync, syncFolder } from './durable.ts'
import { readKeptDag, rebuildDag } from './leaf-digests.ts'
import { quarantineFolder } from './quarantine.ts'
import { createQuota } from './quota.ts'
import { deriveSealSecrets, openMeta, plainSize, SealBrokenError, type SealSecrets } from './seal.ts'
import { readSealed } from './sealed-file.ts'
import { onDisk, stageBlob, TEMP_PREFIX } from './stage.ts'
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
import { readText } from './text-file.ts'

/** What the index knows of a blob; the object's identity tells one copy from a later one of the same CID. */
interface Entry {
  sizeBytes: number
  storedAtMs: number
}

const SCAN_AT_ONCE = 64

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
  /** One commit, deletion or quarantine of a CID at a time. */
  readonly #turns = new Map<string, Promise<unknown>>()
  readonly #syncBlobs
  /** Trees made from all bytes of a blob. */
  readonly #rebuilds = new PQueue({ concurrency: 1 })
  #quarantined = 0
  #onQuarantine: (cid: string) => void = () => {}

  constructor({ dataDir, capacityBytes, secret, log }: StoreOptions) {
    this.#blobs = join(dataDir, 'blobs')
    this.#temp = join(dataDir, 'tmp')
    this.#quarantine = join(dataDir, 'quarantine')
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
  }

  stage(source: AsyncIterable<Uint8Array>, options: StageOptions): Promise<StagedBlob> {
    return stageBlob(source, options, {
      tempFolder: this.#temp,
      secrets: this.#secrets,
      quota: this.#quota,
      adopt: (cid, sizeBytes, folder) => this.#inTurn(cid, () => this.#adopt(cid, sizeBytes, folder))
    })
  }

  has(cid: string): boolean {
    return this.#index.has(cid)
  }

  async stat(cid: string): Promise<BlobStat | null> {
    const blob = await this.open(cid)
    if (!blob) return null
    const { sizeBytes, mimeType, createdAtMs } = blob
    return { cid, sizeBytes, mimeType, createdAtMs }
  }

  async open(cid: string): Promise<OpenBlob | null> {
    const entry = this.#index.get(cid)
    if (!entry) return null
    const guard = <T>(work: () => Promise<T>) => this.#guard(cid, entry, work)
    const { meta, key } = await guard(async () => {
      const opened = openMeta(this.#secrets, cid, await readText(join(this.#blobs, cid, 'meta.json')))
      if (opened.meta.sizeBytes !== entry.sizeBytes) throw new SealBrokenError('the data file has a wrong size')
      return opened
    })
    const path = join(this.#blobs, cid, 'data')
    async function* read(range: ReadRange = {}): AsyncGenerator<Uint8Array> {
      const chunks = readSealed(path, key, meta.sizeBytes, range)
      try {
        for (;;) {
          const next = await guard(() => chunks.next())
          if (next.done) return
          yield next.value
        }
      } finally {
        await chunks.return(undefined)
      }
    }
    const { sizeBytes, mimeType, createdAtMs } = meta
    const place = { folder: join(this.#blobs, cid), cid, sizeBytes, key }
    const dag: OpenBlob['dag'] = async ({ signal } = {}) =>
      (await readKeptDag(place)) ??
      (await this.#rebuilds.add(async () => {
        signal?.throwIfAborted()
        // Somebody who waited before may have made it.
        const kept = await readKeptDag(place)
        return kept ?? (await guard(() => rebuildDag(place, read({ signal }))))
      }))
    return { cid, sizeBytes, mimeType, createdAtMs, read, dag }
  }

  async *read(cid: string, range: ReadRange = {}): AsyncGenerator<Uint8Array> {
    const blob = await this.open(cid)
    if (!blob) throw new BlobNotFoundError(cid)
    yield* blob.read(range)
  }

  delete(cid: string, allowed: () => boolean = () => true): Promise<boolean> {
    return this.#inTurn(cid, async () => {
      const entry = this.#index.get(cid)
      if (!entry || !allowed()) return false
      const grave = join(this.#temp, `${TEMP_PREFIX}deleted-${cid}-${Date.now()}`)
      // Out of the index first: whoever pins it now finds that it is not here.
      this.#forget(cid, entry)
      try {
        await onDisk(() => rename(join(this.#blobs, cid), grave))
      } catch (error) {
        this.#index.set(cid, entry)
        this.#quota.found(entry.sizeBytes)
        throw error
      }
      await onDisk(() => this.#syncBlobs())
      // What cannot be removed now is swept at the next start.
      await rm(grave, { recursive: true, force: true }).catch(error =>
        this.#log.warn({ cid, err: error }, 'not removed')
      )
      return true
    })
  }

  async quarantine(cid: string, why: string): Promise<void> {
    const entry = this.#index.get(cid)
    if (entry) await this.#setAside(cid, entry, why)
  }

  list(): Iterable<string> {
    return this.#index.keys()
  }

  *entries(): Generator<StoredBlob> {
    for (const [cid, { sizeBytes, storedAtMs }] of this.#index) yield { cid, sizeBytes, storedAtMs }
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
      storedBlobs: this.#index.size,
      totalSizeBytes: this.#quota.usedBytes,
      reservedBytes: this.#quota.reservedBytes,
      capacityBytes: this.#quota.capacityBytes,
      quarantinedBlobs: this.#quarantined
    }
  }

  onQuarantine(listener: (cid: string) => void): void {
    this.#onQuarantine = listener
  }

  /** Move a complete, synced folder in. False: the blob is here already, and the folder stays where it is. */
  async #adopt(cid: string, sizeBytes: number, folder: string): Promise<boolean> {
    const target = join(this.#blobs, cid)
    const entry = this.#index.get(cid)
    if (entry) {
      const size = await stat(join(target, 'data')).then(
        file => plainSize(file.size),
        () => null
      )
      if (size === entry.sizeBytes) return false
      await this.#moveAside(cid, entry, 'the data file is gone or has a wrong size')
    }
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
    return true
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
  async #guard<T>(cid: string, entry: Entry, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      const code = errnoOf(error)
      const damaged = error instanceof SealBrokenError || code === 'ENOENT' || code === 'EIO' || code === 'ENOTDIR'
      if (!damaged) throw code?.startsWith('E') ? new StoreFailedError(error) : error
      // Deleted while it was read is not damaged.
      if (code === 'ENOENT' && !this.#index.has(cid)) throw new BlobNotFoundError(cid)
      const why = error instanceof SealBrokenError ? error.message : `the disk answered ${code}`
      await this.#setAside(cid, entry, why)
      throw new BlobCorruptError(cid, why)
    }
  }

  async #setAside(cid: string, entry: Entry, why: string): Promise<void> {
    await this.#inTurn(cid, async () => {
      // Another reader was first, or a good copy has taken its place.
      if (this.#index.get(cid) !== entry) return
      await this.#moveAside(cid, entry, why)
    })
  }

  async #moveAside(cid: string, entry: Entry, why: string): Promise<void> {
    this.#forget(cid, entry)
    this.#quarantined += 1
    this.#log.warn({ cid, why }, 'blob damaged, set aside')
    try {
      await quarantineFolder(join(this.#blobs, cid), this.#quarantine, cid)
      await syncFolder(this.#blobs)
    } catch (error) {
      // It is out of the index, so it is not served; the next start finds it again and reads notice it again.
      this.#log.error({ cid, err: error }, 'damaged blob could not be moved')
    }
    this.#onQuarantine(cid)
  }

  #forget(cid: string, entry: Entry): void {
    this.#index.delete(cid)
    this.#quota.freed(entry.sizeBytes)
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
