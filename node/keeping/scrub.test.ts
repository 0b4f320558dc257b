import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { cidOf } from '../blobs/cid.ts'
import { deriveSealSecrets, metaText, openMeta, sealMeta } from '../blobs/seal.ts'
import { openStore } from '../blobs/store.ts'
import { ScrubRunningError } from '../errors.ts'
import { flipBit, put } from '../faults/testing.ts'
import { silentLog } from '../log.ts'
import { eventually } from '../net/testing.ts'
import { startScrub } from './scrub.ts'

const MIB = 1024 * 1024
const secret = Buffer.alloc(32, 3)

describe('scrub', () => {
  let dataDir: string
  const log = silentLog()
  const open = () => openStore({ dataDir, capacityBytes: 64 * MIB, secret, log })
  const scrubOf = (store: Awaited<ReturnType<typeof open>>, bytesPerSecond = 0) =>
    startScrub({ dataDir, store, intervalMs: 0, bytesPerSecond, log })
  const pass = async (scrub: Awaited<ReturnType<typeof scrubOf>>) => {
    await scrub.start().ended
    return scrub.progress()
  }

  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'warren-scrub-'))
  })
  afterEach(() => rm(dataDir, { recursive: true, force: true }))

  it('passes what is right and finds every flipped bit, in data and metadata', async () => {
    const store = await open()
    const cids: string[] = []
    for (let i = 0; i < 40; i += 1) cids.push(await put(store, randomBytes(500 + i * 37)))
    const scrub = await scrubOf(store)
    const clean = await pass(scrub)
    assert.deepEqual([clean.checked, clean.passed, clean.failed, clean.passes], [40, 40, 0, 1])
    for (const [i, cid] of cids.slice(0, 24).entries()) {
      await flipBit(join(dataDir, 'blobs', cid, i < 12 ? 'data' : 'meta.json'))
    }
    const { checked, passed, failed, metadataTampered, failedCids } = await pass(scrub)
    assert.deepEqual([checked, passed, failed, metadataTampered], [40, 16, 24, 12])
    assert.deepEqual([...failedCids].sort(), cids.slice(0, 24).sort())
    assert.equal(store.stats().storedBlobs, 16)
    assert.equal((await pass(scrub)).failed, 0)
  })

  it('sees each single bit of the metadata', async () => {
    const cid = await put(await open(), randomBytes(100))
    const secrets = deriveSealSecrets(secret)
    const text = await readFile(join(dataDir, 'blobs', cid, 'meta.json'))
    for (let bit = 0; bit < text.length * 8; bit += 1) {
      const flipped = Buffer.from(text)
      flipped[bit >> 3]! ^= 1 << (bit & 7)
      assert.throws(() => openMeta(secrets, cid, flipped.toString('utf8')), `bit ${bit}`)
    }
  })

  it('recomputes the CID: bytes sealed under another name are found though every tag holds', async () => {
    const first = await open()
    const cid = await put(first, randomBytes(1000))
    const other = await cidOf([Buffer.from('something else')])
    const secrets = deriveSealSecrets(secret)
    const folder = join(dataDir, 'blobs', cid)
    const { meta, key } = openMeta(secrets, cid, await readFile(join(folder, 'meta.json'), 'utf8'))
    await cp(folder, join(dataDir, 'blobs', other), { recursive: true })
    await writeFile(
      join(dataDir, 'blobs', other, 'meta.json'),
      metaText(sealMeta(secrets, key, { ...meta, cid: other }))
    )
    const store = await open()
    const { checked, failed, metadataTampered, failedCids } = await pass(await scrubOf(store))
    assert.deepEqual([checked, failed, metadataTampered, failedCids], [2, 1, 0, [other]])
    assert.deepEqual([...store.list()], [cid])
  })

  it('sets folders aside that no blob belongs to', async () => {
    const store = await open()
    await put(store, randomBytes(10))
    await mkdir(join(dataDir, 'blobs', await cidOf([Buffer.from('orphan')])))
    const { orphaned, failed } = await pass(await scrubOf(store))
    assert.deepEqual([orphaned, failed], [1, 0])
  })

  it('goes on after a restart where it was, and keeps its counters', async () => {
    const store = await open()
    for (let i = 0; i < 12; i += 1) await put(store, randomBytes(200_000))
    const first = await scrubOf(store, MIB)
    const { ended } = first.start()
    assert.throws(() => first.start(), ScrubRunningError)
    await eventually(() => first.progress().checked >= 4, 'four blobs checked')
    await first.stop()
    assert.equal(await ended, false)
    const done = first.progress().checked
    assert.ok(done < 12)

    const second = await scrubOf(await open())
    assert.equal(second.progress().checked, done)
    const end = await pass(second)
    assert.deepEqual([end.checked, end.passed, end.passes, end.remaining], [12, 12, 1, 0])
    assert.ok(end.bytesChecked <= 13 * 200_000, 'what was done is not read again')
  })

  it('begins anew when its place cannot be read', async () => {
    const store = await open()
    await put(store, randomBytes(10))
    await writeFile(join(dataDir, 'scrub.json'), '{"place":')
    assert.equal((await pass(await scrubOf(store))).checked, 1)
  })

  it('checks a bounded sample on demand, once for many that ask', async () => {
    const store = await open()
    const cids: string[] = []
    for (let i = 0; i < 30; i += 1) cids.push(await put(store, randomBytes(100)))
    const scrub = await scrubOf(store)
    const answers = await Promise.all([scrub.sample(), scrub.sample(), scrub.sample()])
    assert.equal(answers[0].checked, 16)
    assert.ok(answers.every(answer => answer === answers[0]))
  })
})
