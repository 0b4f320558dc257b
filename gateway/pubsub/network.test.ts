import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { createClient, type Client as Peer } from '../../client/index.ts'
import {
  createGossip,
  createNetworkNode,
  ephemeralIdentity,
  GENEROUS_LIMITS,
  type Identity,
  silentLog
} from '../../node/index.ts'
import { portOf } from '../network/connect.ts'
import { BOB, eventually, type RunningGateway, type StartOptions, startGateway } from '../testing/fixtures.ts'
import { REPLAY_MAX_MESSAGES } from './limits.ts'
import { base64, type Client, come, metric, open, publish, refusalOf } from './testing.ts'

interface Hub extends AsyncDisposable {
  identity: Identity
  address: string
  port: number
  /** Peers that it knows to listen to the topic. */
  listeners: (topic: string) => string[]
}

/** A relay as gateways meet at: it can be stopped, and come back as the same. */
async function startHub(was?: Hub): Promise<Hub> {
  const identity = was?.identity ?? (await ephemeralIdentity())
  const node = await createNetworkNode({
    role: 'relay',
    identity,
    listen: [`/ip4/127.0.0.1/tcp/${was?.port ?? 0}`],
    limits: GENEROUS_LIMITS,
    log: silentLog()
  })
  await node.start()
  const [address = ''] = node.libp2p.getMultiaddrs().map(String)
  return {
    identity,
    address,
    port: Number(/tcp\/(\d+)/.exec(address)?.[1]),
    listeners: createGossip(node.libp2p).listeners,
    [Symbol.asyncDispose]: () => node.stop()
  }
}

interface Networked extends AsyncDisposable {
  running: RunningGateway
  peer: Peer
}

async function startPeer(hub: Hub): Promise<Peer> {
  return await createClient({ bootstrapPeers: [hub.address], role: 'gateway', limits: GENEROUS_LIMITS })
}

async function startNetworked(hub: Hub, pubsubSecret: Buffer, options: StartOptions = {}): Promise<Networked> {
  const peer = await startPeer(hub)
  const running = await startGateway({ network: portOf(peer), pubsubSecret, ...options })
  await eventually(async () => peer.network.peers().length > 0)
  return {
    running,
    peer,
    async [Symbol.asyncDispose]() {
      await running[Symbol.asyncDispose]()
      await peer.close()
    }
  }
}

/** Until each of them hears the other: what is published from now on arrives. */
async function joined(...pairs: Array<[Networked, Client]>): Promise<void> {
  await Promise.all(pairs.map(([, { opened }]) => opened))
  const [, first] = pairs[0] as [Networked, Client]
  const topic = new URL(first.socket.url).searchParams.get('topic')
  for (const [{ running }] of pairs) {
    const word = `hello ${randomBytes(4).toString('hex')}`
    await eventually(async () => {
      await publish(running, topic, base64(word))
      return pairs.every(([, client]) => textsOf(client).includes(word))
    })
  }
  // All of the greetings are here: the next is something else.
  for (const [{ running }] of pairs) {
    const word = `end ${randomBytes(4).toString('hex')}`
    await publish(running, topic, base64(word))
    await eventually(async () => pairs.every(([, client]) => textsOf(client).includes(word)))
  }
  for (const [, client] of pairs) client.told.length = 0
}

const textsOf = (client: Client) => (client.socket.protocol === '' ? client.texts() : client.data())

const ORDER = { waitMs: 1_500 }

