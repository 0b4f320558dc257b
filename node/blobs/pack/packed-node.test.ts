import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { eventually } from '../../net/testing.ts'
import { createAuditor } from '../../proofs/auditor.ts'
import { startNodes, type TestNode } from '../../testing.ts'

const NODES = 3
const BLOBS = 12
const MIB = 2 ** 20

/** Flip a bit of every record of a node's packs, somewhere in its last hundred bytes: sealed ones. */
async function rot({ dataDir }: TestNode): Promise<void> {
  const folder = join(dataDir, 'packs')
  for (const name of await readdir(folder)) {
    const bytes = await readFile(join(folder, name))
    const magic = Buffer.from([0x9e, 0x57, 0x52, 0x01])
    for (let at = bytes.indexOf(magic); at >= 0; ) {
      const next = bytes.indexOf(magic, at + 1)
      bytes[(next < 0 ? bytes.length : next) - 50]! ^= 4
      at = next
    }
    await writeFile(join(folder, name), bytes)
  }
}

describe('nodes with packs', function () {
  this.timeout(60_000)

  it('store, replicate, serve, prove, pin, block, collect, scrub and mend packed blobs as they do others', async () => {
    await using nodes = await startNodes(NODES, {
      PACK_SMALL_BLOBS: 'true',
      REPLICATION_QUORUM: '3',
      REPLICATION_TIMEOUT_MS: '60000',
      GC_MAX_BLOB_AGE_DAYS: '0',
      SCRUB_RATE_MB: '0'
    })
    await eventually(() => nodes.every(({ node }) => node.network.members().length === NODES), 'nodes know each other')
    const [first, second] = nodes as unknown as [TestNode, TestNode]
    const blobs = new Map<string, Buffer<ArrayBuffer>>()
    await Promise.all(
      Array.from({ length: BLOBS }, async (_, i) => {
        const bytes = randomBytes(3000 + i) as Buffer<ArrayBuffer>
        const answer = await fetch(`${first.url}/store`, { method: 'POST', body: bytes })
        assert.equal(answer.status, 201)
        blobs.set(((await answer.json()) as { cid: string }).cid, bytes)
      })
    )
    const cids = [...blobs.keys()].sort()
    for (const { node, dataDir } of nodes) {
      assert.deepEqual([...node.store.list()].sort(), cids)
      assert.deepEqual(await readdir(join(dataDir, 'blobs')), [])
    }

    const [cid] = cids as [string]
    const bytes = blobs.get(cid)!
    const range = await fetch(`${second.url}/retrieve/${cid}`, { headers: { range: 'bytes=10-19' } })
    assert.equal(range.status, 206)
    assert.ok(Buffer.from(await range.arrayBuffer()).equals(bytes.subarray(10, 20)))
    const status = (await (await fetch(`${second.url}/blobs/${cid}/status`)).json()) as {
      size: number
      stored: boolean
    }
    assert.deepEqual([status.stored, status.size], [true, bytes.length])
    const replica = async (wanted: string) => (await second.node.store.open(wanted))?.read() ?? null
    const auditor = createAuditor({ ask: second.node.network.proof, replica })
    for (const mode of ['whole', 'leaves'] as const) {
      assert.equal((await auditor.audit(first.node.peerId, cid, { mode })).verdict, 'pass')
    }

    // Pinned: not deleted. Blocked: not served. Old, but no spare copy: not collected.
    await first.node.keeping.pins.add(cid)
    await assert.rejects(first.node.keeping.deleteBlob(cid, { force: false }), { code: 'BLOB_PINNED' })
    await first.node.keeping.blocked.add(cid, 'a test')
    assert.equal((await fetch(`${first.url}/retrieve/${cid}`)).status, 403)
    await first.node.keeping.blocked.remove(cid)
    assert.equal((await first.node.keeping.collector.run()).removedBlobs, 0)
    const [, other] = cids as [string, string]
    await first.node.keeping.deleteBlob(other, { force: true })
    assert.equal(first.node.store.has(other), false)

    await rot(second)
    await second.node.keeping.scrub.start().ended
    // By the scrub, or by a reader that was there first.
    assert.equal(second.node.store.stats().quarantinedBlobs, BLOBS)
    await eventually(() => cids.every(one => second.node.store.has(one)), 'good copies came')
    for (const [one, whole] of blobs) {
      for (const { url } of one === other ? [second] : nodes) {
        const answer = await fetch(`${url}/retrieve/${one}?local=1`)
        assert.ok(Buffer.from(await answer.arrayBuffer()).equals(whole), one)
      }
    }
    const metrics = await (await fetch(`${second.url}/metrics`)).text()
    const dead = Number(/^warren_pack_dead_bytes\S* (\d+)/m.exec(metrics)?.[1])
    assert.ok(dead > 0 && dead < MIB)
  })
})
