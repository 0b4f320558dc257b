import assert from 'node:assert/strict'
import { createRecentCopies } from './recent-copies.ts'

describe('what is remembered of copies', () => {
  it('is that of those asked for last, and of none that is gone', () => {
    const recent = createRecentCopies<object>(2)
    const [a, b, c] = [{}, {}, {}]
    const ofA = recent.of(a)
    const ofB = recent.of(b)
    assert.equal(recent.of(a), ofA)
    recent.of(c)
    assert.equal(recent.size, 2)
    assert.equal(recent.of(a), ofA)
    assert.notEqual(recent.of(b), ofB)
    recent.of(a)
    assert.equal(recent.size, 2)
    const again = recent.of(b)
    recent.of(b)
    assert.equal(recent.of(a), ofA)
    assert.equal(recent.of(b), again)
    recent.forget(b)
    assert.equal(recent.size, 1)
  })

  it('is warm only after a read, and for ten seconds', () => {
    let nowMs = 0
    const copy = createRecentCopies<object>(1, () => nowMs).of({})
    assert.deepEqual([copy.metaRead.isWarm(), copy.dataRead.isWarm()], [false, false])
    copy.dataRead.note()
    assert.deepEqual([copy.metaRead.isWarm(), copy.dataRead.isWarm()], [false, true])
    nowMs = 9999
    assert.equal(copy.dataRead.isWarm(), true)
    nowMs = 10_000
    assert.equal(copy.dataRead.isWarm(), false)
  })
})
