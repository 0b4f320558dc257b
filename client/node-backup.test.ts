import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { type FileHandle, mkdir, mkdtemp, open, readdir, readlink, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openStore, silentLog } from '../node/index.ts'
import { backUpNode, restoreNode } from './node-backup.ts'

async function* whole(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

const BLOBS = 120
const KEPT_ONE_IN = 6
const BACKUPS = 3

/** Do `onSync` before each sync of a file or folder, by its name, while some work runs. */
async function atSyncs(work: () => Promise<unknown>, onSync: (path: string) => Promise<void> | void): Promise<void> {
  const probe = await open(tmpdir(), 'r')
  const files = Object.getPrototypeOf(probe) as FileHandle
  await probe.close()
  const { sync } = files
  files.sync = async function (this: FileHandle) {
    await onSync(await readlink(`/proc/self/fd/${this.fd}`))
    return await sync.call(this)
  }
  try {
    await work()
  } finally {
    files.sync = sync
  }
}

/** What is synced while some work runs, in order, by name, and whether a file was there at that time. */
async function syncsOf(work: () => Promise<unknown>, file: string): Promise<Array<{ path: string; isThere: boolean }>> {
  const syncs: Array<{ path: string; isThere: boolean }> = []
  await atSyncs(work, path => void syncs.push({ path, isThere: existsSync(file) }))
  return syncs
}

describe('backup of a node with packs', function () {
  this.timeout(30_000)
  let folder: string
  const openAt = (dataDir: string) =>
    openStore({
      dataDir,
      capacityBytes: 2 ** 24,
      secret: Buffer.alloc(32, 1),
      packSmall: true,
      packLimits: { packBytes: 3000, batchBytes: 1000, compactBytesPerSecond: 0 },
      log: silentLog()
    })

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'warren-backup-packs-'))
  })
  afterEach(() => rm(folder, { recursive: true }))

  it('has every blob even when a compaction moves them while they are copied', async () => {
    const dataDir = join(folder, 'data')
    await mkdir(join(dataDir, 'keys'), { recursive: true })
    await writeFile(join(dataDir, 'keys', 'private.key'), 'a key')
    const store = await openAt(dataDir)
    const blobs = new Map<string, Buffer>()
    for (let backup = 0; backup < BACKUPS; backup += 1) {
      const doomed: string[] = []
      for (let i = 0; i < BLOBS; i += 1) {
        const bytes = randomBytes(500 + i)
        const staged = await store.stage(whole(bytes), { maxBytes: 1000 })
        await staged.commit()
        if (i % KEPT_ONE_IN === 0) blobs.set(staged.cid, bytes)
        else doomed.push(staged.cid)
      }
      await Promise.all(doomed.map(cid => store.delete(cid)))
      const to = join(folder, `backup-${backup}`)
      const [{ files }, report] = await Promise.all([
        backUpNode({ dataDir, to, blobs: true }),
        store.compact({ signal: new AbortController().signal })
      ])
      assert.ok(files > 1 && report!.packs > 0)
      assert.deepEqual(
        (await readdir(join(to, 'packs'))).filter(name => !name.endsWith('.pack')),
        []
      )
      const restored = join(folder, `restored-${backup}`)
      await restoreNode({ from: to, dataDir: restored })
      const copy = await openAt(restored)
      assert.equal(copy.stats().quarantinedBlobs, 0)
      for (const [cid, bytes] of blobs) {
        assert.ok(copy.has(cid), cid)
        for await (const piece of copy.read(cid)) assert.ok(bytes.equals(piece))
      }
      await copy.close()
    }
    await store.close()
  })

  it('copies the packs again when some went meanwhile', async function () {
    if (process.platform !== 'linux') this.skip()
    const dataDir = join(folder, 'data')
    await mkdir(join(dataDir, 'keys'), { recursive: true })
    await writeFile(join(dataDir, 'keys', 'private.key'), 'a key')
    const store = await openAt(dataDir)
    const cids: string[] = []
    for (let i = 0; i < BLOBS; i += 1) {
      const staged = await store.stage(whole(randomBytes(500 + i)), { maxBytes: 1000 })
      await staged.commit()
      cids.push(staged.cid)
    }
    const kept = cids.filter((_, i) => i % KEPT_ONE_IN === 0)
    await Promise.all(cids.filter(cid => !kept.includes(cid)).map(cid => store.delete(cid)))
    const to = join(folder, 'backup')
    let compacted = 0
    await atSyncs(
      () => backUpNode({ dataDir, to, blobs: true }),
      async path => {
        // The list of packs is made, and the first is copied.
        if (compacted > 0 || !path.includes('.unfinished/packs/')) return
        compacted = 1
        compacted += (await store.compact({ signal: new AbortController().signal }))!.packs
      }
    )
    assert.ok(compacted > 2)
    await store.close()
    const restored = join(folder, 'restored')
    await restoreNode({ from: to, dataDir: restored })
    const copy = await openAt(restored)
    assert.deepEqual([...copy.list()].sort(), kept.sort())
    await copy.close()
  })
})

