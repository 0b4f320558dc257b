import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { cp, mkdir, open, readdir, rename, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { BlobCorruptError } from '../../errors.ts'
import { collect } from '../streams.ts'
import { scanPack } from './pack-file.ts'
import { assertHas, MIB, never, packedStores, put, putAll, SHORT_PACKS } from './testing.ts'

describe('a store with packs whose disk spoils records', () => {
  const lab = packedStores()
  const { reopen, packs, pack, offsets, flip } = lab

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
    await lab.stores[0]!.close()
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
    assert.equal((await readdir(join(lab.dataDir, 'quarantine'))).length, 3)
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
    const store = lab.stores[0]!
    await rename(pack(1), join(lab.dataDir, 'aside'))
    // Reading a folder is answered EISDIR; too many open files or a full disk are met in the same place.
    await mkdir(pack(1))
    await assert.rejects(put(store, bytes), { code: 'STORE_FAILED' })
    assert.ok(store.has(cid))
    await rm(pack(1), { recursive: true })
    await rename(join(lab.dataDir, 'aside'), pack(1))
    assert.equal((await put(store, bytes)).existed, true)
    assert.equal(store.stats().quarantinedBlobs, 0)
    await assertHas(await reopen(), blobs)
  })

  it('deletes nothing for good of what it could not read: the next start has it again', async () => {
    const store = await reopen({ packLimits: SHORT_PACKS })
    const blobs = await putAll(store, 14)
    const cids = [...blobs.keys()]
    await rename(pack(1), join(lab.dataDir, 'aside'))
    await assert.rejects(collect(store.read(cids[0]!), MIB), BlobCorruptError)
    assert.equal(store.has(cids[0]!), false)
    await rename(join(lab.dataDir, 'aside'), pack(1))
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
    await cp(join(lab.dataDir, 'packs'), join(lab.dataDir, 'kept'), { recursive: true })
    await rm(join(lab.dataDir, 'packs'), { recursive: true })
    await put(await reopen({ packSmall: false }), bytes)
    await cp(join(lab.dataDir, 'kept'), join(lab.dataDir, 'packs'), { recursive: true })
    const store = await reopen()
    await assertHas(store, new Map([[cid, bytes]]))
    assert.equal(await store.delete(cid), true)
    await assertHas(await reopen(), new Map())
  })

  it('keeps the copy in the pack where the one in the folder is damaged, over every start', async () => {
    const bytes = randomBytes(3000)
    const { cid } = await put(await reopen({ packSmall: false }), bytes)
    await flip(join(lab.dataDir, 'blobs', cid, 'data'), 100)
    const store = await reopen()
    // The damaged copy cannot be moved away, and a good one comes in a pack.
    await writeFile(join(lab.dataDir, 'quarantine'), '')
    await assert.rejects(collect(store.read(cid), MIB), BlobCorruptError)
    assert.equal((await put(store, bytes)).existed, false)
    await assertHas(store, new Map([[cid, bytes]]))
    for (let start = 0; start < 2; start += 1) await assertHas(await reopen(), new Map([[cid, bytes]]))
    await rm(join(lab.dataDir, 'quarantine'))
    for (let start = 0; start < 2; start += 1) await assertHas(await reopen(), new Map([[cid, bytes]]))
    assert.deepEqual(await readdir(join(lab.dataDir, 'blobs')), [])
  })
})
