import assert from 'node:assert/strict'
import fc from 'fast-check'
import { eventually } from '../testing/fixtures.ts'
import type { Place } from './message.ts'
import { createOrder, type OrderLimits } from './order.ts'

/** What an order does, written down: `a3` a message, `a4-6` a gap, `=` a duplicate. */
function recorded(limits: Partial<OrderLimits> = {}) {
  const done: string[] = []
  const holes = { count: 0 }
  const order = createOrder<Place>({
    limits: { waitMs: 30, beginWaitMs: 20, firstWaitMs: 10, heldMax: 4, publishersMax: 2, ...limits },
    deliver: ({ publisher, seq }) => done.push(`${publisher}${seq}`),
    hole: () => {
      holes.count += 1
    },
    gap: (publisher, from, to) => done.push(`${publisher}${from}-${to}`),
    duplicate: () => done.push('=')
  })
  return {
    order,
    holes,
    done,
    take: (publisher: string, ...seqs: number[]) => {
      for (const seq of seqs) order.take({ publisher, seq }, false)
    },
    come: (...expected: string[]) => eventually(async () => done.length >= expected.length && same(done, expected))
  }
}

function same(done: string[], expected: string[]): boolean {
  assert.deepEqual(done, expected)
  return true
}

describe('the order of a publisher’s messages', () => {
  it('is kept whatever order they come in, each once', () => {
    const { take, done, order } = recorded()
    take('a', 1, 3, 2, 2, 5, 4, 1)
    take('b', 2)
    take('b', 1)
    assert.deepEqual(done, ['a1', 'a2', 'a3', '=', 'a4', 'a5', '=', 'b1', 'b2'])
    assert.deepEqual([order.lastOf('a'), order.lastOf('b'), order.lastOf('c')], [5, 2, null])
    assert.deepEqual(order.lasts(), [
      ['a', 5],
      ['b', 2]
    ])
  })

  it('goes on after what never comes, which is told; what comes later than that is dropped', async () => {
    const { take, come, done, holes } = recorded()
    take('a', 1, 4, 6)
    await come('a1', 'a2-3', 'a4', 'a5-5', 'a6')
    assert.equal(holes.count, 2)
    take('a', 2, 7)
    assert.deepEqual(done.slice(5), ['=', 'a7'])
  })

  it('does not hold more than a few for one that is missing', () => {
    const { take, done } = recorded()
    take('a', 1, 3, 4, 5, 6, 7)
    assert.deepEqual(done, ['a1', 'a2-2', 'a3', 'a4', 'a5', 'a6', 'a7'])
  })

  it('begins in the middle for who comes in the middle, with the lowest of the first few', async () => {
    const { take, come } = recorded()
    take('a', 9, 8)
    await come('a8', 'a9')
  })

  it('begins with a gap for who listened when the publisher began', async () => {
    const { order, come } = recorded()
    order.take({ publisher: 'a', seq: 3 }, true)
    await come('a1-2', 'a3')
    order.head('b', 2, true)
    await come('a1-2', 'a3', 'b1-2')
  })

  it('tells a gap when it only hears how far the publisher is', async () => {
    const { take, order, come } = recorded()
    take('a', 1)
    order.head('a', 3, false)
    order.head('stranger', 9, false)
    await come('a1', 'a2-3')
    assert.equal(order.lastOf('stranger'), null)
  })

  it('is remembered of the newest few publishers only', () => {
    const { take, order } = recorded()
    take('a', 1)
    take('b', 1)
    take('a', 2)
    take('c', 1)
    assert.deepEqual([order.lastOf('a'), order.lastOf('b'), order.lastOf('c')], [2, null, 1])
  })

  it('holds for any loss, doubling and shuffling: up, never twice, and every hole a gap', async () => {
    const arrivals = fc.array(fc.integer({ min: 1, max: 30 }), { maxLength: 60 })
    await fc.assert(
      fc.asyncProperty(arrivals, async seqs => {
        const delivered: number[] = []
        const told: number[] = []
        const order = createOrder<Place>({
          limits: { waitMs: 1, beginWaitMs: 1, firstWaitMs: 1, heldMax: 4, publishersMax: 2 },
          deliver: ({ seq }) => delivered.push(seq),
          hole: () => {},
          gap: (_, from, to) => {
            for (let seq = from; seq <= to; seq += 1) told.push(seq)
          },
          duplicate: () => {}
        })
        for (const seq of seqs) order.take({ publisher: 'a', seq }, true)
        const last = Math.max(0, ...seqs)
        if (last > 0) await eventually(async () => order.lastOf('a') === last)
        order.close()
        assert.deepEqual(
          delivered,
          [...new Set(delivered)].sort((a, b) => a - b)
        )
        const both = [...delivered, ...told].sort((a, b) => a - b)
        assert.deepEqual(
          both,
          Array.from({ length: last }, (_, index) => index + 1)
        )
      }),
      { numRuns: 50 }
    )
  })
})
