import assert from 'node:assert/strict'
import { SQL_NICE_AFTER_MS, SQL_SHARE_HALF_LIFE_MS } from './limits.ts'
import { createShares } from './shares.ts'

describe('shares of the processes for SQL', () => {
  it('grow with what a database has had, long jobs apart, and are forgotten by half-lives', () => {
    let nowMs = 5
    const shares = createShares(() => nowMs)
    assert.deepEqual(shares.of('a'), { allMs: 0, longMs: 0 })
    shares.spent('a', SQL_NICE_AFTER_MS)
    shares.spent('a', SQL_NICE_AFTER_MS + 100)
    assert.deepEqual(shares.of('a'), { allMs: 2 * SQL_NICE_AFTER_MS + 100, longMs: 100 })
    nowMs += SQL_SHARE_HALF_LIFE_MS
    assert.deepEqual(shares.of('a'), { allMs: SQL_NICE_AFTER_MS + 50, longMs: 50 })
    assert.deepEqual(shares.of('b'), { allMs: 0, longMs: 0 })
  })

  it('are kept of so many databases, the longest unused forgotten first', () => {
    const shares = createShares(() => 0, 2)
    for (const database of ['a', 'b', 'a', 'c']) shares.spent(database, 1)
    assert.deepEqual([shares.size, shares.of('a').allMs, shares.of('b').allMs, shares.of('c').allMs], [2, 2, 0, 1])
  })
})
