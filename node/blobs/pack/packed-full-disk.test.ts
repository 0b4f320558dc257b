import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { StorageFullError } from '../../errors.ts'
import { assertHas, KIB, MIB, never, packedStores, put, putAll } from './testing.ts'

describe('a store with packs on a full disk', () => {
  const lab = packedStores()
  const { reopen } = lab

  /** Stores on a disk of so many MiB; skips the test where none can be made. */
  async function onDisk(test: Mocha.Context, sizeMib: number, work: (disk: string) => Promise<void>): Promise<void> {
    const disk = join(lab.dataDir, 'disk')
    await mkdir(disk)
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${sizeMib}m`, 'tmpfs', disk], { stdio: 'ignore' })
    } catch {
      console.log('      skipped: a small tmpfs needs root')
      test.skip()
    }
    try {
      await work(disk)
    } finally {
      await Promise.all(lab.stores.splice(0).map(store => store.close()))
      execFileSync('umount', [disk], { stdio: 'ignore' })
    }
  }

  it('answers a full disk with 507, keeps reading, and goes on when there is room again', async function () {
    await onDisk(this, 1, async disk => {
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
    })
  })

  it('deletes on a full disk, and has the room again after a compaction', async function () {
    await onDisk(this, 2, async disk => {
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
    })
  })

  it('moves nothing into the room kept for deletions where that would free none', async function () {
    await onDisk(this, 2, async disk => {
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
    })
  })
})
