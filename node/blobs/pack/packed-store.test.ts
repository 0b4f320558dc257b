import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  copyFile,
  cp,
  type FileHandle,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  readlink,
  realpath,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  writeFile
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { BlobCorruptError, CidMismatchError, PayloadTooLargeError, StorageFullError } from '../../errors.ts'
import { silentLog } from '../../log.ts'
import { cidOf } from '../cid.ts'
import { SEAL_TAG_BYTES } from '../seal.ts'
import { openStore } from '../store.ts'
import type { BlobStore, StoreOptions } from '../store.types.ts'
import { collect } from '../streams.ts'
import { digestIn } from './cid-key.ts'
import { compactPacks } from './compaction.ts'
import { indexPath, packPath, scanPack } from './pack-file.ts'
import { PACK_LIMITS } from './pack-limits.ts'
import { openPackedBlobs } from './packed-blobs.ts'

const KIB = 1024
const MIB = 1024 * KIB
const secret = Buffer.alloc(32, 1)
const never = new AbortController().signal
/** Packs of a few records, so that tests have several. */
const SHORT_PACKS = { packBytes: 16 * KIB, batchBytes: 8 * KIB, compactBytesPerSecond: 0, shortPacks: 1000 }

async function* pieces(bytes: Uint8Array, step = 65_536): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += step) yield bytes.subarray(at, at + step)
}

async function put(store: BlobStore, bytes: Uint8Array, options: { mimeType?: string } = {}) {
  const staged = await store.stage(pieces(bytes), { maxBytes: 64 * MIB, ...options })
  return { cid: staged.cid, ...(await staged.commit()) }
}

/** Store blobs one after the other. */
async function putAll(store: BlobStore, count: number, sizeBytes = 1000) {
  const blobs = new Map<string, Buffer>()
  for (let i = 0; i < count; i += 1) {
    const bytes = randomBytes(sizeBytes + i)
    blobs.set((await put(store, bytes)).cid, bytes)
  }
  return blobs
}

async function assertHas(store: BlobStore, blobs: ReadonlyMap<string, Uint8Array>): Promise<void> {
  for (const [cid, bytes] of blobs) assert.ok((await collect(store.read(cid), MIB)).equals(bytes), cid)
  assert.deepEqual([...store.list()].sort(), [...blobs.keys()].sort())
  const { storedBlobs, totalSizeBytes, reservedBytes } = store.stats()
  const sizeBytes = [...blobs.values()].reduce((sum, { length }) => sum + length, 0)
  assert.deepEqual([storedBlobs, totalSizeBytes, reservedBytes], [blobs.size, sizeBytes, 0])
}

