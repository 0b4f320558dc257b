import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { createMetrics, type Gossip, silentLog } from '../../node/index.ts'
import { SEALED_MAX_AGE_MS } from './limits.ts'
import { createPubsub } from './pubsub.ts'
import { createWire, KIND, newPublisher } from './wire.ts'

const NAME = { namespace: 'alice', topic: 't', inner: 'ns::alice::t' }

/** A topic that listens, what other gateways say to it, and what it says. */
async function listening() {
  const secret = randomBytes(32)
  const told: Buffer[] = []
  let receive: (sealed: Uint8Array) => boolean = () => assert.fail('nobody listens')
  const gossip: Gossip = {
    subscribe: (_, handle) => {
      receive = handle
    },
    unsubscribe: () => {},
    publish: async (_, data) => void told.push(Buffer.from(data)),
    listeners: () => [],
    onListener: () => () => {}
  }
  const metrics = createMetrics('gateway')
  const pubsub = createPubsub({ gossip, secret, metrics, log: silentLog() })
  const channel = pubsub.channel(NAME)
  await channel.members()
  const counted = async (name: string) =>
    Number(new RegExp(`^warren_gateway_pubsub_${name} (\\d+)$`, 'm').exec(await metrics.text())?.[1] ?? 0)
  return {
    wire: createWire(secret),
    channel,
    told,
    receive: (sealed: Uint8Array) => receive(sealed),
    taken: () => counted('messages_total\\{[^}]*from="network"[^}]*\\}'),
    dropped: (why: string) => counted(`drops_total\\{[^}]*why="${why}"[^}]*\\}`),
    close: pubsub.close
  }
}

const first = (timestamp: number) => ({
  kind: KIND.message,
  publisher: newPublisher(),
  seq: 1,
  timestamp,
  beganAt: timestamp,
  body: Buffer.from('x')
})

describe('what a topic hears from the network', () => {
  it('is taken while it is new, and is neither taken nor passed on when it was kept to be said again', async () => {
    const topic = await listening()
    const hears = (agoMs: number) => topic.receive(topic.wire.seal(NAME, first(Date.now() - agoMs)))
    try {
      assert.equal(hears(SEALED_MAX_AGE_MS - 10_000), true)
      assert.equal(hears(SEALED_MAX_AGE_MS + 1_000), false)
      assert.equal(hears(-SEALED_MAX_AGE_MS - 10_000), false)
      assert.deepEqual([await topic.taken(), await topic.dropped('stale')], [1, 2])
    } finally {
      topic.close()
    }
  })

  it('is not passed on when it is sealed with another key or for another topic', async () => {
    const topic = await listening()
    try {
      assert.equal(topic.receive(createWire(randomBytes(32)).seal(NAME, first(Date.now()))), false)
      const other = { namespace: 'bob', inner: 'ns::bob::t' }
      assert.equal(topic.receive(topic.wire.seal(other, first(Date.now()))), false)
      assert.deepEqual([await topic.taken(), await topic.dropped('foreign')], [0, 2])
    } finally {
      topic.close()
    }
  })

  it('is not heard again when it comes back to who said it', async () => {
    const topic = await listening()
    try {
      await topic.channel.publish(Buffer.from('mine')).sent
      assert.equal(topic.told.length, 1)
      assert.equal(topic.receive(topic.told[0]!), true)
      assert.equal(await topic.taken(), 0)
      assert.equal(await topic.dropped('duplicate'), 0)
    } finally {
      topic.close()
    }
  })
})
