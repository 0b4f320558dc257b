import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
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

describe('backup of a node with packs', function () {
  this.timeout(30_000)
  let folder: string
  const open = (dataDir: string) =>
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
    const store = await open(dataDir)
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
      const copy = await open(restored)
      assert.equal(copy.stats().quarantinedBlobs, 0)
      for (const [cid, bytes] of blobs) {
        assert.ok(copy.has(cid), cid)
        for await (const piece of copy.read(cid)) assert.ok(bytes.equals(piece))
      }
      await copy.close()
    }
    await store.close()
  })
})
