import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CidMismatchError, PayloadTooLargeError, StorageFullError } from '../../errors.ts'
import { silentLog } from '../../log.ts'
import { cidOf } from '../cid.ts'
import { openStore } from '../store.ts'
import { collect } from '../streams.ts'
import { assertHas, KIB, MIB, packedStores, pieces, put, putAll, SHORT_PACKS, secret } from './testing.ts'

describe('store with packs', () => {
  const lab = packedStores()
  const { reopen, packs, pack } = lab

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
    assert.deepEqual(await readdir(join(lab.dataDir, 'blobs')), [await cidOf([larger])])
    assert.deepEqual(await readdir(join(lab.dataDir, 'tmp')), [])
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
    assert.deepEqual(await readdir(join(lab.dataDir, 'packs')), [])
  })

  it('stages on disk what it has no memory for', async () => {
    const store = await reopen({ packLimits: { stagedBytes: 2 * 64 * KIB } })
    const staged = await Promise.all(
      Array.from({ length: 5 }, () => store.stage(pieces(randomBytes(100)), { maxBytes: MIB }))
    )
    assert.equal((await readdir(join(lab.dataDir, 'tmp'))).length, 3)
    await Promise.all(staged.map(one => one.commit()))
    assert.equal((await readdir(join(lab.dataDir, 'blobs'))).length, 3)
    assert.equal(store.stats().storedBlobs, 5)
    await put(store, randomBytes(100))
    assert.equal((await readdir(join(lab.dataDir, 'blobs'))).length, 3, 'the memory was given back')
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
    assert.equal((await readdir(join(lab.dataDir, 'blobs'))).length, 1)
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
})
