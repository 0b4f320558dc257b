import assert from 'node:assert/strict'
import fc from 'fast-check'
import {
  type Holder,
  ownersBefore,
  planCollection,
  RETENTION_MODES,
  type RetentionPolicy,
  spareCopy
} from './collect-plan.ts'

const policies: fc.Arbitrary<RetentionPolicy> = fc.record({
  mode: fc.constantFrom(...RETENTION_MODES),
  maxAgeMs: fc.nat(1000),
  maxBytes: fc.integer({ min: 1, max: 2000 }),
  minFreeDiskBytes: fc.nat(500),
  reservedForPinnedBytes: fc.nat(3000)
})
const blobLists = fc.uniqueArray(
  fc.record({
    cid: fc.string({ minLength: 1, maxLength: 8 }),
    sizeBytes: fc.integer({ min: 1, max: 300 }),
    storedAtMs: fc.nat(2000),
    pinned: fc.boolean()
  }),
  { selector: blob => blob.cid, maxLength: 30 }
)
const plans = fc
  .record({ blobs: blobLists, policy: policies, nowMs: fc.nat(2500), freeDiskBytes: fc.nat(1000) })
  .map(({ blobs, ...rest }) => {
    const pinned = new Set(blobs.filter(blob => blob.pinned).map(blob => blob.cid))
    const options = {
      ...rest,
      blobs: blobs.map(({ pinned: _pinned, ...blob }) => blob),
      isPinned: (cid: string) => pinned.has(cid)
    }
    return { options, pinned, plan: planCollection(options) }
  })

describe('plan of the collection', () => {
  it('never has a pinned blob, nor one twice', () => {
    fc.assert(
      fc.property(plans, ({ plan, pinned }) => {
        const cids = plan.candidates.map(candidate => candidate.cid)
        assert.deepEqual(
          cids.filter(cid => pinned.has(cid)),
          []
        )
        assert.equal(new Set(cids).size, cids.length)
      })
    )
  })

  it('has by age exactly what is over age, and by room the oldest first', () => {
    fc.assert(
      fc.property(plans, ({ plan, pinned, options: { blobs, policy, nowMs } }) => {
        const old = blobs.filter(blob => !pinned.has(blob.cid) && nowMs - blob.storedAtMs > policy.maxAgeMs)
        const byAge = plan.candidates.filter(candidate => candidate.why === 'age')
        assert.equal(byAge.length, policy.mode === 'size' ? 0 : old.length)
        const byRoom = plan.candidates.filter(candidate => candidate.why !== 'age')
        if (policy.mode === 'time') assert.equal(byRoom.length, 0)
        for (const part of [byAge, byRoom]) {
          for (const [i, blob] of part.entries()) assert.ok(i === 0 || part[i - 1]!.storedAtMs <= blob.storedAtMs)
        }
      })
    )
  })

  it('asks for no room that is not missing, and leaves pinned blobs what is reserved for them', () => {
    fc.assert(
      fc.property(plans, ({ plan, pinned, options: { blobs, policy, freeDiskBytes } }) => {
        const sum = (wanted: boolean) =>
          blobs.filter(blob => pinned.has(blob.cid) === wanted).reduce((total, blob) => total + blob.sizeBytes, 0)
        const leftBytes = sum(false) - plan.neededBytes
        if (policy.mode === 'time') return assert.equal(plan.neededBytes, 0)
        const reserved = Math.min(policy.reservedForPinnedBytes, policy.maxBytes / 2)
        assert.ok(leftBytes <= Math.max(0, policy.maxBytes - Math.max(sum(true), reserved)))
        assert.ok(freeDiskBytes + plan.neededBytes >= policy.minFreeDiskBytes)
        if (sum(true) + sum(false) <= policy.maxBytes / 2 && freeDiskBytes >= policy.minFreeDiskBytes) {
          assert.equal(plan.neededBytes, 0)
        }
      })
    )
  })
})

const everything = [{ start: 0, end: 1023 }]
const networks = fc.record({
  cid: fc.string({ minLength: 1, maxLength: 20 }),
  factor: fc.integer({ min: 1, max: 4 }),
  /** Some own no shard: their copies are left over from other ranges. */
  nodes: fc.uniqueArray(
    fc.record({ nodeId: fc.string({ minLength: 4, maxLength: 8 }), owns: fc.boolean(), group: fc.nat(3) }),
    {
      selector: node => node.nodeId,
      minLength: 1,
      maxLength: 9
    }
  ),
  holding: fc.array(fc.boolean(), { minLength: 9, maxLength: 9 }),
  /** What each node hears from each other, and what it believes of its failure group. */
  answers: fc.array(fc.array(fc.boolean(), { minLength: 9, maxLength: 9 }), { minLength: 9, maxLength: 9 }),
  beliefs: fc.array(fc.array(fc.nat(3), { minLength: 9, maxLength: 9 }), { minLength: 9, maxLength: 9 })
})

describe('spare copies', () => {
  it('are never so many that fewer than the factor of owners keep theirs, whoever heard what and all deleting at once', () => {
    fc.assert(
      fc.property(networks, ({ cid, factor, nodes, holding, answers, beliefs }) => {
        const holderAs = (by: number, of: number): Holder => {
          const { nodeId, owns } = nodes[of]!
          return { nodeId, shards: owns ? everything : [], shardCount: 1024, failureGroup: String(beliefs[by]![of]) }
        }
        const holders = nodes.map((_, i) => i).filter(i => holding[i])
        const gone = holders.filter(self => {
          const confirmed = holders.filter(other => other !== self && answers[self]![other]).map(i => holderAs(self, i))
          return spareCopy(cid, holderAs(self, self), confirmed, factor).spare
        })
        const left = holders.filter(i => !gone.includes(i))
        const ownersThatHeld = holders.filter(i => nodes[i]!.owns)
        assert.ok(left.filter(i => nodes[i]!.owns).length >= Math.min(factor, ownersThatHeld.length))
        if (gone.length > 0) assert.ok(left.length >= factor)
      }),
      { numRuns: 2000 }
    )
  })

  it('are none where the owners before this node are too few, asked or not', () => {
    fc.assert(
      fc.property(networks, ({ cid, factor, nodes }) => {
        const all = nodes.map(({ nodeId, owns, group }) => ({
          nodeId,
          shards: owns ? everything : [],
          shardCount: 1024,
          failureGroup: String(group)
        }))
        for (const self of all) {
          const before = ownersBefore(cid, self, all)
          if (before.length < factor) assert.equal(spareCopy(cid, self, all, factor).spare, false)
        }
      })
    )
  })

  it('go when all answered, but for those that keep the failure groups apart', () => {
    const node = (nodeId: string, failureGroup: string): Holder => ({
      nodeId,
      shards: everything,
      shardCount: 1024,
      failureGroup
    })
    const inGroups = (groups: string[]) => {
      const all = groups.map((group, i) => node(`n${i}`, group))
      return all.filter(self => spareCopy('x', self, all, 2).spare).length
    }
    assert.equal(inGroups(['a', 'b', 'c', 'd', 'e']), 3)
    assert.equal(inGroups(['a', 'a', 'a', 'a', 'a']), 3)
    assert.equal(inGroups(['a', 'b']), 0)
    const all = ['a', 'a', 'a', 'b'].map((group, i) => node(`n${i}`, group))
    assert.equal(spareCopy('x', all[3]!, all, 2).spare, false)
  })
})
