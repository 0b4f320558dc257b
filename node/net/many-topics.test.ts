import assert from 'node:assert/strict'
import { allowManyTopics } from './many-topics.ts'
import { eventually } from './testing.ts'

describe('what a peer is told of topics', () => {
  function told(gathers: boolean) {
    const sent: string[] = []
    const pubsub = {
      sendSubscriptions: (to: string, topics: string[], subscribe: boolean) =>
        void sent.push(`${to} ${subscribe ? '+' : '-'} ${topics.length > 3 ? topics.length : topics.join()}`),
      handleReceivedSubscription: () => true,
      maxTopicBytesPerPeer: 1
    }
    const stop = allowManyTopics({ services: { pubsub } } as never, { isOurRelay: () => false, gathers })
    return { sent, pubsub, [Symbol.dispose]: stop }
  }

  it('is the first change at once, and then what holds in the end of those that follow', async () => {
    using relay = told(true)
    const { sent, pubsub } = relay
    pubsub.sendSubscriptions('a', ['x'], true)
    assert.deepEqual(sent, ['a + x'])
    for (const [topic, listens] of [
      ['y', true],
      ['y', false],
      ['z', false],
      ['z', true]
    ] as const) {
      pubsub.sendSubscriptions('a', [topic], listens)
    }
    pubsub.sendSubscriptions('b', ['x'], true)
    assert.deepEqual(sent, ['a + x', 'b + x'])
    await eventually(() => sent.length === 4, 'the rest is told')
    assert.deepEqual(sent.slice(2), ['a + z', 'a - y'])
  })

  it('is every change at once where nothing is gathered', () => {
    using node = told(false)
    for (const listens of [true, false, true]) node.pubsub.sendSubscriptions('a', ['x'], listens)
    assert.deepEqual(node.sent, ['a + x', 'a - x', 'a + x'])
  })

  it('comes in messages of two hundred', () => {
    using relay = told(true)
    relay.pubsub.sendSubscriptions('a', Array.from({ length: 450 }, String), true)
    assert.deepEqual(relay.sent, ['a + 200', 'a + 200', 'a + 50'])
  })
})
