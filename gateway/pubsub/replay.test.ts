import assert from 'node:assert/strict'
import { createMetrics } from '../../node/index.ts'
import { METRIC_NAMESPACES_MAX, REPLAY_MAX_AGE_MS, REPLAY_MAX_BYTES, REPLAY_MAX_MESSAGES } from './limits.ts'
import { createMessage, weightOf } from './message.ts'
import { createPubsubCounters, OTHER_NAMESPACES } from './metrics.ts'
import { createReplay, replayBudget } from './replay.ts'

const message = (publisher: string, seq: number, bytes = 0) =>
  createMessage({ topic: 't', publisher, seq, timestamp: seq * 1000, data: Buffer.alloc(bytes) })

describe('what is kept of a topic', () => {
  it('is the newest, by number and by bytes', () => {
    const budget = replayBudget(Number.POSITIVE_INFINITY)
    const replay = createReplay(budget)
    for (let seq = 1; seq <= REPLAY_MAX_MESSAGES + 5; seq += 1) replay.add(message('p', seq))
    assert.equal(replay.of('p')[0]?.seq, 6)
    assert.equal(replay.of('p').length, REPLAY_MAX_MESSAGES)
    for (let seq = 1; seq <= 20; seq += 1) replay.add(message('large', seq, 64 * 1024))
    const kept = replay.of('large')
    assert.equal(kept.at(-1)?.seq, 20)
    assert.ok(kept.length * weightOf(message('large', 1, 64 * 1024)) <= REPLAY_MAX_BYTES)
    assert.ok(budget.usedBytes <= REPLAY_MAX_BYTES)
    replay.clear()
    assert.equal(budget.usedBytes, 0)
  })

  it('shares the bytes of the gateway with other topics', () => {
    const budget = replayBudget(10 * weightOf(message('p', 1)))
    const [one, two] = [createReplay(budget), createReplay(budget)]
    for (let seq = 1; seq <= 8; seq += 1) one.add(message('p', seq))
    for (let seq = 1; seq <= 8; seq += 1) two.add(message('p', seq))
    assert.deepEqual(
      [one, two].map(replay => replay.of('p').map(({ seq }) => seq)),
      [
        [1, 2, 3, 4, 5, 6, 7, 8],
        [7, 8]
      ]
    )
    one.clear()
    two.add(message('p', 9))
    assert.equal(two.of('p').length, 3)
  })

  it('is forgotten when it is too old, whether somebody asks or not', () => {
    const budget = replayBudget(Number.POSITIVE_INFINITY)
    const replay = createReplay(budget)
    const { now } = performance
    let aheadMs = 0
    performance.now = () => now.call(performance) + aheadMs
    try {
      replay.add(message('p', 1))
      aheadMs = REPLAY_MAX_AGE_MS - 10_000
      replay.add(message('p', 2))
      aheadMs = REPLAY_MAX_AGE_MS + 10_000
      assert.deepEqual(
        replay.after(new Map([['p', 0]]), 0, () => 2).messages.map(({ seq }) => seq),
        [2]
      )
      aheadMs = 2 * REPLAY_MAX_AGE_MS
      replay.expire()
      assert.deepEqual([replay.of('p'), budget.usedBytes], [[], 0])
    } finally {
      performance.now = now
    }
  })

  it('is told with every hole, of publishers that are named; of others what is newer than a time', () => {
    const replay = createReplay(replayBudget(Number.POSITIVE_INFINITY))
    for (const seq of [3, 4, 7, 9]) replay.add(message('a', seq))
    for (const seq of [1, 2]) replay.add(message('b', seq))
    const last: Record<string, number> = { a: 10, b: 2 }
    const told = replay.after(new Map([['a', 1]]), 1500, publisher => last[publisher] ?? null)
    assert.deepEqual(
      told.messages.map(({ publisher, seq }) => `${publisher}${seq}`),
      ['a3', 'a4', 'a7', 'a9', 'b2']
    )
    assert.deepEqual(
      told.gaps.map(({ publisher, from, to }) => `${publisher}${from}-${to}`),
      ['a2-2', 'a5-6', 'a8-8', 'a10-10']
    )
    // Who has more than there is has missed nothing.
    assert.deepEqual(
      replay.after(new Map([['b', 5]]), Number.POSITIVE_INFINITY, () => 2),
      { gaps: [], messages: [] }
    )
  })
})

describe('metrics of pub/sub', () => {
  it('have series of their own for so many namespaces only', async () => {
    const metrics = createMetrics('gateway')
    const counters = createPubsubCounters(metrics)
    for (let index = 0; index < METRIC_NAMESPACES_MAX + 50; index += 1) {
      counters.opened(`n${index}`)
      counters.of(`n${index}`).message('here')
      counters.of(`n${index}`).dropped('slow', 2)
    }
    const text = await metrics.text()
    const namespaces = new Set([...text.matchAll(/namespace="([^"]*)"/g)].map(([, name]) => name))
    assert.equal(namespaces.size, METRIC_NAMESPACES_MAX + 1)
    const value = (name: string) =>
      Number(new RegExp(`^${name}\\{[^}]*namespace="${OTHER_NAMESPACES}"[^}]*\\} (\\d+)$`, 'm').exec(text)?.[1])
    assert.deepEqual(
      ['messages_total', 'drops_total', 'sockets'].map(name => value(`warren_gateway_pubsub_${name}`)),
      [50, 100, 50]
    )
  })
})
