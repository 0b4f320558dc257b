import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eventually } from '../net/testing.ts'
import { startNode, type TestNode } from '../testing.ts'
import { shardOf } from './shards.ts'

const SHARDS = 16
const ENV = { SHARD_COUNT: String(SHARDS), REPLICATION_FACTOR: '2', REPLICATION_QUORUM: '1' }

describe('a node whose ranges were narrowed', function () {
  this.timeout(60_000)
  let dataDir: string
  const running: TestNode[] = []

  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'warren-hand-over-'))
  })
  afterEach(async () => {
    await Promise.all(running.splice(0).map(node => node.stop()))
    await rm(dataDir, { recursive: true, force: true })
  })
  async function start(name: string, shards: string, bootstrap: TestNode[] = []): Promise<TestNode> {
    const peers = bootstrap.map(({ node }) => node.addresses().join()).join()
    const node = await startNode({
      ...ENV,
      NODE_ID: name,
      NODE_SHARDS: shards,
      DATA_DIR: join(dataDir, name),
      ...(peers === '' ? {} : { P2P_BOOTSTRAP_PEERS: peers })
    })
    running.push(node)
    return node
  }
  async function write({ url }: TestNode, count: number): Promise<Map<string, Buffer>> {
    const written = new Map<string, Buffer>()
    for (let n = 0; n < count; n++) {
      const bytes = randomBytes(1000 + n)
      const answer = await fetch(`${url}/store`, { method: 'POST', body: bytes })
      written.set(((await answer.json()) as { cid: string }).cid, bytes)
    }
    return written
  }

  it('hands what it has no more over to the owners, deletes only that, and the bytes are read everywhere', async () => {
    const alone = await start('first', `0-${SHARDS - 1}`)
    const blobs = await write(alone, 20)
    assert.equal(alone.node.store.stats().storedBlobs, 20)
    await alone.stop()
    running.length = 0

    const second = await start('second', `8-${SHARDS - 1}`)
    const third = await start('third', `8-${SHARDS - 1}`, [second])
    const first = await start('first', '0-7', [second])
    const foreign = [...blobs.keys()].filter(cid => shardOf(cid, SHARDS) >= 8)
    assert.ok(foreign.length > 0 && foreign.length < blobs.size, 'chance has both sorts')
    await eventually(() => foreign.every(cid => !first.node.store.has(cid)), 'what is foreign has gone')
    for (const cid of foreign) assert.ok(second.node.store.has(cid) && third.node.store.has(cid), 'both owners have it')
    for (const cid of blobs.keys()) if (!foreign.includes(cid)) assert.ok(first.node.store.has(cid))
    for (const [cid, bytes] of blobs) {
      const answer = await fetch(`${first.url}/retrieve/${cid}`)
      assert.ok(Buffer.from(await answer.arrayBuffer()).equals(bytes))
    }
  })

  it('keeps what nobody else owns, or too few can be reached for', async () => {
    const alone = await start('first', `0-${SHARDS - 1}`)
    const blobs = await write(alone, 8)
    await alone.stop()
    running.length = 0
    const other = await start('other', '0-3')
    const first = await start('first', '0-3', [other])
    await eventually(() => first.node.network.members().length === 2, 'they know each other')
    const kept = [...blobs.keys()].filter(cid => shardOf(cid, SHARDS) > 3)
    await eventually(() => first.node.blobs.underReplicated >= kept.length, 'they are known to fall short')
    for (const cid of kept) assert.ok(first.node.store.has(cid))
    for (const [cid, bytes] of blobs) {
      const answer = await fetch(`${first.url}/retrieve/${cid}`)
      assert.ok(Buffer.from(await answer.arrayBuffer()).equals(bytes))
    }
  })
})
