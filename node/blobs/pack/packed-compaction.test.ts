import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { copyFile, cp, mkdir, readdir, rename, rm, stat, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { silentLog } from '../../log.ts'
import { cidOf } from '../cid.ts'
import { SEAL_TAG_BYTES } from '../seal.ts'
import { collect } from '../streams.ts'
import { compactPacks } from './compaction.ts'
import { indexPath } from './pack-file.ts'
import { PACK_LIMITS } from './pack-limits.ts'
import { openPackedBlobs } from './packed-blobs.ts'
import { assertHas, MIB, never, packedStores, putAll, SHORT_PACKS } from './testing.ts'

describe('a store with packs that compacts', () => {
  const lab = packedStores()
  const { reopen, packs, pack, offsets, flip } = lab

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
      (await packs()).map(async name => (await stat(join(lab.dataDir, 'packs', name))).size)
    )
    assert.equal(
      after.fileBytes,
      onDisk.reduce((sum, size) => sum + size, 0)
    )
    await assertHas(store, blobs)
    await assertHas(await reopen({ packLimits: SHORT_PACKS }), blobs)
    const none = await lab.stores[0]!.compact({ signal: never })
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
    const old = join(lab.dataDir, 'old')
    await cp(join(lab.dataDir, 'packs'), old, { recursive: true })
    await store.compact({ signal: never })
    // As if the removals had not reached the disk: the moved and what they are copies of.
    for (const name of await readdir(old)) {
      const isThere = await stat(join(lab.dataDir, 'packs', name)).catch(() => null)
      if (!isThere) await copyFile(join(old, name), join(lab.dataDir, 'packs', name))
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
    await rename(pack(1), join(lab.dataDir, 'aside'))
    await symlink(unreadable, pack(1))
    const { packs, failedPacks } = (await store.compact({ signal: never }))!
    assert.deepEqual([packs, failedPacks], [0, 1])
    await rm(pack(1))
    await rename(join(lab.dataDir, 'aside'), pack(1))
    await assertHas(store, blobs)
    assert.ok((await store.compact({ signal: never }))!.packs > 0)
    await assertHas(await reopen(), blobs)
  })

  it('goes on with the other packs when one fails, and says so', async () => {
    const store = await reopen({ packLimits: SHORT_PACKS })
    const blobs = await putAll(store, 60)
    for (const cid of blobs.keys()) await store.delete(cid)
    await rm(indexPath(join(lab.dataDir, 'packs'), 1))
    await rename(pack(1), join(lab.dataDir, 'aside'))
    await mkdir(pack(1))
    const report = await store.compact({ signal: never })
    assert.equal(report!.failedPacks, 1)
    assert.ok(report!.packs > 3, JSON.stringify(report))
    await rm(pack(1), { recursive: true })
    await rename(join(lab.dataDir, 'aside'), pack(1))
    await assertHas(await reopen({ packLimits: SHORT_PACKS }), new Map())
  })

  it('waits for a deletion under way: one that the disk refuses leaves the blob where it was', async () => {
    const limits = { ...PACK_LIMITS, ...SHORT_PACKS }
    const { packed } = await openPackedBlobs({ folder: join(lab.dataDir, 'packs'), limits, log: silentLog() })
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
    const { packed } = await openPackedBlobs({ folder: join(lab.dataDir, 'packs'), limits, log: silentLog() })
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
