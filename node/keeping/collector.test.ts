import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { cidOf } from '../blobs/cid.ts'
import { createLeaving } from '../blobs/leaving.ts'
import type { BlobService } from '../blobs/service.types.ts'
import { flipBit, inPieces } from '../faults/testing.ts'
import { silentLog } from '../log.ts'
import { eventually } from '../net/testing.ts'
import { createAuditor } from '../proofs/auditor.ts'
import { startNodes, type TestNode } from '../testing.ts'
import type { RetentionPolicy } from './collect-plan.ts'
import { createCollector } from './collector.ts'

const settings = { REPLICATION_FACTOR: '2', REPLICATION_QUORUM: '2', GC_MAX_BLOB_AGE_DAYS: '0', GC_ENABLED: 'false' }

const auditorOf = ({ network, store }: TestNode['node']) =>
  createAuditor({ ask: network.proof, replica: async cid => (await store.open(cid))?.read() ?? null })

describe('collection', function () {
  this.timeout(60_000)

  it('drops only copies beyond the factor, on all holders at once, and neither pinned nor unknown ones', async () => {
    await using nodes = await startNodes(4, settings)
    await eventually(() => nodes.every(({ node }) => node.network.members().length === 4), 'nodes know each other')
    const blobs = await Promise.all(
      Array.from({ length: 12 }, async () => {
        const bytes = randomBytes(2000)
        return { bytes, cid: await cidOf([bytes]) }
      })
    )
    for (const { cid, bytes } of blobs) {
      for (const { node } of nodes) await node.blobs.putReplica(cid, 'text/plain', inPieces(bytes), {})
    }
    const holders = (cid: string) => nodes.filter(({ node }) => node.store.has(cid))
    const collectors = nodes.map(({ node }) => node.keeping.collector)
    const [pinned] = blobs
    for (const { node } of nodes) await node.keeping.pins.add(pinned!.cid)
    // Older than 0 days takes a millisecond.
    await eventually(async () => (await collectors[0]!.run({ simulate: true })).candidates === 11, 'eleven are old')

    const would = await Promise.all(collectors.map(collector => collector.run({ simulate: true })))
    assert.equal(
      blobs.every(({ cid }) => holders(cid).length === 4),
      true,
      'a dry run deletes nothing'
    )
    const reports = await Promise.all(collectors.map(collector => collector.run()))
    assert.deepEqual(
      reports.map(({ removed }) => removed),
      would.map(({ removed }) => removed)
    )
    assert.equal(holders(pinned!.cid).length, 4)
    for (const { cid, bytes } of blobs.slice(1)) {
      assert.equal(holders(cid).length, 2)
      for (const { url } of nodes) {
        const answer = await fetch(`${url}/retrieve/${cid}`)
        assert.ok(Buffer.from(await answer.arrayBuffer()).equals(bytes))
      }
    }
    const again = await Promise.all(collectors.map(collector => collector.run()))
    assert.equal(
      again.reduce((sum, { removedBlobs }) => sum + removedBlobs, 0),
      0
    )
  })

  it('believes no holder at its word where there is no registry, and nor does a deletion by the operator', async () => {
    await using nodes = await startNodes(3, { ...settings, REPLICATION_FACTOR: '1', REPLICATION_QUORUM: '1' })
    await eventually(() => nodes.every(({ node }) => node.network.members().length === 3), 'nodes know each other')
    const bytes = randomBytes(300_000)
    const cid = await cidOf([bytes])
    for (const { node } of nodes) await node.blobs.putReplica(cid, '', inPieces(bytes), {})
    const would = await Promise.all(nodes.map(({ node }) => node.keeping.collector.run({ simulate: true })))
    const spare = nodes[would.findIndex(({ removedBlobs }) => removedBlobs === 1)]!
    for (const { dataDir } of nodes.filter(other => other !== spare)) {
      await flipBit(join(dataDir, 'blobs', cid, 'data'), 280_000 * 8)
    }
    const { store, keeping } = spare.node
    assert.equal((await keeping.collector.run()).removedBlobs, 0)
    await assert.rejects(keeping.deleteBlob(cid, { force: false }), { code: 'BLOB_UNDER_REPLICATED' })
    assert.equal(store.has(cid), true)
  })

  it('keeps what was pinned meanwhile; with GC_VERIFY_PROOFS, counts no holder that cannot show the bytes', async () => {
    await using nodes = await startNodes(3, { ...settings, REPLICATION_FACTOR: '1', REPLICATION_QUORUM: '1' })
    await eventually(() => nodes.every(({ node }) => node.network.members().length === 3), 'nodes know each other')
    const bytes = randomBytes(300_000)
    const cid = await cidOf([bytes])
    for (const { node } of nodes) await node.blobs.putReplica(cid, '', inPieces(bytes), {})
    const collectorOf = (
      { node, dataDir }: TestNode,
      verifyProofs: boolean,
      blobs: Pick<BlobService, 'replication' | 'confirm'> = node.blobs,
      policy: Partial<RetentionPolicy> = {}
    ) =>
      createCollector({
        config: {
          ...{ mode: 'time', maxAgeMs: -1, maxBytes: 1, minFreeDiskBytes: 0, reservedForPinnedBytes: 0 },
          ...{ enabled: false, intervalMs: 60_000, verifyReplicas: true, verifyProofs },
          ...policy
        },
        dataDir,
        store: node.store,
        blobs,
        leaving: createLeaving(),
        network: node.network,
        proves: async (peerId, asked) =>
          (await auditorOf(node).audit(peerId, asked, { mode: 'whole' })).verdict === 'pass',
        pins: node.keeping.pins,
        replicationFactor: 1,
        membersKnown: () => true,
        log: silentLog()
      })
    const spareOn = async (peer: TestNode, verifyProofs: boolean) =>
      (await collectorOf(peer, verifyProofs).run({ simulate: true })).removedBlobs === 1
    const spares = await Promise.all(nodes.map(peer => spareOn(peer, true)))
    assert.equal(spares.filter(Boolean).length, 2)
    const spare = nodes[spares.indexOf(true)]!

    const { pins, store } = { ...spare.node.keeping, ...spare.node }
    const pinnedMeanwhile: Pick<BlobService, 'replication' | 'confirm'> = {
      confirm: spare.node.blobs.confirm,
      replication: async (asked, signal) => {
        const status = await spare.node.blobs.replication(asked, signal)
        await pins.add(asked)
        return status
      }
    }
    const { removedBlobs, kept } = await collectorOf(spare, false, pinnedMeanwhile).run()
    assert.deepEqual([removedBlobs, kept.length, store.has(cid)], [0, 1, true])
    await pins.remove(cid)

    for (const peer of nodes.filter(other => other !== spare)) {
      await flipBit(join(peer.dataDir, 'blobs', cid, 'data'), 280_000 * 8)
    }
    assert.equal(await spareOn(spare, false), true, 'they say that they hold it')
    assert.equal(await spareOn(spare, true), false, 'and cannot show it')

    // By room it ends with the copy that brings it below the limit.
    for (let i = 0; i < 12; i += 1) {
      const small = randomBytes(1000)
      const name = await cidOf([small])
      for (const { node } of nodes) await node.blobs.putReplica(name, '', inPieces(small), {})
    }
    const { totalSizeBytes } = spare.node.store.stats()
    const room = { mode: 'size' as const, maxAgeMs: 0, maxBytes: totalSizeBytes - 2500 }
    const { removed, neededBytes } = await collectorOf(spare, false, spare.node.blobs, room).run({ simulate: true })
    const freed = removed.map(({ sizeBytes }) => sizeBytes)
    const sum = (sizes: number[]) => sizes.reduce((total, size) => total + size, 0)
    assert.equal(neededBytes, 2500)
    assert.ok(sum(freed) >= 2500 && sum(freed.slice(0, -1)) < 2500, `${freed}`)

    await Promise.all(nodes.filter(other => other !== spare).map(other => other.stop()))
    const last = await collectorOf(spare, false).run({ simulate: true })
    assert.equal(last.removedBlobs, 0, 'who is silent holds nothing')
  })
})
