import assert from 'node:assert/strict'
import { byTurns, ROUNDS_MIN } from './rounds.ts'

const options = { rounds: 5, budgetMs: 60_000, say: () => {} }

describe('measuring by turns', () => {
  it('measures every way in every round, another one first each time, and does not count the first round', async () => {
    const order: string[] = []
    const way = (name: string) => async () => ({ rate: order.push(name), cpuUs: 0 })
    const samples = await byTurns({ a: way('a'), b: way('b') }, { ...options, rounds: 3 })
    assert.equal(order.join(''), 'ab' + 'ab' + 'ba' + 'ab')
    assert.deepEqual(
      samples.a.map(({ rate }) => rate),
      [3, 6, 7]
    )
  })

  it('stops when the time is up, but not before there are rounds enough for a median', async () => {
    const samples = await byTurns({ a: async () => ({ rate: 1, cpuUs: 0 }) }, { ...options, budgetMs: -1 })
    assert.equal(samples.a.length, ROUNDS_MIN)
  })
})
