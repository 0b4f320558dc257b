import assert from 'node:assert/strict'
import { cidVectors } from './cid.vectors.ts'
import { ownsShard, parseShards, shardOf } from './shards.ts'

describe('shards', () => {
  it('equal the published vectors', () => {
    for (const [name, , cid, shard] of cidVectors) assert.equal(shardOf(cid, 1024), shard, name)
    assert.equal(shardOf('bafybeif7ztnhq65lumvvtr4ekcwd2ifwgm3awq4zfr3srh462rwyinlb4y', 1024), 337)
    assert.equal(shardOf('bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e', 1024), 491)
  })

  it('read every documented form', () => {
    const read = (text: string) => parseShards(text, 1024).ranges
    assert.deepEqual(read('[{"start":0,"end":1023}]'), [{ start: 0, end: 1023 }])
    const two = [
      { start: 0, end: 255 },
      { start: 512, end: 767 }
    ]
    assert.deepEqual(read('[{"start":512,"end":767},{"start":0,"end":255}]'), two)
    assert.deepEqual(read('0-255,512-767'), two)
    assert.deepEqual(read(' 0 - 255 , 512-767 '), two)
    assert.deepEqual(read('0-255'), [two[0]])
    assert.deepEqual(read('0,1,2'), [{ start: 0, end: 2 }])
    assert.deepEqual(read('[0,1,5]'), [
      { start: 0, end: 1 },
      { start: 5, end: 5 }
    ])
    assert.deepEqual(read('0-300,255-767'), [{ start: 0, end: 767 }])
    assert.deepEqual(read(''), [{ start: 0, end: 1023 }])
  })

  it('refuse nonsense and say all of it', () => {
    for (const text of ['[', '{}', '[{"start":0}]', '[-1]', '[1.5]', 'a-b', '0-', '[]', '5-1', '1024', '0-1024']) {
      const parsed = parseShards(text, 1024)
      assert.equal(parsed.ranges, null, text)
    }
    assert.equal(parseShards('5-1,x,4000', 1024).problems.length, 3)
  })

  it('own both ends of a range', () => {
    const ranges = [
      { start: 0, end: 255 },
      { start: 512, end: 767 }
    ]
    const owned = [0, 255, 256, 511, 512, 767, 768, 1023].map(shard => ownsShard(ranges, shard))
    assert.deepEqual(owned, [true, true, false, false, true, true, false, false])
  })
})
