import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { storeFile } from './store-file.ts'

const NODE = fileURLToPath(new URL('../node/main.ts', import.meta.url))

describe('the example store-file', function () {
  this.timeout(60_000)
  let folder: string
  let node: ChildProcess

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'warren-example-'))
    node = spawn(process.execPath, [NODE], {
      stdio: ['ignore', 'pipe', 'ignore'],
      env: {
        PATH: process.env.PATH,
        WARREN_OFFLINE: '1',
        DATA_DIR: join(folder, 'data'),
        PORT: '0',
        P2P_LISTEN_ADDRESSES: '/ip4/127.0.0.1/tcp/0',
        REPLICATION_QUORUM: '1'
      }
    })
  })
  after(async () => {
    if (node.exitCode === null) {
      node.kill('SIGKILL')
      await once(node, 'exit')
    }
    await rm(folder, { recursive: true, force: true })
  })

  it('stores a file on a real node and reads the same back', async () => {
    const [line] = (await once(createInterface({ input: node.stdout! }), 'line', {
      signal: AbortSignal.timeout(20_000)
    })) as [string]
    const ready = JSON.parse(line) as { peerId: string; addresses: string[] }
    const file = join(folder, 'file.bin')
    await writeFile(file, randomBytes(700_000))
    const stored = await storeFile(file, ready.addresses)
    assert.equal(stored.same, true)
    assert.equal(stored.sizeBytes, 700_000)
    assert.equal(stored.peerId, ready.peerId)
    assert.match(stored.cid, /^bafybei/)
  })
})
