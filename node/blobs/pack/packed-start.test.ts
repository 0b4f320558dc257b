import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { silentLog } from '../../log.ts'
import { cidOf } from '../cid.ts'
import { SEAL_TAG_BYTES } from '../seal.ts'
import { digestIn } from './cid-key.ts'
import { indexPath } from './pack-file.ts'
import { PACK_LIMITS } from './pack-limits.ts'
import { openPackedBlobs } from './packed-blobs.ts'
import { assertHas, never, packedStores, put, putAll, SHORT_PACKS, syncsOf } from './testing.ts'

describe('a store with packs that starts again', () => {
  const lab = packedStores()
  const { reopen, pack, offsets, flip } = lab

  it('has every whole record after a crash at any byte, and goes on behind it', async () => {
    const store = await reopen()
    const blobs = await putAll(store, 4, 40)
    await store.close()
    const bytes = await readFile(pack(1))
    const starts = [...(await offsets(1)), bytes.length]
    const cids = [...blobs.keys()]
    for (let length = 0; length <= bytes.length; length += 97) {
      for (const tail of [Buffer.alloc(0), Buffer.alloc(300), randomBytes(300)]) {
        await lab.stores.pop()?.close()
        for (const name of await readdir(join(lab.dataDir, 'packs'))) await rm(join(lab.dataDir, 'packs', name))
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
    const store = await reopen()
    const needed = [pack(1), join(lab.dataDir, 'packs')]
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

  it('starts from indexes alone, and makes those anew that are missing or damaged', async () => {
    const blobs = await putAll(await reopen({ packLimits: SHORT_PACKS }), 60)
    await reopen()
    const folder = join(lab.dataDir, 'packs')
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
    const folder = join(lab.dataDir, 'packs')
    const lost = (await offsets(1)).length
    await rename(pack(1), join(lab.dataDir, 'aside'))
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
    await rename(join(lab.dataDir, 'aside'), pack(1))
    await assertHas(await reopen({ packLimits: SHORT_PACKS }), blobs)
  })

  it('writes a blob again that is put while a deletion of it may be in a pack that cannot be read', async () => {
    const first = await reopen({ packLimits: { packRecords: 1 } })
    const bytes = randomBytes(300)
    const { cid } = await put(first, bytes)
    await first.delete(cid)
    await first.close()
    // The record is in pack 1, its deletion in pack 2.
    await rename(pack(2), join(lab.dataDir, 'aside'))
    await rm(indexPath(join(lab.dataDir, 'packs'), 2), { force: true })
    await mkdir(pack(2))
    const store = await reopen()
    assert.deepEqual(await put(store, bytes), { cid, existed: true })
    await assertHas(store, new Map([[cid, bytes]]))
    await store.close()
    await rm(pack(2), { recursive: true })
    await rename(join(lab.dataDir, 'aside'), pack(2))
    await assertHas(await reopen(), new Map([[cid, bytes]]))
  })

  it('counts a pack that cannot be read as damage, and writes nothing older than what may be in it', async () => {
    const bytes = randomBytes(300)
    const { cid } = await put(await reopen({ packLimits: { packRecords: 2 } }), bytes)
    await lab.stores[0]!.delete(cid)
    await lab.stores[0]!.close()
    await rename(pack(1), join(lab.dataDir, 'aside'))
    await rm(indexPath(join(lab.dataDir, 'packs'), 1))
    await mkdir(pack(1))
    const { packed, damage } = await openPackedBlobs({
      folder: join(lab.dataDir, 'packs'),
      limits: PACK_LIMITS,
      log: silentLog()
    })
    assert.deepEqual(damage, { cids: [], places: 0, packs: [1] })
    await packed.close()
    await put(await reopen(), bytes)
    await lab.stores[0]!.close()
    await rm(pack(1), { recursive: true })
    await rename(join(lab.dataDir, 'aside'), pack(1))
    await assertHas(await reopen(), new Map([[cid, bytes]]))
  })

  it('reads a blob where it is now, when its pack went between the look and the read', async () => {
    const folder = join(lab.dataDir, 'packs')
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
})
