import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inPieces } from '../faults/testing.ts'
import { ownersBefore } from '../keeping/collect-plan.ts'
import { createCollector } from '../keeping/collector.ts'
import { openPins } from '../keeping/pins.ts'
import { silentLog } from '../log.ts'
import { createHandOver } from './hand-over.ts'
import { createLeaving } from './leaving.ts'
import type { BlobMember, BlobNetwork } from './network.types.ts'
import { createReplicator } from './replicate.ts'
import { createBlobService } from './service.ts'
import { openStore } from './store.ts'

const log = silentLog()
const everything = [{ start: 0, end: 0 }]
const member = (peerId: string): BlobMember => ({
  nodeId: peerId,
  peerId,
  shards: everything,
  shardCount: 1,
  failureGroup: '',
  reachable: true
})

describe('two holders that give their copies up at the same moment', () => {
  it('leave one: a hand-over and a collection that rely on each other', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'warren-leaving-'))
    const stopping = new AbortController()
    /** Both have an answer to their first question before either goes on. */
    let answered = 0
    const { promise: bothAnswered, resolve } = Promise.withResolvers<void>()
    const held = async <T>(answer: Promise<T>): Promise<T> => {
      const value = await answer
      answered += 1
      if (answered === 2) resolve()
      await bothAnswered
      return value
    }
    const services = new Map<string, ReturnType<typeof createBlobService>>()
    const of = (peerId: string) => services.get(peerId)!
    const bytes = Buffer.alloc(2000, 7)

    async function node(self: string, members: () => BlobMember[], shards = everything) {
      const dataDir = join(folder, self)
      const store = await openStore({ dataDir, capacityBytes: 2 ** 20, secret: Buffer.alloc(32, 1), log })
      const network = {
        self,
        members,
        replicate: (peerId, { cid, mimeType, open }) =>
          held(of(peerId).putReplica(cid, mimeType, open(0), { from: self })),
        retrieve: (peerId, cid, range) => held(of(peerId).get(cid, { ...range, from: self })),
        provide: async () => {},
        async *findProviders() {}
      } as Partial<BlobNetwork> as BlobNetwork
      const leaving = createLeaving()
      const common = { store, network, leaving, replicationFactor: 1, membersKnown: () => true, log }
      const blobs = createBlobService({
        ...common,
        ...{
          shards: () => shards,
          shardsAssigned: () => true,
          shardCount: 1,
          quorum: 1,
          timeoutMs: 60_000,
          maxBlobBytes: 10_000
        }
      })
      services.set(self, blobs)
      const staged = await store.stage(inPieces(bytes), { maxBytes: 10_000 })
      await staged.commit()
      return { ...common, dataDir, blobs, cid: staged.cid }
    }
    try {
      // `giver` has no shards any more; the other has not heard of that, and puts it before itself.
      let keeper = ''
      const all = () => [member('giver'), member(keeper)]
      const giver = await node('giver', () => [member(keeper)], [])
      const { cid } = giver
      for (let n = 0; keeper === '' || ownersBefore(cid, member(keeper), all()).length === 0; n += 1)
        keeper = `keeper-${n}`
      const keeping = await node(keeper, all)

      const collector = createCollector({
        ...keeping,
        config: {
          ...{ mode: 'time', maxAgeMs: -1, maxBytes: 1, minFreeDiskBytes: 0, reservedForPinnedBytes: 0 },
          ...{ enabled: false, intervalMs: 60_000, verifyReplicas: true, verifyProofs: false }
        },
        proves: async () => true,
        pins: await openPins(keeping)
      })
      const { signal } = stopping
      const handOver = createHandOver({
        ...giver,
        replicator: createReplicator({ ...giver, timeoutMs: 60_000, signal }),
        confirm: giver.blobs.confirm,
        isOwn: () => false,
        isPinned: () => false,
        signal
      })
      await Promise.all([collector.run(), handOver({ cid, sizeBytes: bytes.length, mimeType: '' })])
      const left = [giver, keeping].filter(({ store }) => store.has(cid)).length
      assert.ok(left >= 1, 'no copy is left')
      await collector.stop()
    } finally {
      stopping.abort()
      await Promise.all([...services.values()].map(service => service.stop()))
      await rm(folder, { recursive: true, force: true })
    }
  })
})

describe('a copy that is about to go', () => {
  it('is one part’s at a time, and stands again when that is over, whatever came of it', async () => {
    const { has, run } = createLeaving()
    const over = Promise.withResolvers<void>()
    const first = run('cid', () => over.promise)
    assert.equal(has('cid'), true)
    assert.equal(await run('cid', async () => 'done'), null)
    assert.equal(await run('another', async () => 'done'), 'done')
    assert.deepEqual([has('cid'), has('another')], [true, false])
    over.reject(new Error('no'))
    await assert.rejects(first, { message: 'no' })
    assert.equal(has('cid'), false)
    assert.equal(await run('cid', async () => 'done'), 'done')
  })
})
