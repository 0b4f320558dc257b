import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startNode, type TestNode } from './testing.ts'

/** A chain that nobody answers for. */
const AUTO = {
  WARREN_OFFLINE: '0',
  OWNER_ADDRESS: '0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266',
  VAULT_REGISTRY_ADDRESS: '0x5fbdb2315678afecb367f032d93f642f64180aa3',
  RPC_URL: 'http://127.0.0.1:1',
  P2P_BOOTSTRAP_NODE: 'true',
  NODE_SHARDS: 'auto',
  SHARD_COUNT: '16'
}

describe('a node with NODE_SHARDS=auto', function () {
  this.timeout(60_000)
  let dataDir: string
  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'warren-auto-shards-'))
  })
  afterEach(() => rm(dataDir, { recursive: true, force: true }))

  const json = async (peer: TestNode, path: string) =>
    (await (await fetch(`${peer.url}${path}`)).json()) as Record<string, unknown>

  it('takes nothing before its shards are assigned, and says so', async () => {
    await using peer = await startNode({ ...AUTO, DATA_DIR: dataDir })
    const { mode, assigned, shards, shardsOwned, members } = await json(peer, '/shards')
    assert.deepEqual([mode, assigned, shards, shardsOwned, members], ['auto', false, [], 0, 0])
    assert.equal((await json(peer, '/info')).shardMode, 'auto')
    assert.ok(
      ((await json(peer, '/ready')).waiting as string[]).includes('the shards of this node are not assigned yet')
    )
    assert.equal((await json(peer, '/status')).isAcceptingBlobs, false)
    const answer = await fetch(`${peer.url}/store`, { method: 'POST', body: randomBytes(10) })
    assert.deepEqual([answer.status, ((await answer.json()) as { error: string }).error], [503, 'MEMBERS_UNKNOWN'])
    const metrics = await (await fetch(`${peer.url}/metrics`)).text()
    assert.match(metrics, /^warren_shards_auto\{role="node"\} 1$/m)
    assert.match(metrics, /^warren_shards_owned\{role="node"\} 0$/m)
  })

  it('begins with the ranges it had, and reads what else it has until the owners took it', async () => {
    const foreign = await startNode({ DATA_DIR: dataDir, SHARD_COUNT: '16' })
    const cids = new Set<string>()
    for (let n = 0; n < 8; n++) {
      const answer = await fetch(`${foreign.url}/store`, { method: 'POST', body: randomBytes(10) })
      cids.add(((await answer.json()) as { cid: string }).cid)
    }
    await foreign.stop()
    const ranges = [{ start: 2, end: 5 }]
    await writeFile(join(dataDir, 'shards.json'), JSON.stringify({ shardCount: 16, ranges, members: {} }))
    await using peer = await startNode({ ...AUTO, DATA_DIR: dataDir })
    const { assigned, shards, shardsOwned, changes } = await json(peer, '/shards')
    assert.deepEqual([assigned, shards, shardsOwned, changes], [true, ranges, 4, 0])
    assert.equal(((await json(peer, '/ready')).waiting as string[]).length, 1)
    for (const cid of cids) assert.equal((await fetch(`${peer.url}/retrieve/${cid}`)).status, 200)
    assert.match(await (await fetch(`${peer.url}/metrics`)).text(), /^warren_shards_owned\{role="node"\} 4$/m)
  })
})
