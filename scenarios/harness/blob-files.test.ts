import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { openStore, silentLog } from '../../node/index.ts'
import { flipByte, heldBlobs, removeBytes, sealedHash } from './blob-files.ts'
import type { Host } from './runtime.ts'

const MAX_BYTES = 1 << 20
const never = new AbortController().signal

describe('the blobs on a host’s disk', () => {
  for (const packSmall of [false, true]) {
    describe(packSmall ? 'with small ones in packs' : 'in folders', () => {
      let dataDir: string
      let store: Awaited<ReturnType<typeof openStore>>
      let host: Host
      before(async () => {
        dataDir = await mkdtemp(join(tmpdir(), 'warren-blob-files-'))
        const secret = Buffer.alloc(32, 1)
        store = await openStore({ dataDir, capacityBytes: 1 << 26, secret, packSmall, log: silentLog() })
        const exec = async ([program, ...args]: string[]) => {
          const env = { ...process.env, DATA_DIR: dataDir }
          return { code: 0, ...(await promisify(execFile)(program!, args, { env })) }
        }
        host = { planned: { name: 'here' }, exec } as unknown as Host
      })
      after(async () => {
        await store.close()
        await rm(dataDir, { recursive: true, force: true })
      })
      async function put(sizeBytes: number): Promise<string> {
        const staged = await store.stage([randomBytes(sizeBytes)] as never, { maxBytes: MAX_BYTES })
        await staged.commit()
        return staged.cid
      }
      const isRight = (cid: string) =>
        Array.fromAsync(store.read(cid)).then(
          () => true,
          () => false
        )

      it('are listed as the store has them, also after deletions and a compaction', async () => {
        const cids: string[] = []
        for (const sizeBytes of [1, 1000, 30_000, 300_000, 5000, 5001]) cids.push(await put(sizeBytes))
        await store.delete(cids[1]!)
        assert.deepEqual((await heldBlobs(host)).sort(), [...store.list()].sort())
        await store.compact({ signal: never })
        assert.deepEqual((await heldBlobs(host)).sort(), [...store.list()].sort())
        assert.equal(await sealedHash(host, cids[1]!), null)
      })

      it('are spoiled one by one, by a byte or whole, so that the store finds each', async () => {
        const [flipped, removed, kept, large] = [await put(900), await put(901), await put(902), await put(300_000)]
        const before = await sealedHash(host, flipped)
        assert.ok(before !== null)
        const spoiled = await flipByte(host, flipped)
        assert.notEqual(spoiled, before)
        assert.equal(await sealedHash(host, flipped), spoiled)
        await removeBytes(host, removed)
        await flipByte(host, large)
        assert.deepEqual([await isRight(flipped), await isRight(removed), await isRight(large)], [false, false, false])
        assert.equal(await isRight(kept), true)
        assert.equal(await sealedHash(host, flipped), null, 'it was set aside')
        assert.deepEqual((await heldBlobs(host)).sort(), [...store.list()].sort())
        await assert.rejects(flipByte(host, flipped), /has no blob/)
        await assert.rejects(removeBytes(host, flipped), /has no blob/)
      })
    })
  }
})
