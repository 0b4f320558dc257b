import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PeerRefusedError } from '../errors.ts'
import { silentLog } from '../log.ts'
import { createHandOver } from './hand-over.ts'
import { createLeaving } from './leaving.ts'
import type { BlobMember, BlobNetwork } from './network.types.ts'
import { createReplicator } from './replicate.ts'
import { openStore } from './store.ts'
import type { BlobStore } from './store.types.ts'

const FACTOR = 2
const log = silentLog()
const member = (peerId: string, reachable = true): BlobMember => ({
  nodeId: peerId,
  peerId,
  shards: [{ start: 0, end: 0 }],
  shardCount: 1,
  failureGroup: '',
  reachable
})

describe('a copy that is handed over', () => {
  let dataDir: string
  let store: BlobStore
  let blob: { cid: string; sizeBytes: number; mimeType: string }
  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'warren-hand-over-rules-'))
    store = await openStore({ dataDir, capacityBytes: 2 ** 20, secret: Buffer.alloc(32, 1), log })
    const source = (async function* () {
      yield randomBytes(1000)
    })()
    const staged = await store.stage(source, { maxBytes: 2000, mimeType: 'text/plain' })
    await staged.commit()
    blob = { cid: staged.cid, sizeBytes: 1000, mimeType: 'text/plain' }
  })
  afterEach(() => rm(dataDir, { recursive: true, force: true }))

  const leaving = createLeaving()
  /**
   * @param takes which peers say that they have it on disk when they are asked
   * @param confirms the same when they are asked once more
   */
  function handOver(
    members: BlobMember[],
    {
      takes = () => true,
      confirms = takes,
      known = true,
      pinned = () => false,
      owned = () => false,
      proves
    }: Partial<Record<'takes' | 'confirms' | 'pinned' | 'owned' | 'proves', (id: string) => boolean>> & {
      known?: boolean
    } = {}
  ) {
    const network = {
      self: 'self',
      members: () => members,
      replicate: async (peerId: string) => {
        if (!takes(peerId)) throw new PeerRefusedError(peerId, 'SHARD_MISMATCH', 409, 'not mine')
        return { alreadyStored: false }
      }
    } as unknown as BlobNetwork
    const { signal } = new AbortController()
    const replicator = createReplicator({ store, network, timeoutMs: 1000, log, signal })
    return createHandOver({
      store,
      network,
      replicator,
      replicationFactor: FACTOR,
      membersKnown: () => known,
      isOwn: owned,
      isPinned: pinned,
      ...(proves ? { proves: async (id: string) => proves(id) } : {}),
      leaving,
      confirm: async (_cid, peers) => peers.filter(confirms),
      signal,
      log
    })(blob)
  }

  it('goes when as many owners as are wanted say that they have it, and prove it where that is asked', async () => {
    const takes = (id: string) => id !== 'b'
    assert.equal(await handOver([member('a'), member('b'), member('c')], { takes, proves: takes }), true)
    assert.equal(store.has(blob.cid), false)
  })

  it('goes to those who prove it, whichever of the owners only says so', async () => {
    for (const liar of ['a', 'b', 'c']) {
      const source = (async function* () {
        yield randomBytes(1000)
      })()
      const staged = await store.stage(source, { maxBytes: 2000 })
      await staged.commit()
      blob = { cid: staged.cid, sizeBytes: 1000, mimeType: '' }
      const owners = [member('a'), member('b'), member('c')]
      assert.equal(await handOver(owners, { proves: id => id !== liar }), true, liar)
      assert.equal(store.has(blob.cid), false, liar)
    }
  })

  it('stays while owners refuse it, are away, too few, or not known', async () => {
    const two = [member('a'), member('b')]
    const table: Array<[string, () => Promise<boolean>]> = [
      ['one refuses', () => handOver(two, { takes: id => id === 'a' })],
      ['one is away', () => handOver([member('a'), member('b', false)])],
      ['one owner is known so far', () => handOver([member('a')])],
      ['none is', () => handOver([])],
      ['one cannot prove it where proofs are asked', () => handOver(two, { proves: id => id === 'a' })],
      ['the registry was not read yet', () => handOver(two, { known: false })]
    ]
    for (const [why, run] of table) {
      assert.equal(await run(), false, why)
      assert.equal(store.has(blob.cid), true, why)
    }
  })

  it('stays when an owner takes its word back, asked once more while this copy is not vouched for', async () => {
    const notVouched: boolean[] = []
    const confirms = (id: string): boolean => {
      notVouched.push(leaving.has(blob.cid))
      return id === 'a'
    }
    assert.equal(await handOver([member('a'), member('b')], { confirms }), false)
    assert.equal(store.has(blob.cid), true)
    assert.deepEqual(notVouched, [true, true])
    assert.equal(leaving.has(blob.cid), false)
  })

  it('stays while another part of this node is about to give it up', async () => {
    await leaving.run(blob.cid, async () => {
      assert.equal(await handOver([member('a'), member('b')]), false)
    })
    assert.equal(store.has(blob.cid), true)
  })

  it('stays when this node came to own its shard again while it was handed over', async () => {
    let owned = false
    const take = (): boolean => {
      owned = true
      return true
    }
    assert.equal(await handOver([member('a'), member('b')], { takes: take, owned: () => owned }), true)
    assert.equal(store.has(blob.cid), true)
  })

  it('stays when it is pinned, also while it is handed over, and nothing is left to do', async () => {
    let pinned = false
    const pin = (): boolean => {
      pinned = true
      return true
    }
    assert.equal(await handOver([member('a'), member('b')], { takes: pin, pinned: () => pinned }), true)
    assert.equal(store.has(blob.cid), true)
  })
})
