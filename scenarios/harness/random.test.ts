import assert from 'node:assert/strict'
import { seededRandom } from './random.ts'

describe('seeded randomness', () => {
  it('is the same for the same seed, on every machine', () => {
    assert.deepEqual(seededRandom('a').bytes(1 << 16), seededRandom('a').bytes(1 << 16))
    assert.notDeepEqual(seededRandom('a').bytes(16), seededRandom('b').bytes(16))
    assert.equal(seededRandom('warren').bytes(8).toString('hex'), '9cd508c284acf1c9')
  })

  it('keeps forks apart from their parent', () => {
    const parent = seededRandom('a')
    parent.fork('x').bytes(100)
    assert.deepEqual(parent.bytes(16), seededRandom('a').bytes(16))
    assert.notDeepEqual(parent.fork('x').bytes(16), parent.fork('y').bytes(16))
  })

  it('picks different ones within bounds', () => {
    const random = seededRandom('pick')
    for (let round = 0; round < 50; round++) {
      assert.equal(new Set(random.pick([1, 2, 3, 4, 5], 3)).size, 3)
      const value = random.below(7)
      assert.ok(Number.isInteger(value) && value >= 0 && value < 7)
    }
    assert.throws(() => random.pick([1], 2), RangeError)
    assert.throws(() => random.one([]), RangeError)
    assert.throws(() => random.below(0), RangeError)
  })
})
