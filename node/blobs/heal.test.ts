import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { flipBit } from '../faults/testing.ts'
import { eventually } from '../net/testing.ts'
import { startNode } from '../testing.ts'

describe('a damaged copy', function () {
  this.timeout(90_000)

  it('that nobody could replace at once is replaced when a holder comes back', async () => {
    const env = { REPLICATION_FACTOR: '2', REPLICATION_QUORUM: '2', P2P_ENABLE_DHT: 'false' }
    await using hurt = await startNode(env)
    const other = await startNode({ ...env, P2P_BOOTSTRAP_PEERS: hurt.node.addresses().join() })
    await using _folder = other
    await eventually(() => hurt.node.network.members().length === 2, 'nodes know each other')
    const answer = await fetch(`${hurt.url}/store`, { method: 'POST', body: randomBytes(1000) })
    const { cid } = (await answer.json()) as { cid: string }
    await other.stop()
    await flipBit(join(hurt.dataDir, 'blobs', cid, 'data'))
    await hurt.node.keeping.scrub.start().ended
    const { blobs } = hurt.node
    await eventually(() => blobs.unhealed === 1 && blobs.underReplicated === 1, 'the first try has failed')
    const health = async () => (await (await fetch(`${hurt.url}/health`)).json()) as { status: string }
    assert.equal((await health()).status, 'degraded')

    // With a factor of 1 it puts no replica anywhere: the copy comes only if it is asked for.
    const passive = { REPLICATION_FACTOR: '1', REPLICATION_QUORUM: '1', DATA_DIR: other.dataDir }
    await using _back = await startNode({ ...env, ...passive, P2P_BOOTSTRAP_PEERS: hurt.node.addresses().join() })
    await eventually(() => hurt.node.store.has(cid) && blobs.unhealed === 0, 'a good copy came', 60_000)
    assert.equal((await health()).status, 'healthy')
  })
})
