import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { cidVectors } from './cid.vectors.ts'
import { type PlacementCandidate, placementOrder } from './placement.ts'

const all = [{ start: 0, end: 1023 }]
const node = (nodeId: string, failureGroup = '', shards = all): PlacementCandidate => ({
  nodeId,
  failureGroup,
  shards,
  shardCount: 1024
})
const cid = cidVectors[0]![2]
const ids = (nodes: PlacementCandidate[]) => nodes.map(n => n.nodeId)

describe('placement', () => {
  it('sorts by SHA-256("cid:nodeId")', () => {
    const names = ['node-1', 'node-2', 'node-3', 'node-4']
    const score = (id: string) => createHash('sha256').update(`${cid}:${id}`).digest('hex')
    const expected = [...names].sort((a, b) => (score(a) < score(b) ? -1 : 1))
    assert.deepEqual(
      ids(
        placementOrder(
          cid,
          names.map(n => node(n))
        )
      ),
      expected
    )
  })

  it('takes only owners of the shard', () => {
    const [, , probe, shard] = cidVectors[8]!
    assert.equal(shard, 255)
    const nodes = [node('in', '', [{ start: 0, end: 255 }]), node('out', '', [{ start: 256, end: 1023 }])]
    assert.deepEqual(ids(placementOrder(probe, nodes)), ['in'])
  })

  it('serves every failure group once before one twice, holders counted', () => {
    const nodes = ['a1:a', 'a2:a', 'a3:a', 'b1:b', 'c1:c'].map(text => {
      const [id, group] = text.split(':')
      return node(id!, group)
    })
    const order = placementOrder(cid, nodes)
    assert.equal(new Set(order.slice(0, 3).map(n => n.failureGroup)).size, 3)
    const rest = placementOrder(cid, nodes, [nodes[0]!])
    assert.deepEqual(new Set(rest.slice(0, 2).map(n => n.failureGroup)), new Set(['b', 'c']))
    assert.equal(rest.length, 4)
  })

  it('moves only the share of the node that left', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.string({ minLength: 1 }), { minLength: 4, maxLength: 12 }), names => {
        const before = ids(
          placementOrder(
            cid,
            names.map(n => node(n))
          )
        )
        const gone = before[1]!
        const after = ids(
          placementOrder(
            cid,
            names.filter(n => n !== gone).map(n => node(n))
          )
        )
        assert.deepEqual(
          after,
          before.filter(n => n !== gone)
        )
      })
    )
  })
})
