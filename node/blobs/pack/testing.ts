/** What the tests of packs share: stores with packs, and blobs in them. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { type FileHandle, mkdtemp, open, readdir, readlink, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLog } from '../../log.ts'
import { openStore } from '../store.ts'
import type { BlobStore, StoreOptions } from '../store.types.ts'
import { collect } from '../streams.ts'
import { packPath, scanPack } from './pack-file.ts'

export const KIB = 1024
export const MIB = 1024 * KIB
export const secret = Buffer.alloc(32, 1)
export const never = new AbortController().signal
/** Packs of a few records, so that tests have several. */
export const SHORT_PACKS = { packBytes: 16 * KIB, batchBytes: 8 * KIB, compactBytesPerSecond: 0, shortPacks: 1000 }

export async function* pieces(bytes: Uint8Array, step = 65_536): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += step) yield bytes.subarray(at, at + step)
}

export async function put(store: BlobStore, bytes: Uint8Array, options: { mimeType?: string } = {}) {
  const staged = await store.stage(pieces(bytes), { maxBytes: 64 * MIB, ...options })
  return { cid: staged.cid, ...(await staged.commit()) }
}

/** Store blobs one after the other. */
export async function putAll(store: BlobStore, count: number, sizeBytes = 1000) {
  const blobs = new Map<string, Buffer>()
  for (let i = 0; i < count; i += 1) {
    const bytes = randomBytes(sizeBytes + i)
    blobs.set((await put(store, bytes)).cid, bytes)
  }
  return blobs
}

export async function assertHas(store: BlobStore, blobs: ReadonlyMap<string, Uint8Array>): Promise<void> {
  for (const [cid, bytes] of blobs) assert.ok((await collect(store.read(cid), MIB)).equals(bytes), cid)
  assert.deepEqual([...store.list()].sort(), [...blobs.keys()].sort())
  const { storedBlobs, totalSizeBytes, reservedBytes } = store.stats()
  const sizeBytes = [...blobs.values()].reduce((sum, { length }) => sum + length, 0)
  assert.deepEqual([storedBlobs, totalSizeBytes, reservedBytes], [blobs.size, sizeBytes, 0])
}

/** Names of the files and folders that are synced while some work runs. */
export async function syncsOf(work: () => Promise<unknown>): Promise<Set<string>> {
  const synced = new Set<string>()
  const probe = await open(tmpdir(), 'r')
  const files = Object.getPrototypeOf(probe) as FileHandle
  await probe.close()
  const { sync, datasync } = files
  const noted = (own: () => Promise<void>) =>
    async function (this: FileHandle): Promise<void> {
      synced.add(await readlink(`/proc/self/fd/${this.fd}`))
      await own.call(this)
    }
  Object.assign(files, { sync: noted(sync), datasync: noted(datasync) })
  try {
    await work()
  } finally {
    Object.assign(files, { sync, datasync })
  }
  return synced
}

/** A data directory for each test of the suite that calls this, and stores on it. */
export function packedStores() {
  let dataDir = ''
  let stores: BlobStore[] = []
  const reopen = async (options: Partial<StoreOptions> = {}): Promise<BlobStore> => {
    await Promise.all(stores.splice(0).map(store => store.close()))
    const store = await openStore({
      dataDir,
      capacityBytes: 64 * MIB,
      secret,
      packSmall: true,
      log: silentLog(),
      ...options
    })
    stores.push(store)
    return store
  }
  const packs = async () => (await readdir(join(dataDir, 'packs'))).filter(name => name.endsWith('.pack')).sort()
  const pack = (number: number) => packPath(join(dataDir, 'packs'), number)
  /** Where each record of a pack begins. */
  const offsets = async (number: number): Promise<number[]> => {
    await using file = await open(pack(number), 'r')
    return [...(await scanPack(file, number)).rows.entries(number)].map(({ offset }) => offset)
  }
  const flip = async (path: string, at: number): Promise<void> => {
    await using file = await open(path, 'r+')
    const byte = Buffer.alloc(1)
    await file.read(byte, 0, 1, at)
    byte[0]! ^= 1
    await file.write(byte, 0, 1, at)
  }

  beforeEach(async () => {
    stores = []
    dataDir = await realpath(await mkdtemp(join(tmpdir(), 'warren-packs-')))
  })
  afterEach(async () => {
    await Promise.all(stores.map(store => store.close()))
    await rm(dataDir, { recursive: true, force: true })
  })

  return {
    get dataDir(): string {
      return dataDir
    },
    /** Those that are open; closed after the test. */
    get stores(): BlobStore[] {
      return stores
    },
    /** The store anew, after all that are open were closed. */
    reopen,
    packs,
    pack,
    offsets,
    flip
  }
}
