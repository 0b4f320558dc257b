import assert from 'node:assert/strict'
import { createSecretKey, randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BlobCorruptError } from '../errors.ts'
import { silentLog } from '../log.ts'
import { cidOfDigest } from './cid.ts'
import { buildDag, dagShape } from './dag-shape.ts'
import { keepLeafDigests, LEAVES_FILE, LEAVES_KEPT_ABOVE_BYTES, readKeptDag } from './leaf-digests.ts'
import { openStore } from './store.ts'

const MIB = 1024 * 1024

describe('leaf digests', () => {
  let dataDir: string
  const reopen = () => openStore({ dataDir, capacityBytes: 64 * MIB, secret: Buffer.alloc(32, 1), log: silentLog() })

  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'warren-leaves-'))
  })
  afterEach(() => rm(dataDir, { recursive: true, force: true }))

  async function put(sizeBytes: number) {
    const store = await reopen()
    async function* source() {
      yield randomBytes(sizeBytes)
    }
    const staged = await store.stage(source(), { maxBytes: 64 * MIB })
    await staged.commit()
    const folder = join(dataDir, 'blobs', staged.cid)
    const root = async () => cidOfDigest((await (await store.open(staged.cid))!.dag()).root)
    return { store, cid: staged.cid, folder, root, path: join(folder, LEAVES_FILE) }
  }

  it('are kept sealed beside large blobs and made on demand for small ones', async () => {
    const small = await put(LEAVES_KEPT_ABOVE_BYTES)
    assert.equal(await small.root(), small.cid)
    assert.deepEqual((await readdir(small.folder)).sort(), ['data', 'meta.json'])
    const large = await put(LEAVES_KEPT_ABOVE_BYTES + 1)
    assert.equal((await readFile(large.path)).length, 17 * 32 + 16)
    const before = await readFile(large.path)
    const dag = await (await large.store.open(large.cid))!.dag()
    assert.equal(cidOfDigest(dag.root), large.cid)
    const first = dag.shape.decode(1, 0, dag.block(1, 0))!.subarray(0, 32)
    assert.equal(before.includes(first), false)
  })

  it('are used without reading the blob', async () => {
    const { root, cid, folder } = await put(LEAVES_KEPT_ABOVE_BYTES + 1)
    await truncate(join(folder, 'data'), 10)
    assert.equal(await root(), cid)
  })

  it('are made again when the file is missing, torn or altered, and written for the next time', async () => {
    const { root, cid, path } = await put(LEAVES_KEPT_ABOVE_BYTES + 1)
    const right = await readFile(path)
    const altered = Buffer.from(right)
    altered[40]! ^= 1
    for (const wrong of [null, Buffer.alloc(0), right.subarray(1), altered, Buffer.alloc(right.length)]) {
      if (wrong === null) await rm(path)
      else await writeFile(path, wrong)
      assert.deepEqual(await Promise.all([root(), root()]), [cid, cid])
      assert.ok((await readFile(path)).equals(right))
    }
  })

  it('of a damaged blob are not made: the copy is set aside', async () => {
    const { store, root, cid, folder, path } = await put(LEAVES_KEPT_ABOVE_BYTES + 1)
    await rm(path)
    await truncate(join(folder, 'data'), 10)
    await assert.rejects(root(), BlobCorruptError)
    assert.equal(store.has(cid), false)
  })

  it('are held against the CID even when their seal is right', async () => {
    const key = createSecretKey(Buffer.alloc(32, 9))
    const sizeBytes = LEAVES_KEPT_ABOVE_BYTES + 1
    const digests = Array.from({ length: 17 }, () => randomBytes(32))
    const cid = cidOfDigest(buildDag(dagShape(sizeBytes), Buffer.concat(digests)).root)
    const place = { folder: dataDir, cid, sizeBytes, key }
    await keepLeafDigests(place, digests)
    assert.equal((await readKeptDag(place))?.shape.sizeBytes, sizeBytes)
    await rm(join(dataDir, LEAVES_FILE))
    await keepLeafDigests(place, digests.toReversed())
    assert.equal(await readKeptDag(place), null)
  })
})