describe('backup and restore, for a power cut', () => {
  let folder: string
  beforeEach(async function () {
    if (process.platform !== 'linux') this.skip()
    folder = await realpath(await mkdtemp(join(tmpdir(), 'warren-backup-cut-')))
    for (const name of ['keys', 'blobs/ab']) await mkdir(join(folder, 'data', name), { recursive: true })
    await writeFile(join(folder, 'data', 'keys', 'private.key'), 'a key')
    await writeFile(join(folder, 'data', 'blobs', 'ab', 'abc'), 'a blob')
  })
  afterEach(() => rm(folder, { recursive: true }))
  const paths = (syncs: Array<{ path: string }>) => new Set(syncs.map(({ path }) => path))

  it('sync every new folder before the last rename, and the folder it is in after', async () => {
    const to = join(folder, 'new', 'deeper', 'backup')
    const syncs = await syncsOf(() => backUpNode({ dataDir: join(folder, 'data'), to, blobs: true }), to)
    const before = paths(syncs.filter(({ isThere }) => !isThere))
    for (const name of ['', 'keys', 'blobs', 'blobs/ab', 'manifest.json', 'blobs/ab/abc']) {
      assert.ok(before.has(join(`${to}.unfinished`, name)), name)
    }
    for (const name of ['', 'new', 'new/deeper']) assert.ok(before.has(join(folder, name)), name)
    assert.deepEqual([...paths(syncs.filter(({ isThere }) => isThere))], [join(folder, 'new', 'deeper')])

    const dataDir = join(folder, 'restored', 'data')
    const key = join(dataDir, 'keys', 'private.key')
    const back = await syncsOf(() => restoreNode({ from: to, dataDir }), key)
    const unfinished = join(dataDir, 'restore.unfinished')
    const early = back.filter(({ isThere }) => !isThere).map(({ path }) => path)
    for (const name of ['', 'keys', 'blobs', 'blobs/ab', 'blobs/ab/abc']) {
      assert.ok(early.includes(join(unfinished, name)), name)
    }
    for (const name of ['', 'restored']) assert.ok(early.includes(join(folder, name)), name)
    // Keys come last: those without their blobs would be a node that lost everything.
    assert.equal(early.at(-1), dataDir)
    assert.deepEqual(
      back.filter(({ isThere }) => isThere).map(({ path }) => path),
      [dataDir]
    )
  })

  it('restore nothing of a backup that changes while it is copied', async () => {
    const to = join(folder, 'backup')
    await backUpNode({ dataDir: join(folder, 'data'), to, blobs: true })
    const dataDir = join(folder, 'restored')
    let isChanged = false
    const restoring = atSyncs(
      () => restoreNode({ from: to, dataDir }),
      async () => {
        // The first is of the new data directory: all was found whole by then.
        if (!isChanged) await writeFile(join(to, 'blobs', 'ab', 'abc'), 'other')
        isChanged = true
      }
    )
    await assert.rejects(restoring, /changed while it was copied/)
    assert.deepEqual(await readdir(dataDir), [])
  })
})