describe('two gateways that meet at a relay', function () {
  this.timeout(60_000)
  const secret = randomBytes(32)
  let hub: Hub
  let one: Networked
  let two: Networked

  before(async () => {
    hub = await startHub()
    const options = { pubsubLimits: { order: ORDER } }
    one = await startNetworked(hub, secret, options)
    two = await startNetworked(hub, secret, options)
  })
  after(async () => {
    await one?.[Symbol.asyncDispose]()
    await two?.[Symbol.asyncDispose]()
    await hub?.[Symbol.asyncDispose]()
  })

  it('pass every message on once, in the order of its gateway', async () => {
    await using here = open(one.running, 'room', { envelope: true })
    await using there = open(two.running, 'room', { envelope: true })
    await using raw = open(two.running, 'room')
    await using bob = open(two.running, 'room', { key: BOB })
    await joined([one, here], [two, there])
    await Promise.all([raw.opened, bob.opened])
    raw.told.length = 0
    for (let index = 0; index < 100; index += 1) {
      here.say({ type: 'publish', data: base64(`here ${index}`) })
      there.say({ type: 'publish', data: base64(`there ${index}`) })
    }
    await Promise.all([here, there, raw].map(client => come(client, 200)))
    const from = (texts: string[], who: string) => texts.filter(text => text.startsWith(who))
    for (const texts of [here.data(), there.data(), raw.texts()]) {
      assert.equal(texts.length, 200)
      for (const who of ['here', 'there']) {
        assert.deepEqual(
          from(texts, who),
          Array.from({ length: 100 }, (_, index) => `${who} ${index}`)
        )
      }
    }
    assert.equal(bob.told.length, 0)
    const gaps = [...here.typed('gap'), ...there.typed('gap')]
    assert.deepEqual(gaps, [])
    const labels = { namespace: 'alice', from: 'network' }
    assert.ok((await metric(two.running, 'warren_gateway_pubsub_messages_total', labels)) >= 100)
  })

  it('know of each other’s members, also where nobody listened before', async () => {
    await using ann = open(one.running, 'people', { query: { presence: 'true', member_id: 'ann' } })
    await ann.opened
    const members = async ({ running }: Networked) => {
      const answer = (await (await running.ask('/v1/pubsub/presence?topic=people')).json()) as {
        members: Array<{ member_id: string }>
      }
      return answer.members.map(({ member_id }) => member_id).sort()
    }
    await eventually(async () => (await members(two)).join() === 'ann')
    await using watcher = open(one.running, 'people', { envelope: true })
    await watcher.opened
    await using bea = open(two.running, 'people', { query: { presence: 'true', member_id: 'bea' } })
    await bea.opened
    await eventually(async () => watcher.typed('presence.join').length === 1)
    assert.deepEqual(
      [await members(one), await members(two)],
      [
        ['ann', 'bea'],
        ['ann', 'bea']
      ]
    )
    bea.socket.close()
    await eventually(async () => watcher.typed('presence.leave').length === 1)
    assert.equal(watcher.typed('presence.leave')[0]?.member_id, 'bea')
    assert.deepEqual(await members(one), ['ann'])
  })

  it('let a socket that comes back at the other resume there', async () => {
    await using here = open(one.running, 'moving', { envelope: true })
    await using there = open(two.running, 'moving', { envelope: true })
    await joined([one, here], [two, there])
    here.say({ type: 'publish', data: base64('a') })
    await Promise.all([come(here, 1), come(there, 1)])
    const { publisher, seq } = here.messages()[0] as { publisher: string; seq: number }
    here.socket.close()
    await publish(one.running, 'moving', base64('b'))
    await come(there, 2)
    await using back = open(two.running, 'moving', { envelope: true, query: { resume: 'true' } })
    await back.opened
    back.say({ type: 'resume', after: { [publisher]: seq }, since: Date.now() })
    await eventually(async () => back.typed('resumed').length === 1)
    assert.deepEqual([back.data(), back.typed('gap')], [['b'], []])
  })

  it('tell a stranger on the network nothing but that there is something, and hear nothing of it', async () => {
    await using here = open(one.running, 'secret', { envelope: true })
    await using there = open(two.running, 'secret', { envelope: true })
    await joined([one, here], [two, there])
    const stranger = await startPeer(hub)
    try {
      const seen: Buffer[] = []
      const topic = 'ns::alice::secret'
      stranger.gossip.subscribe(topic, data => {
        seen.push(Buffer.from(data))
        return true
      })
      await eventually(async () => {
        await publish(one.running, 'secret', base64('for alice alone'))
        return seen.length > 0
      })
      const before = await metric(two.running, 'warren_gateway_pubsub_drops_total', { why: 'foreign' })
      // Its own words, the gateways' words again on the same topic and on another, and half of them.
      const word = seen[0] as Buffer
      await using other = open(one.running, 'other')
      await other.opened
      for (const data of [Buffer.from('let me in'), word.subarray(0, 40), Buffer.alloc(0)]) {
        await stranger.gossip.publish(topic, data)
      }
      await stranger.gossip.publish(topic, word)
      await stranger.gossip.publish('ns::alice::other', word)
      await stranger.gossip.publish('ns::alice::other', Buffer.from('ns::alice::secret'))
      await eventually(
        async () => (await metric(two.running, 'warren_gateway_pubsub_drops_total', { why: 'foreign' })) >= before + 3
      )
      await publish(one.running, 'secret', base64('the end'))
      await eventually(async () => there.data().includes('the end'))
      const heard = there.data()
      assert.equal(heard.filter(text => text !== 'for alice alone' && text !== 'the end').length, 0)
      assert.deepEqual(
        there.messages().map(({ seq }) => seq),
        here.messages().map(({ seq }) => seq)
      )
      assert.equal(other.told.length, 0)
      assert.ok(!Buffer.concat(seen).includes('alice alone'))
    } finally {
      await stranger.close()
    }
  })

  it('leave a topic when nobody here uses it any more', async () => {
    await using brief = await startNetworked(hub, secret, { pubsubLimits: { lingerMs: 0, sweepMs: 20 } })
    const isListening = () => hub.listeners('ns::alice::brief').includes(brief.peer.peerId)
    await using raw = open(brief.running, 'brief', { query: { presence: 'true', member_id: 'a' } })
    await raw.opened
    await eventually(async () => isListening())
    raw.socket.terminate()
    await eventually(async () => !isListening())
    assert.equal(await metric(brief.running, 'warren_gateway_pubsub_topics'), 0)
    await publish(brief.running, 'brief', base64('to whom it may concern'))
    assert.equal(isListening(), false)
  })

  it('refuse what the network does not take, and say so', async () => {
    await using busy = await startNetworked(hub, secret, { pubsubLimits: { namespacePublishesMax: 0 } })
    await using raw = open(busy.running, 'busy')
    await using client = open(busy.running, 'busy', { envelope: true })
    await Promise.all([raw.opened, client.opened])
    raw.socket.send('x')
    client.say({ type: 'publish', data: '', id: 'a' })
    await Promise.all([come(raw, 1), come(client, 1)])
    assert.deepEqual(raw.told, [{ text: 'publish_error', isBinary: false }])
    assert.deepEqual(
      [client.json()[0]?.type, client.json()[0]?.code, client.json()[0]?.id],
      ['error', 'PUBLISH_BUSY', 'a']
    )
    const answer = await publish(busy.running, 'busy', '')
    assert.deepEqual([answer.status, answer.headers.get('retry-after')], [503, '1'])
    assert.equal((await refusalOf(busy.running, '/v1/pubsub/ws')).status, 400)
  })

  /** Each number from the first is a message or in a gap, and none is both or twice. Answers those in gaps. */
  function missedIn(client: Client, first: number): number[] {
    const seen = client.messages().map(message => Number(message.seq))
    const missed = client
      .typed('gap')
      .flatMap(({ from, to }) =>
        Array.from({ length: Number(to) - Number(from) + 1 }, (_, index) => Number(from) + index)
      )
    const all = [...seen, ...missed].sort((a, b) => a - b)
    assert.deepEqual(
      all,
      Array.from({ length: all.length }, (_, index) => first + index)
    )
    assert.deepEqual(
      seen,
      [...seen].sort((a, b) => a - b)
    )
    return missed
  }

  async function part(): Promise<void> {
    await hub[Symbol.asyncDispose]()
    await eventually(async () => [one, two].every(({ peer }) => peer.network.peers().length === 0))
  }

  it('make up for what was published while they were parted, in order and nothing twice', async () => {
    await using here = open(one.running, 'parted', { envelope: true })
    await using there = open(two.running, 'parted', { envelope: true })
    await joined([one, here], [two, there])
    for (const text of ['1', '2']) await publish(one.running, 'parted', base64(text))
    await Promise.all([come(here, 2), come(there, 2)])
    const [{ seq }] = there.messages() as [{ seq: number }]
    await part()
    for (const text of ['3', '4']) await publish(one.running, 'parted', base64(text))
    await publish(two.running, 'parted', base64('there'))
    await Promise.all([come(here, 4), come(there, 3)])
    assert.deepEqual(there.data(), ['1', '2', 'there'])
    hub = await startHub(hub)
    await Promise.all([come(here, 5), come(there, 5)])
    await eventually(async () => {
      await publish(one.running, 'parted', base64('5'))
      return there.data().includes('5')
    })
    assert.deepEqual(
      there.data().filter(text => text !== '5'),
      ['1', '2', 'there', '3', '4']
    )
    assert.deepEqual(
      here.data().filter(text => text !== '5'),
      ['1', '2', '3', '4', 'there']
    )
    there.told.splice(
      there.told.findIndex(({ text }) => text.includes(base64('there'))),
      1
    )
    assert.deepEqual(missedIn(there, seq), [])
  })

  it('tell the gap of what was published while they were parted and is not kept any more', async () => {
    await using here = open(one.running, 'long', { envelope: true })
    await using there = open(two.running, 'long', { envelope: true })
    await joined([one, here], [two, there])
    await publish(one.running, 'long', base64('before'))
    await Promise.all([come(here, 1), come(there, 1)])
    const { seq, publisher } = there.messages()[0] as { seq: number; publisher: string }
    await part()
    const count = REPLAY_MAX_MESSAGES + 10
    for (let index = 0; index < count; index += 1) here.say({ type: 'publish', data: base64(`${index}`) })
    await come(here, 1 + count)
    hub = await startHub(hub)
    await eventually(async () => there.data().includes(`${count - 1}`), 30_000)
    assert.deepEqual(
      missedIn(there, seq),
      Array.from({ length: 10 }, (_, index) => seq + 1 + index)
    )
    assert.equal(there.typed('gap')[0]?.publisher, publisher)
  })

  it('have the first messages too of who publishes just after a socket was opened at the other', async () => {
    await using there = open(two.running, 'first', { envelope: true })
    await there.opened
    for (const text of ['1', '2', '3']) await publish(one.running, 'first', base64(text))
    await come(there, 3)
    assert.deepEqual([there.data(), there.typed('gap')], [['1', '2', '3'], []])
  })
})