/** Names of the files and folders that are synced while some work runs. */
async function syncsOf(work: () => Promise<unknown>): Promise<Set<string>> {
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

describe('store with packs', () => {
  let dataDir: string
  let stores: BlobStore[]
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
    dataDir = await mkdtemp(join(tmpdir(), 'warren-packs-'))
  })
  afterEach(async () => {
    await Promise.all(stores.map(store => store.close()))
    await rm(dataDir, { recursive: true, force: true })
  })

  it('keeps small blobs in a pack, sealed, and larger ones in folders, over a restart', async () => {
    const store = await reopen()
    const small = Buffer.concat([Buffer.from('a very recognisable beginning'), randomBytes(500)])
    const edge = randomBytes(64 * KIB - 16)
    const larger = randomBytes(64 * KIB - 15)
    const blobs = new Map<string, Buffer>()
    for (const bytes of [small, edge, larger]) {
      const { cid, existed } = await put(store, bytes, { mimeType: 'image/png' })
      assert.equal(existed, false)
      assert.equal(cid, await cidOf([bytes]))
      blobs.set(cid, bytes)
    }
    assert.deepEqual(await readdir(join(dataDir, 'blobs')), [await cidOf([larger])])
    assert.deepEqual(await readdir(join(dataDir, 'tmp')), [])
    assert.equal((await readFile(pack(1))).includes('recognisable'), false)
    await assertHas(store, blobs)

    const again = await reopen()
    await assertHas(again, blobs)
    const { cid } = await put(again, small)
    assert.equal((await put(again, small)).existed, true)
    assert.deepEqual(await again.stat(cid), {
      ...(await again.stat(cid)),
      mimeType: 'image/png',
      sizeBytes: small.length
    })
    const [entry] = [...again.entries()].filter(one => one.cid === cid)
    assert.ok(Math.abs(entry!.storedAtMs - Date.now()) < 60_000)
    assert.equal(entry!.sizeBytes, small.length)
    assert.deepEqual(await packs(), ['00000001.pack'], 'a whole pack is gone on with')
  })

  it('reads any range, and a staged blob before it is committed', async () => {
    const store = await reopen()
    const bytes = randomBytes(5000)
    const staged = await store.stage(pieces(bytes, 700), { maxBytes: MIB })
    for (const end of ['staged', 'stored']) {
      if (end === 'stored') await staged.commit()
      for (const offset of [0, 1, 4999, 5000, 6000]) {
        for (const length of [0, 1, 2, 5000, undefined]) {
          const range = length === undefined ? { offset } : { offset, length }
          const expected = bytes.subarray(offset, length === undefined ? undefined : offset + length)
          const read = end === 'staged' ? staged.read(range) : store.read(staged.cid, range)
          assert.ok((await collect(read, MIB)).equals(expected), `${end} ${JSON.stringify(range)}`)
        }
      }
    }
    const discarded = await store.stage(pieces(randomBytes(10)), { maxBytes: MIB })
    await discarded.discard()
    await assertHas(store, new Map([[staged.cid, bytes]]))
  })

  it('makes proofs of packed blobs possible: the tree of blocks ends in the CID', async () => {
    const store = await reopen()
    const { cid } = await put(store, randomBytes(3000))
    const dag = await (await store.open(cid))!.dag()
    assert.equal(Buffer.from(dag.root).length, 32)
  })

  it('takes many at once, each once', async () => {
    const store = await reopen({ packLimits: SHORT_PACKS })
    const blobs = Array.from({ length: 100 }, (_, i) => randomBytes(1 + i * 20))
    const twice = await Promise.all([...blobs, ...blobs].map(bytes => put(store, bytes)))
    assert.equal(twice.filter(({ existed }) => !existed).length, blobs.length)
    const all = new Map(await Promise.all(blobs.map(async bytes => [await cidOf([bytes]), bytes] as const)))
    assert.ok((await packs()).length > 5)
    await assertHas(store, all)
    await assertHas(await reopen(), all)
  })

  it('refuses what the store refuses, and leaves nothing', async () => {
    const store = await reopen({ capacityBytes: 10_000 })
    const stage = (bytes: Uint8Array, options: object) => store.stage(pieces(bytes), { maxBytes: MIB, ...options })
    await assert.rejects(stage(Buffer.alloc(0), {}), { code: 'BLOB_EMPTY' })
    await assert.rejects(stage(randomBytes(1001), { maxBytes: 1000 }), PayloadTooLargeError)
    await assert.rejects(stage(randomBytes(10), { expectedCid: await cidOf([Buffer.from('other')]) }), CidMismatchError)
    await assert.rejects(stage(randomBytes(10_001), {}), StorageFullError)
    async function* breaking() {
      yield randomBytes(10)
      throw new Error('line cut')
    }
    await assert.rejects(store.stage(breaking(), { maxBytes: MIB }), /line cut/)
    await assertHas(store, new Map())
    assert.deepEqual(await readdir(join(dataDir, 'packs')), [])
  })

  it('stages on disk what it has no memory for', async () => {
    const store = await reopen({ packLimits: { stagedBytes: 2 * 64 * KIB } })
    const staged = await Promise.all(
      Array.from({ length: 5 }, () => store.stage(pieces(randomBytes(100)), { maxBytes: MIB }))
    )
    assert.equal((await readdir(join(dataDir, 'tmp'))).length, 3)
    await Promise.all(staged.map(one => one.commit()))
    assert.equal((await readdir(join(dataDir, 'blobs'))).length, 3)
    assert.equal(store.stats().storedBlobs, 5)
    await put(store, randomBytes(100))
    assert.equal((await readdir(join(dataDir, 'blobs'))).length, 3, 'the memory was given back')
  })

  it('leaves nothing packed out when the switch is off again, and packs nothing more', async () => {
    const blobs = await putAll(await reopen(), 5)
    const store = await reopen({ packSmall: false })
    await assertHas(store, blobs)
    const [gone] = blobs.keys()
    assert.equal(await store.delete(gone!), true)
    blobs.delete(gone!)
    const bytes = randomBytes(100)
    blobs.set((await put(store, bytes)).cid, bytes)
    assert.equal((await readdir(join(dataDir, 'blobs'))).length, 1)
    await assertHas(await reopen({ packSmall: false }), blobs)
    await assertHas(await reopen(), blobs)
    const untouched = await mkdtemp(join(tmpdir(), 'warren-packs-'))
    await openStore({ dataDir: untouched, capacityBytes: MIB, secret, log: silentLog() })
    assert.deepEqual((await readdir(untouched)).sort(), ['blobs', 'tmp'])
    await rm(untouched, { recursive: true })
  })

  it('deletes for good, asks once more before, and takes the same bytes again', async () => {
    const store = await reopen()
    const blobs = await putAll(store, 3)
    const [[cid, bytes]] = blobs as unknown as [[string, Buffer]]
    assert.equal(await store.delete(cid, () => false), false)
    assert.ok(store.has(cid))
    assert.equal(await store.delete(cid), true)
    assert.equal(await store.delete(cid), false)
    blobs.delete(cid)
    await assertHas(store, blobs)
    const again = await reopen()
    await assertHas(again, blobs)
    assert.equal((await put(again, bytes)).existed, false)
    blobs.set(cid, bytes)
    await assertHas(await reopen(), blobs)
  })

  it('has every whole record after a crash at any byte, and goes on behind it', async () => {
    const store = await reopen()
    const blobs = await putAll(store, 4, 40)
    await store.close()
    const bytes = await readFile(pack(1))
    const starts = [...(await offsets(1)), bytes.length]
    const cids = [...blobs.keys()]
    for (let length = 0; length <= bytes.length; length += 97) {
      for (const tail of [Buffer.alloc(0), Buffer.alloc(300), randomBytes(300)]) {
        await stores.pop()?.close()
        for (const name of await readdir(join(dataDir, 'packs'))) await rm(join(dataDir, 'packs', name))
        const found = Buffer.concat([bytes.subarray(0, length), tail])
        await writeFile(pack(1), found)
        const torn = await reopen()
        // By chance the tail begins with the very byte that was torn off.
        const isWhole = (end: number) => found.subarray(0, end).equals(bytes.subarray(0, end))
        const whole = starts.slice(1).filter(isWhole).length
        const expected = new Map(cids.slice(0, whole).map(cid => [cid, blobs.get(cid)!]))
        await assertHas(torn, expected)
        // With a whole header and bytes enough behind it, what was torn off cannot be told from what rotted.
        const isFilled = length >= starts[whole]! + 64 && length + tail.length >= (starts[whole + 1] ?? Infinity)
        assert.equal(torn.stats().quarantinedBlobs, isFilled ? 1 : 0, 'a torn tail is no damage')
        if (!isFilled) assert.equal((await stat(pack(1))).size, starts[whole], 'a torn tail is cut off')
        const more = randomBytes(20)
        expected.set((await put(torn, more)).cid, more)
        await assertHas(await reopen(), expected)
      }
    }
  })

  it('syncs the name of a new pack before it answers, and what a start finds before it counts it', async function () {
    if (process.platform !== 'linux') this.skip()
    dataDir = await realpath(dataDir)
    const store = await reopen()
    const needed = [pack(1), join(dataDir, 'packs')]
    const stored = await syncsOf(() => put(store, randomBytes(500)))
    assert.deepEqual(
      needed.filter(path => !stored.has(path)),
      []
    )
    const started = await syncsOf(() => reopen())
    assert.deepEqual(
      needed.filter(path => !started.has(path)),
      []
    )
  })

  it('sets a damaged record aside and loses none behind it', async () => {
    const blobs = await putAll(await reopen(), 6)
    const starts = await offsets(1)
    const cids = [...blobs.keys()]
    // In the header of one, in the body of another.
    await flip(pack(1), starts[1]! + 10)
    await flip(pack(1), starts[3]! + 500)
    const store = await reopen()
    for (const at of [1, 3]) blobs.delete(cids[at]!)
    await assertHas(store, blobs)
    assert.equal(store.stats().quarantinedBlobs, 1, 'the header of one still tells whose it was')
    const bytes = randomBytes(70)
    blobs.set((await put(store, bytes)).cid, bytes)
    const again = await reopen()
    await assertHas(again, blobs)
    assert.equal(again.stats().quarantinedBlobs, 0, 'told once')
    assert.deepEqual(await packs(), ['00000001.pack', '00000002.pack'])
  })

  it('counts a rotten byte in the last record as damage, and cuts nothing off', async () => {
    const blobs = await putAll(await reopen(), 3)
    await stores[0]!.close()
    const { size } = await stat(pack(1))
    await flip(pack(1), size - 100)
    const store = await reopen()
    assert.equal(store.stats().quarantinedBlobs, 1)
    assert.equal((await stat(pack(1))).size, size)
    blobs.delete([...blobs.keys()][2]!)
    await assertHas(store, blobs)
    const bytes = randomBytes(70)
    blobs.set((await put(store, bytes)).cid, bytes)
    const again = await reopen()
    await assertHas(again, blobs)
    assert.equal(again.stats().quarantinedBlobs, 0, 'told once')
  })

  it('notices a flipped byte at read, tells whoever listens, and serves it never again', async () => {
    const store = await reopen()
    const blobs = await putAll(store, 3)
    const cids = [...blobs.keys()]
    const starts = await offsets(1)
    const noticed: string[] = []
    store.onQuarantine(cid => noticed.push(cid))
    // Sealed bytes, metadata, header.
    for (const [at, where] of [600, 100, 30].entries()) {
      await flip(pack(1), starts[at]! + where)
      await assert.rejects(collect(store.read(cids[at]!), MIB), BlobCorruptError)
      assert.equal(store.has(cids[at]!), false)
    }
    assert.deepEqual(noticed, cids)
    assert.equal((await readdir(join(dataDir, 'quarantine'))).length, 3)
    await assertHas(store, new Map())
    await store.close()
    await assertHas(await reopen(), new Map())
    const healed = await reopen()
    for (const bytes of blobs.values()) assert.equal((await put(healed, bytes)).existed, false)
    await assertHas(await reopen(), blobs)
  })

  it('replaces a packed copy that is not whole when the blob is stored again', async () => {
    const store = await reopen()
    const bytes = randomBytes(500)
    const { cid } = await put(store, bytes)
    await truncate(pack(1), 100)
    assert.equal((await put(store, bytes)).existed, false)
    await assertHas(store, new Map([[cid, bytes]]))
  })

  it('does not call a rotten record stored already: the put replaces it', async () => {
    const store = await reopen()
    const bytes = randomBytes(500)
    const { cid } = await put(store, bytes)
    await flip(pack(1), (await stat(pack(1))).size - 100)
    assert.equal((await put(store, bytes)).existed, false)
    await assertHas(store, new Map([[cid, bytes]]))
    assert.equal(store.stats().quarantinedBlobs, 1)
    await assertHas(await reopen(), new Map([[cid, bytes]]))
  })

  it('takes no refusal of the disk for damage: the put is refused, the blob stays', async () => {
    const blobs = await putAll(await reopen(), 2)
    const [[cid, bytes]] = blobs as unknown as [[string, Buffer]]
    const store = stores[0]!
    await rename(pack(1), join(dataDir, 'aside'))
    // Reading a folder is answered EISDIR; too many open files or a full disk are met in the same place.
    await mkdir(pack(1))
    await assert.rejects(put(store, bytes), { code: 'STORE_FAILED' })
    assert.ok(store.has(cid))
    await rm(pack(1), { recursive: true })
    await rename(join(dataDir, 'aside'), pack(1))
    assert.equal((await put(store, bytes)).existed, true)
    assert.equal(store.stats().quarantinedBlobs, 0)
    await assertHas(await reopen(), blobs)
  })

  it('deletes nothing for good of what it could not read: the next start has it again', async () => {
    const store = await reopen({ packLimits: SHORT_PACKS })
    const blobs = await putAll(store, 14)
    const cids = [...blobs.keys()]
    await rename(pack(1), join(dataDir, 'aside'))
    await assert.rejects(collect(store.read(cids[0]!), MIB), BlobCorruptError)
    assert.equal(store.has(cids[0]!), false)
    await rename(join(dataDir, 'aside'), pack(1))
    for (const cid of cids.slice(1, 12)) {
      await store.delete(cid)
      blobs.delete(cid)
    }
    await store.compact({ signal: never })
    await assertHas(await reopen(), blobs)
  })

  it('replaces a damaged record by the new one, and deletes nothing before that is durable', async () => {
    const store = await reopen()
    const bytes = randomBytes(500)
    const { cid } = await put(store, bytes)
    await flip(pack(1), 10)
    assert.equal((await put(store, bytes)).existed, false)
    await assertHas(await reopen(), new Map([[cid, bytes]]))
    const kinds: string[] = []
    await using file = await open(pack(1), 'r')
    for (const { record } of (await scanPack(file, 1)).rows.entries(1)) kinds.push(record.kind)
    assert.deepEqual(kinds, ['blob'])
    await flip(pack(1), (await offsets(1))[0]! + 30)
    assert.equal((await put(await reopen({ packSmall: false }), bytes)).existed, false)
    await assertHas(await reopen(), new Map([[cid, bytes]]))
  })

  it('cannot be read under another node secret', async () => {
    const { cid } = await put(await reopen(), randomBytes(500))
    const other = await reopen({ secret: Buffer.alloc(32, 2) })
    await assert.rejects(collect(other.read(cid), MIB), BlobCorruptError)
  })

  it('starts from indexes alone, and makes those anew that are missing or damaged', async () => {
    const blobs = await putAll(await reopen({ packLimits: SHORT_PACKS }), 60)
    await reopen()
    const folder = join(dataDir, 'packs')
    const before = await readFile(indexPath(folder, 1))
    await rm(indexPath(folder, 1))
    await flip(indexPath(folder, 2), 200)
    await truncate(indexPath(folder, 3), 50)
    await writeFile(indexPath(folder, 99), 'of a pack that is gone')
    await assertHas(await reopen(), blobs)
    assert.deepEqual(await readFile(indexPath(folder, 1)), before)
    assert.ok((await stat(indexPath(folder, 3))).size > 50)
    await assert.rejects(stat(indexPath(folder, 99)), { code: 'ENOENT' })
    await assertHas(await reopen(), blobs)
  })

  it('starts and compacts beside an index and a pack that cannot be read, and has all when they can again', async () => {
    const first = await reopen({ packLimits: SHORT_PACKS })
    const blobs = await putAll(first, 60)
    const cids = [...blobs.keys()]
    // Its record is in pack 1, its deletion elsewhere.
    await first.delete(cids[0]!)
    blobs.delete(cids[0]!)
    await first.close()
    const folder = join(dataDir, 'packs')
    const lost = (await offsets(1)).length
    await rename(pack(1), join(dataDir, 'aside'))
    await mkdir(pack(1))
    await rm(indexPath(folder, 1))
    await rm(indexPath(folder, 2))
    await mkdir(indexPath(folder, 2))
    await mkdir(indexPath(folder, 99))
    const store = await reopen({ packLimits: SHORT_PACKS })
    assert.equal(store.stats().storedBlobs, 60 - lost)
    for (const cid of cids.slice(lost, 58)) {
      assert.equal(await store.delete(cid), true)
      blobs.delete(cid)
    }
    // So that the pack with that deletion is no longer the open one.
    for (const cid of (await putAll(store, 30)).keys()) await store.delete(cid)
    for (let i = 0; i < 3; i += 1) assert.equal((await store.compact({ signal: never }))!.failedPacks, 0)
    assert.equal((await readdir(folder)).includes('00000002.pack'), false)
    const more = await putAll(store, 3)
    for (const [cid, bytes] of more) blobs.set(cid, bytes)
    await store.close()
    await rm(pack(1), { recursive: true })
    await rename(join(dataDir, 'aside'), pack(1))
    await assertHas(await reopen({ packLimits: SHORT_PACKS }), blobs)
  })

  it('writes a blob again that is put while a deletion of it may be in a pack that cannot be read', async () => {
    const first = await reopen({ packLimits: { packRecords: 1 } })
    const bytes = randomBytes(300)
    const { cid } = await put(first, bytes)
    await first.delete(cid)
    await first.close()
    // The record is in pack 1, its deletion in pack 2.
    await rename(pack(2), join(dataDir, 'aside'))
    await rm(indexPath(join(dataDir, 'packs'), 2), { force: true })
    await mkdir(pack(2))
    const store = await reopen()
    assert.deepEqual(await put(store, bytes), { cid, existed: true })
    await assertHas(store, new Map([[cid, bytes]]))
    await store.close()
    await rm(pack(2), { recursive: true })
    await rename(join(dataDir, 'aside'), pack(2))
    await assertHas(await reopen(), new Map([[cid, bytes]]))
  })
  it('counts a pack that cannot be read as damage, and writes nothing older than what may be in it', async () => {
    const bytes = randomBytes(300)
    const { cid } = await put(await reopen({ packLimits: { packRecords: 2 } }), bytes)
    await stores[0]!.delete(cid)
    await stores[0]!.close()
    await rename(pack(1), join(dataDir, 'aside'))
    await rm(indexPath(join(dataDir, 'packs'), 1))
    await mkdir(pack(1))
    const { packed, damage } = await openPackedBlobs({
      folder: join(dataDir, 'packs'),
      limits: PACK_LIMITS,
      log: silentLog()
    })
    assert.deepEqual(damage, { cids: [], places: 0, packs: [1] })
    await packed.close()
    await put(await reopen(), bytes)
    await stores[0]!.close()
    await rm(pack(1), { recursive: true })
    await rename(join(dataDir, 'aside'), pack(1))
    await assertHas(await reopen(), new Map([[cid, bytes]]))
  })

  it('reads a blob where it is now, when its pack went between the look and the read', async () => {
    const folder = join(dataDir, 'packs')
    const limits = { ...PACK_LIMITS, packRecords: 1 }
    const { packed } = await openPackedBlobs({ folder, limits, log: silentLog() })
    const cid = await cidOf([randomBytes(9)])
    const sizeBytes = 100
    const blob = { meta: Buffer.from('{}\n'), data: randomBytes(sizeBytes + SEAL_TAG_BYTES) }
    await packed.add(cid, blob, sizeBytes)
    const before = packed.get(cid)!
    const { sequence, storedAtMs } = before
    await packed.parts.move({ kind: 'blob', digest: digestIn(cid)!, sequence, storedAtMs, ...blob }, before, {
      frees: false
    })
    const after = packed.get(cid)!
    assert.deepEqual([before.pack, after.pack], [1, 2])
    await rm(pack(1))
    packed.remember(cid, before)
    const reading = packed.read(cid)
    packed.remember(cid, after)
    assert.deepEqual((await reading).data, blob.data)
    // Gone for good is no reason to look again.
    await rm(pack(2))
    await assert.rejects(packed.read(cid), { code: 'ENOENT' })
    await packed.close()
  })

  it('counts records behind the end of a cut pack as damaged', async () => {
    const blobs = await putAll(await reopen({ packLimits: SHORT_PACKS }), 40)
    await (await reopen()).close()
    const starts = await offsets(1)
    await truncate(pack(1), starts.at(-1)!)
    const store = await reopen()
    assert.equal(store.stats().storedBlobs, blobs.size - 1)
    assert.equal(store.stats().quarantinedBlobs, 1)
  })

  it('prefers the copy in a folder where a CID is in both places, and forgets the other for good', async () => {
    const bytes = randomBytes(300)
    const { cid } = await put(await reopen(), bytes)
    await (await reopen()).close()
    await cp(join(dataDir, 'packs'), join(dataDir, 'kept'), { recursive: true })
    await rm(join(dataDir, 'packs'), { recursive: true })
    await put(await reopen({ packSmall: false }), bytes)
    await cp(join(dataDir, 'kept'), join(dataDir, 'packs'), { recursive: true })
    const store = await reopen()
    await assertHas(store, new Map([[cid, bytes]]))
    assert.equal(await store.delete(cid), true)
    await assertHas(await reopen(), new Map())
  })

  it('keeps the copy in the pack where the one in the folder is damaged, over every start', async () => {
    const bytes = randomBytes(3000)
    const { cid } = await put(await reopen({ packSmall: false }), bytes)
    await flip(join(dataDir, 'blobs', cid, 'data'), 100)
    const store = await reopen()
    // The damaged copy cannot be moved away, and a good one comes in a pack.
    await writeFile(join(dataDir, 'quarantine'), '')
    await assert.rejects(collect(store.read(cid), MIB), BlobCorruptError)
    assert.equal((await put(store, bytes)).existed, false)
    await assertHas(store, new Map([[cid, bytes]]))
    for (let start = 0; start < 2; start += 1) await assertHas(await reopen(), new Map([[cid, bytes]]))
    await rm(join(dataDir, 'quarantine'))
    for (let start = 0; start < 2; start += 1) await assertHas(await reopen(), new Map([[cid, bytes]]))
    assert.deepEqual(await readdir(join(dataDir, 'blobs')), [])
  })

  describe('compaction', () => {
    it('frees what was deleted, keeps what was not, and what was deleted stays so', async () => {
      const store = await reopen({ packLimits: SHORT_PACKS })
      const blobs = await putAll(store, 80)
      for (const [at, cid] of [...blobs.keys()].entries()) {
        if (at % 4 === 0) continue
        await store.delete(cid)
        blobs.delete(cid)
      }
      const before = store.stats().packs!
      const report = await store.compact({ signal: never })
      const after = store.stats().packs!
      assert.ok(report!.packs > 3, JSON.stringify(report))
      assert.equal(before.packedBlobs, after.packedBlobs)
      assert.ok(after.fileBytes < before.fileBytes / 2, JSON.stringify({ before, after }))
      const onDisk = await Promise.all(
        (await packs()).map(async name => (await stat(join(dataDir, 'packs', name))).size)
      )
      assert.equal(
        after.fileBytes,
        onDisk.reduce((sum, size) => sum + size, 0)
      )
      await assertHas(store, blobs)
      await assertHas(await reopen({ packLimits: SHORT_PACKS }), blobs)
      const none = await stores[0]!.compact({ signal: never })
      assert.ok(none!.packs <= 2, 'nothing left to do')
    })

    it('is bounded: what is dead never stays more than what lives, a pack apart', async () => {
      const store = await reopen({ packLimits: SHORT_PACKS })
      const live: string[] = []
      for (let round = 0; round < 8; round += 1) {
        for (const cid of (await putAll(store, 20)).keys()) live.push(cid)
        while (live.length > 15) await store.delete(live.splice(Math.floor(live.length / 2), 1)[0]!)
        await store.compact({ signal: never })
        const { fileBytes, deadBytes } = store.stats().packs!
        assert.ok(
          deadBytes <= fileBytes - deadBytes + 2 * SHORT_PACKS.packBytes,
          JSON.stringify({ fileBytes, deadBytes })
        )
      }
      assert.equal((await reopen()).stats().storedBlobs, 15)
    })

    it('keeps a deletion while an older record of its CID is on disk', async () => {
      const store = await reopen({ packLimits: SHORT_PACKS })
      const blobs = await putAll(store, 14)
      const [first] = blobs.keys()
      // The pack with its record is hardly dead and stays; the pack with its deletion goes.
      await store.delete(first!)
      blobs.delete(first!)
      const passing = await putAll(store, 30)
      for (const cid of passing.keys()) await store.delete(cid)
      await store.compact({ signal: never })
      assert.ok((await packs()).includes('00000001.pack'))
      assert.equal((await packs()).includes('00000002.pack'), false)
      await assertHas(store, blobs)
      await assertHas(await reopen(), blobs)
    })

    it('loses nothing when it is overtaken by a crash: both copies say the same', async () => {
      const store = await reopen({ packLimits: SHORT_PACKS })
      const blobs = await putAll(store, 40)
      for (const [at, cid] of [...blobs.keys()].entries()) {
        if (at % 3 === 0) continue
        await store.delete(cid)
        blobs.delete(cid)
      }
      const old = join(dataDir, 'old')
      await cp(join(dataDir, 'packs'), old, { recursive: true })
      await store.compact({ signal: never })
      // As if the removals had not reached the disk: the moved and what they are copies of.
      for (const name of await readdir(old)) {
        const isThere = await stat(join(dataDir, 'packs', name)).catch(() => null)
        if (!isThere) await copyFile(join(old, name), join(dataDir, 'packs', name))
      }
      const again = await reopen({ packLimits: SHORT_PACKS })
      await assertHas(again, blobs)
      const [gone] = blobs.keys()
      await again.delete(gone!)
      blobs.delete(gone!)
      await again.compact({ signal: never })
      await assertHas(again, blobs)
      await assertHas(await reopen(), blobs)
    })

    it('goes on beside readers, writers and deletions', async () => {
      const store = await reopen({ packLimits: SHORT_PACKS })
      const blobs = await putAll(store, 80)
      const cids = [...blobs.keys()]
      const doomed = cids.filter((_, at) => at % 3 !== 0)
      let over = false
      const compacting = (async () => {
        while (!over) {
          await store.compact({ signal: never })
          await nextTurn()
        }
      })()
      const reading = Promise.all(
        cids
          .filter(cid => !doomed.includes(cid))
          .map(async cid => {
            for (let i = 0; i < 10; i += 1) assert.ok((await collect(store.read(cid), MIB)).equals(blobs.get(cid)!))
          })
      )
      const deleting = Promise.all(doomed.map(cid => store.delete(cid)))
      const written = await putAll(store, 40)
      await Promise.all([reading, deleting])
      over = true
      await compacting
      for (const cid of doomed) blobs.delete(cid)
      for (const [cid, bytes] of written) blobs.set(cid, bytes)
      await assertHas(store, blobs)
      await assertHas(await reopen(), blobs)
    })

    it('does not move a rotten record, and tells of it', async () => {
      const store = await reopen({ packLimits: SHORT_PACKS })
      const blobs = await putAll(store, 14)
      const cids = [...blobs.keys()]
      const starts = await offsets(1)
      const noticed: string[] = []
      store.onQuarantine(cid => noticed.push(cid))
      await flip(pack(1), starts[0]! + 700)
      for (const cid of cids.slice(1, 12)) {
        await store.delete(cid)
        blobs.delete(cid)
      }
      await store.compact({ signal: never })
      assert.deepEqual(noticed, [cids[0]])
      blobs.delete(cids[0]!)
      await assertHas(store, blobs)
      await assertHas(await reopen(), blobs)
    })

    it('leaves a record where it is that the disk does not give', async function () {
      // Reading it at a place where no memory is answers EIO.
      const unreadable = '/proc/self/mem'
      if (!(await stat(unreadable).catch(() => null))) this.skip()
      const store = await reopen({ packLimits: SHORT_PACKS })
      const blobs = await putAll(store, 14)
      for (const cid of [...blobs.keys()].slice(1, 12)) {
        await store.delete(cid)
        blobs.delete(cid)
      }
      await rename(pack(1), join(dataDir, 'aside'))
      await symlink(unreadable, pack(1))
      const { packs, failedPacks } = (await store.compact({ signal: never }))!
      assert.deepEqual([packs, failedPacks], [0, 1])
      await rm(pack(1))
      await rename(join(dataDir, 'aside'), pack(1))
      await assertHas(store, blobs)
      assert.ok((await store.compact({ signal: never }))!.packs > 0)
      await assertHas(await reopen(), blobs)
    })

    it('goes on with the other packs when one fails, and says so', async () => {
      const store = await reopen({ packLimits: SHORT_PACKS })
      const blobs = await putAll(store, 60)
      for (const cid of blobs.keys()) await store.delete(cid)
      await rm(indexPath(join(dataDir, 'packs'), 1))
      await rename(pack(1), join(dataDir, 'aside'))
      await mkdir(pack(1))
      const report = await store.compact({ signal: never })
      assert.equal(report!.failedPacks, 1)
      assert.ok(report!.packs > 3, JSON.stringify(report))
      await rm(pack(1), { recursive: true })
      await rename(join(dataDir, 'aside'), pack(1))
      await assertHas(await reopen({ packLimits: SHORT_PACKS }), new Map())
    })

    it('waits for a deletion under way: one that the disk refuses leaves the blob where it was', async () => {
      const limits = { ...PACK_LIMITS, ...SHORT_PACKS }
      const { packed } = await openPackedBlobs({ folder: join(dataDir, 'packs'), limits, log: silentLog() })
      const blobs = new Map<string, Buffer>()
      for (let i = 0; i < 14; i += 1) {
        const data = randomBytes(1500)
        const cid = await cidOf([data])
        blobs.set(cid, data)
        await packed.add(cid, { meta: Buffer.from('{}'), data }, data.length - SEAL_TAG_BYTES)
      }
      const [kept, ...others] = blobs.keys()
      for (const cid of others) {
        packed.forget(cid, packed.get(cid)!)
        await packed.bury(cid)
      }
      const place = packed.get(kept!)!
      packed.forget(kept!, place)
      const [reached, ended] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
      const compacting = compactPacks({
        parts: packed.parts,
        inTurn: async (cid, work) => {
          if (cid !== kept) return await work()
          reached.resolve()
          await ended.promise
          return await work()
        },
        moveAside: async () => assert.fail('nothing is damaged'),
        log: silentLog(),
        signal: never
      })
      await Promise.race([reached.promise, compacting])
      packed.remember(kept!, place)
      ended.resolve()
      assert.equal((await compacting).packs, 1)
      assert.ok((await packed.read(kept!)).data.equals(blobs.get(kept!)!))
      await packed.close()
    })

    it('ends when it is told to, and loses no deletion by it', async () => {
      const store = await reopen({ packLimits: { ...SHORT_PACKS, packRecords: 8 } })
      const blobs = await putAll(store, 16)
      // A pack of nothing but deletions, some of them of blobs whose pack stays.
      const cids = [...blobs.keys()]
      for (const cid of [...cids.slice(0, 3), ...cids.slice(8, 13)]) {
        await store.delete(cid)
        blobs.delete(cid)
      }
      await store.close()
      assert.deepEqual(await packs(), ['00000001.pack', '00000002.pack', '00000003.pack'])
      const limits = { ...PACK_LIMITS, ...SHORT_PACKS, packRecords: 8 }
      const { packed } = await openPackedBlobs({ folder: join(dataDir, 'packs'), limits, log: silentLog() })
      const stop = new AbortController()
      const entries = async (pack: number) => {
        if (pack === 3) stop.abort()
        return await packed.parts.entries(pack)
      }
      await compactPacks({
        parts: { ...packed.parts, entries },
        inTurn: (_cid, work) => work(),
        moveAside: async () => assert.fail('nothing is damaged'),
        log: silentLog(),
        signal: stop.signal
      })
      assert.ok(stop.signal.aborted)
      await packed.close()
      await assertHas(await reopen(), blobs)
    })
  })

  it('answers a full disk with 507, keeps reading, and goes on when there is room again', async function () {
    const disk = join(dataDir, 'disk')
    await mkdir(disk)
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', disk], { stdio: 'ignore' })
    } catch {
      console.log('      skipped: a small tmpfs needs root')
      this.skip()
    }
    try {
      const store = await reopen({ dataDir: disk, packLimits: { compactBytesPerSecond: 0, reserveBytes: 64 * KIB } })
      const blobs = new Map<string, Buffer>()
      let refused = 0
      for (let i = 0; i < 40; i += 1) {
        const bytes = randomBytes(60_000)
        const done = await put(store, bytes).catch(error => {
          assert.ok(error instanceof StorageFullError, String(error))
          return null
        })
        if (done) blobs.set(done.cid, bytes)
        else refused += 1
      }
      assert.ok(refused > 10 && blobs.size > 5, `${refused} refused, ${blobs.size} stored`)
      await assertHas(store, blobs)
      assert.deepEqual(await readdir(join(disk, 'packs')), ['00000001.pack', 'reserve'], 'a refusal begins no new pack')
      await assertHas(await reopen({ dataDir: disk, packLimits: { reserveBytes: 64 * KIB } }), blobs)
      await stores[0]!.close()
    } finally {
      execFileSync('umount', [disk], { stdio: 'ignore' })
    }
  })

  it('deletes on a full disk, and has the room again after a compaction', async function () {
    const disk = join(dataDir, 'disk')
    await mkdir(disk)
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', disk], { stdio: 'ignore' })
    } catch {
      console.log('      skipped: a small tmpfs needs root')
      this.skip()
    }
    try {
      const packLimits = { packBytes: 256 * KIB, compactBytesPerSecond: 0, reserveBytes: 128 * KIB }
      const store = await reopen({ dataDir: disk, packLimits })
      const cids: string[] = []
      for (const sizeBytes of [30_000, 3000, 200, 10]) {
        for (let refused = 0; refused < 3; ) {
          const done = await put(store, randomBytes(sizeBytes)).catch(() => null)
          if (done) cids.push(done.cid)
          else refused += 1
        }
      }
      // Nothing but deletions finds room, whatever else asks for it.
      await writeFile(join(disk, 'filler'), Buffer.alloc(2 * MIB)).catch(() => {})
      for (const cid of cids) assert.equal(await store.delete(cid), true)
      assert.ok((await store.compact({ signal: never }))!.packs > 0)
      await rm(join(disk, 'filler'))
      const bytes = randomBytes(30_000)
      const { cid } = await put(store, bytes)
      assert.equal((await stat(join(disk, 'packs', 'reserve'))).size, packLimits.reserveBytes)
      await assertHas(await reopen({ dataDir: disk, packLimits }), new Map([[cid, bytes]]))
    } finally {
      await Promise.all(stores.splice(0).map(store => store.close()))
      execFileSync('umount', [disk], { stdio: 'ignore' })
    }
  })

  it('moves nothing into the room kept for deletions where that would free none', async function () {
    const disk = join(dataDir, 'disk')
    await mkdir(disk)
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', disk], { stdio: 'ignore' })
    } catch {
      console.log('      skipped: a small tmpfs needs root')
      this.skip()
    }
    try {
      const packLimits = { packBytes: 256 * KIB, compactBytesPerSecond: 0, reserveBytes: 64 * KIB }
      const store = await reopen({ dataDir: disk, packLimits })
      const blobs = await putAll(store, 6, 60_000)
      for (const cid of [...blobs.keys()].slice(0, 3)) {
        await store.delete(cid)
        blobs.delete(cid)
      }
      await writeFile(join(disk, 'filler'), Buffer.alloc(2 * MIB)).catch(() => {})
      const { packs, failedPacks } = (await store.compact({ signal: never }))!
      assert.deepEqual([packs, failedPacks], [0, 1])
      assert.equal((await stat(join(disk, 'packs', 'reserve'))).size, packLimits.reserveBytes)
      await assertHas(store, blobs)
      await rm(join(disk, 'filler'))
      assert.equal((await store.compact({ signal: never }))!.packs, 1)
      await assertHas(store, blobs)
    } finally {
      await Promise.all(stores.splice(0).map(store => store.close()))
      execFileSync('umount', [disk], { stdio: 'ignore' })
    }
  })
})
