import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BlobCorruptError, BlobLeavingError, BlobNotFoundError } from '../errors.ts'
import { flipBit, inPieces } from '../faults/testing.ts'
import { openPins } from '../keeping/pins.ts'
import { silentLog } from '../log.ts'
import { eventually } from '../net/testing.ts'
import { cidOf } from './cid.ts'
import { createLeaving } from './leaving.ts'
import type { BlobMember, BlobNetwork } from './network.types.ts'
import { createBlobService } from './service.ts'
import { openStore } from './store.ts'
import type { BlobStore } from './store.types.ts'

const log = silentLog()
const alone = {
  self: 'self',
  members: () => [],
  provide: async () => {},
  async *findProviders() {}
} as Partial<BlobNetwork> as BlobNetwork

describe('the blob service', function () {
  this.timeout(30_000)
  let dataDir: string
  let store: BlobStore
  const bytes = Buffer.alloc(2000, 5)
  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'warren-service-'))
    store = await openStore({ dataDir, capacityBytes: 2 ** 20, secret: Buffer.alloc(32, 1), log })
  })
  afterEach(() => rm(dataDir, { recursive: true, force: true }))

  it('takes a replica whose copy here went while it was looked at', async () => {
    const staged = await store.stage(inPieces(bytes), { maxBytes: 10_000 })
    await staged.commit()
    const { cid } = staged
    let deletes = 1
    const open = async (asked: string) => {
      const blob = await store.open(asked)
      // Somebody else deletes it in this moment.
      if (deletes-- > 0) await store.delete(asked)
      return blob
    }
    const racing = new Proxy(store, {
      get: (target, name) => (name === 'open' ? open : Reflect.get(target, name).bind(target))
    })
    const service = createBlobService({
      ...{ store: racing, network: alone, shards: () => [{ start: 0, end: 0 }], shardCount: 1, replicationFactor: 1 },
      ...{ quorum: 1, timeoutMs: 1000, maxBlobBytes: 10_000, membersKnown: () => true, shardsAssigned: () => true, log }
    })
    assert.deepEqual(await service.putReplica(cid, '', inPieces(bytes), {}), { alreadyStored: false })
    assert.equal(store.has(cid), true)
    await service.stop()
  })

  it('answers for no replica that is about to go from here, and for one that stays after all', async () => {
    const staged = await store.stage(inPieces(bytes), { maxBytes: 10_000 })
    await staged.commit()
    const { cid } = staged
    const leaving = createLeaving()
    const service = createBlobService({
      ...{ store, network: alone, shards: () => [{ start: 0, end: 0 }], shardCount: 1, replicationFactor: 1, leaving },
      ...{ quorum: 1, timeoutMs: 1000, maxBlobBytes: 10_000, membersKnown: () => true, shardsAssigned: () => true, log }
    })
    await leaving.run(cid, () => assert.rejects(service.putReplica(cid, '', inPieces(bytes), {}), BlobLeavingError))
    assert.deepEqual(await service.putReplica(cid, '', inPieces(bytes), {}), { alreadyStored: true })
    await service.stop()
  })

  it('is to hand over what its ranges left out, once they are known', async () => {
    const staged = await store.stage(inPieces(bytes), { maxBytes: 10_000 })
    await staged.commit()
    let shards = [{ start: 0, end: 0 }]
    const service = createBlobService({
      ...{ store, network: alone, shards: () => shards, shardCount: 1, replicationFactor: 1 },
      ...{
        quorum: 1,
        timeoutMs: 1000,
        maxBlobBytes: 10_000,
        membersKnown: () => true,
        shardsAssigned: () => false,
        log
      }
    })
    service.shardsChanged()
    assert.equal(service.underReplicated, 0)
    shards = []
    service.shardsChanged()
    assert.equal(service.underReplicated, 1)
    await service.stop()
  })

  it('hands nothing over before its ranges are known', async () => {
    const staged = await store.stage(inPieces(bytes), { maxBytes: 10_000 })
    await staged.commit()
    const waitingWhen = async (isAssigned: boolean): Promise<number> => {
      const service = createBlobService({
        ...{ store, network: alone, shards: () => [], shardCount: 1, replicationFactor: 1 },
        ...{ quorum: 1, timeoutMs: 1000, maxBlobBytes: 10_000, membersKnown: () => true },
        ...{ shardsAssigned: () => isAssigned, log }
      })
      const { underReplicated } = service
      await service.stop()
      return underReplicated
    }
    assert.deepEqual([await waitingWhen(false), await waitingWhen(true)], [0, 1])
  })

  it('looks again at a foreign blob whose pin went, and hands it over', async () => {
    const owner: BlobMember = {
      ...{ nodeId: 'owner', peerId: 'owner', shards: [{ start: 0, end: 0 }], shardCount: 1 },
      ...{ failureGroup: '', reachable: true }
    }
    const network = {
      ...alone,
      members: () => [owner],
      replicate: async () => ({ alreadyStored: true }),
      retrieve: async () => ({ sizeBytes: 2000, mimeType: '', bytes: inPieces(Buffer.alloc(0)) })
    } as Partial<BlobNetwork> as BlobNetwork
    const service = createBlobService({
      ...{ store, network, shards: () => [], shardCount: 1, replicationFactor: 1, isPinned: cid => pins.has(cid) },
      ...{ quorum: 1, timeoutMs: 1000, maxBlobBytes: 10_000, membersKnown: () => true, shardsAssigned: () => true, log }
    })
    const pins = await openPins({ dataDir, store, blobs: service })
    const staged = await store.stage(inPieces(bytes), { maxBytes: 10_000 })
    await staged.commit()
    await pins.add(staged.cid)
    await pins.remove(staged.cid)
    await eventually(() => !store.has(staged.cid), 'it went')
    await service.stop()
  })

  it('says that it has a blob only when it is on this disk, whoever asks, and proxies whoever wants the bytes', async () => {
    const holder: BlobMember = {
      ...{ nodeId: 'holder', peerId: 'holder', shards: [{ start: 0, end: 0 }], shardCount: 1 },
      ...{ failureGroup: '', reachable: true }
    }
    const asked: Array<number | undefined> = []
    const network = {
      ...alone,
      members: () => [holder],
      retrieve: async (_peerId, _cid, { length }) => {
        asked.push(length)
        return { sizeBytes: bytes.length, mimeType: '', bytes: inPieces(length === 0 ? Buffer.alloc(0) : bytes) }
      }
    } as Partial<BlobNetwork> as BlobNetwork
    const service = createBlobService({
      ...{ store, network, shards: () => [{ start: 0, end: 0 }], shardCount: 1, replicationFactor: 1 },
      ...{ quorum: 1, timeoutMs: 1000, maxBlobBytes: 10_000, membersKnown: () => true, shardsAssigned: () => true, log }
    })
    const cid = await cidOf([bytes])
    // A node that this one has not heard of yet is no member to it, and it counts copies all the same.
    const from = 'not heard yet'
    for (const verify of [false, true]) {
      await assert.rejects(service.get(cid, { from, length: 0, verify }), BlobNotFoundError)
    }
    assert.deepEqual(asked, [])
    const whole = await service.get(cid, { from })
    assert.deepEqual(Buffer.concat(await Array.fromAsync(whole.bytes)), bytes)
    assert.equal((await service.stat(cid, {})).sizeBytes, bytes.length)
    await service.stop()
  })

  it('mends a damaged copy while it is read, but for no member and no reader that wants what is here', async () => {
    const holder: BlobMember = {
      ...{ nodeId: 'holder', peerId: 'holder', shards: [{ start: 0, end: 0 }], shardCount: 1 },
      ...{ failureGroup: '', reachable: true }
    }
    const network = {
      ...alone,
      members: () => [holder],
      retrieve: async () => ({ sizeBytes: bytes.length, mimeType: '', bytes: inPieces(bytes) })
    } as Partial<BlobNetwork> as BlobNetwork
    for (const holdBytes of [0, 10_000]) {
      for (const [asked, isMended] of [
        [{ localOnly: true }, false],
        [{ from: 'holder' }, false],
        [{}, true]
      ] as const) {
        const staged = await store.stage(inPieces(bytes), { maxBytes: 10_000 })
        await staged.commit()
        const { cid } = staged
        const service = createBlobService({
          ...{ store, network, shards: () => [{ start: 0, end: 0 }], shardCount: 1, replicationFactor: 1 },
          ...{ quorum: 1, timeoutMs: 1000, maxBlobBytes: 10_000, membersKnown: () => true },
          ...{ shardsAssigned: () => true, log }
        })
        await flipBit(join(dataDir, 'blobs', cid, 'data'), 100)
        const read = async () =>
          Buffer.concat(await Array.fromAsync((await service.get(cid, { ...asked, holdBytes })).bytes))
        if (isMended) assert.deepEqual(await read(), bytes)
        else await assert.rejects(read(), BlobCorruptError)
        await service.stop()
        await store.delete(cid)
      }
    }
  })
})
