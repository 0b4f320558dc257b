import assert from 'node:assert/strict'
import { peerIdFromString } from '@libp2p/peer-id'
import { ephemeralIdentity } from '../identity.ts'
import { silentLog } from '../log.ts'
import { FOLLOW_LIMITS, type FollowLimits, followTopics } from './follow-topics.ts'
import { createGossip } from './gossip.ts'
import { createNetworkNode, type NetworkNode } from './libp2p.ts'
import { GENEROUS_LIMITS } from './limits.ts'
import { eventually, startRelay } from './testing.ts'

const TOPIC = 'ns::alice::room'

/** A peer as gateways are: it listens on nothing and meets others at relays. */
async function startGuest(...relays: string[]) {
  const identity = await ephemeralIdentity()
  const node = await createNetworkNode({
    role: 'gateway',
    identity,
    bootstrap: relays,
    enableDht: false,
    limits: GENEROUS_LIMITS,
    log: silentLog()
  })
  await node.start()
  await eventually(() => node.libp2p.getPeers().length === relays.length, 'connected')
  const heard: string[] = []
  return {
    node,
    heard,
    gossip: createGossip(node.libp2p),
    listen(topic: string) {
      this.gossip.subscribe(topic, data => {
        heard.push(Buffer.from(data).toString())
        return true
      })
    },
    [Symbol.asyncDispose]: () => node.stop()
  }
}

type Guest = Awaited<ReturnType<typeof startGuest>>

/** Comes to its end when the one has something of what the other publishes, again and again, on the topic. */
const hears = (one: Guest, other: Guest) =>
  eventually(async () => {
    await other.gossip.publish(TOPIC, Buffer.from(`${one.heard.length}`))
    return one.heard.length > 0
  }, 'heard')

const listensTo = ({ libp2p }: NetworkNode, topic: string) => libp2p.services.pubsub.getTopics().includes(topic)

describe('a relay', function () {
  this.timeout(60_000)

  it('passes on what its peers publish on a tenant’s topic while one of them listens, and no longer', async () => {
    await using relay = await startRelay()
    await using one = await startGuest(relay.address)
    await using two = await startGuest(relay.address)
    one.listen(TOPIC)
    two.listen(TOPIC)
    await hears(two, one)
    one.gossip.unsubscribe(TOPIC)
    await eventually(() => relay.node.libp2p.services.pubsub.getSubscribers(TOPIC).length === 1, 'one left')
    assert.ok(listensTo(relay.node, TOPIC))
    await two.node.stop()
    await relay.node.libp2p.hangUp(two.node.libp2p.peerId)
    await eventually(() => !listensTo(relay.node, TOPIC), 'it stopped to listen')
  })

  it('passes on between peers of another relay too, and two relays do not keep each other at it', async () => {
    await using first = await startRelay()
    await using second = await startRelay()
    await first.node.libp2p.dial(second.node.libp2p.getMultiaddrs())
    await using one = await startGuest(first.address)
    await using two = await startGuest(second.address)
    one.listen(TOPIC)
    two.listen(TOPIC)
    await hears(two, one)
    one.gossip.unsubscribe(TOPIC)
    two.gossip.unsubscribe(TOPIC)
    for (const { node } of [first, second]) await eventually(() => !listensTo(node, TOPIC), 'it stopped to listen')
  })

  /** A node follows nothing by itself: here it does, with other limits. */
  async function startFollower(limits: FollowLimits) {
    const identity = await ephemeralIdentity()
    const node = await createNetworkNode({
      role: 'node',
      identity,
      listen: ['/ip4/127.0.0.1/tcp/0', '/ip6/::1/tcp/0'],
      enableDht: false,
      limits: GENEROUS_LIMITS,
      log: silentLog()
    })
    await node.start()
    const followed = followTopics(node.libp2p, limits)
    const heardOf = (topic: string, count = 1) =>
      eventually(() => node.libp2p.services.pubsub.getSubscribers(topic).length === count, `heard of ${topic}`)
    const at = (host: string) =>
      node.libp2p
        .getMultiaddrs()
        .map(String)
        .find(address => address.startsWith(host)) ?? ''
    return {
      address: at('/ip4/'),
      /** Who comes by this is another host than who comes by the first. */
      otherHost: at('/ip6/'),
      node,
      topics: followed.topics,
      heardOf,
      /** What gossip tells of a peer. */
      told: (detail: unknown) =>
        node.libp2p.services.pubsub.dispatchEvent(new CustomEvent('subscription-change', { detail }) as never),
      async [Symbol.asyncDispose]() {
        followed.stop()
        await node.stop()
      }
    }
  }

  it('follows tenants’ topics only, only so many, and another when one is free', async () => {
    await using relay = await startFollower({ topicsMax: 3, hostTopicsMax: 9, peerTopicsMax: 2, newPerSecond: 1000 })
    await using one = await startGuest(relay.address)
    await using two = await startGuest(relay.address)
    for (const topic of ['elsewhere', 'ns::alice', 'ns::a b::c', 'ns::alice::a::b', 'ns::alice::é', 'ns::a::1']) {
      one.listen(topic)
    }
    await relay.heardOf('ns::a::1')
    assert.deepEqual(relay.topics(), ['ns::a::1'])
    for (const topic of ['ns::a::2', 'ns::a::3']) one.listen(topic)
    await relay.heardOf('ns::a::3')
    assert.deepEqual(relay.topics(), ['ns::a::1', 'ns::a::2'])
    for (const topic of ['ns::b::1', 'ns::b::2']) two.listen(topic)
    await relay.heardOf('ns::b::2')
    assert.deepEqual(relay.topics(), ['ns::a::1', 'ns::a::2', 'ns::b::1'])
    one.gossip.unsubscribe('ns::a::1')
    await eventually(() => relay.topics().join() === 'ns::a::2,ns::b::1,ns::b::2', 'the next has its turn')
  })

  it('follows nothing for a peer that has gone, though word of what it listened to comes late', async () => {
    await using relay = await startFollower({ topicsMax: 3, hostTopicsMax: 3, peerTopicsMax: 3, newPerSecond: 1000 })
    const gone = peerIdFromString((await ephemeralIdentity()).peerId)
    relay.told({ peerId: gone, subscriptions: [{ topic: 'ns::gone::1', subscribe: true }] })
    assert.deepEqual(relay.topics(), [])
  })

  it('takes new topics up at a pace, the peers by turns', async () => {
    await using relay = await startFollower({
      topicsMax: 1000,
      hostTopicsMax: 1000,
      peerTopicsMax: 1000,
      newPerSecond: 100
    })
    await using flood = await startGuest(relay.address)
    await using honest = await startGuest(relay.address)
    for (let index = 0; index < 300; index += 1) flood.listen(`ns::flood::${index}`)
    await relay.heardOf('ns::flood::299')
    honest.listen(TOPIC)
    await eventually(() => relay.topics().includes(TOPIC), 'the other peer’s topic is followed')
    assert.ok(relay.topics().length < 300)
    await eventually(() => relay.topics().length === 301, 'all are')
  })

  it('gives each of its peers its turn, however many topics another waits with', async () => {
    await using relay = await startFollower({
      topicsMax: 999,
      hostTopicsMax: 999,
      peerTopicsMax: 999,
      newPerSecond: 20
    })
    await using flood = await startGuest(relay.address)
    await using honest = await startGuest(relay.address)
    for (let index = 0; index < 100; index += 1) flood.listen(`ns::flood::${index}`)
    await relay.heardOf('ns::flood::99')
    for (let index = 0; index < 8; index += 1) honest.listen(`ns::honest::${index}`)
    const followed = () => relay.topics().filter(topic => topic.startsWith('ns::honest::')).length
    await eventually(() => followed() === 8, 'all of the other peer’s topics are followed')
    const before = relay.topics().findLastIndex(topic => topic.startsWith('ns::honest::'))
    assert.ok(before < 80, `${before} topics came before its last`)
  })

  it('never takes up what a peer left while it waited', async () => {
    await using relay = await startFollower({ topicsMax: 9, hostTopicsMax: 9, peerTopicsMax: 9, newPerSecond: 1 })
    await using one = await startGuest(relay.address)
    for (const topic of ['ns::a::1', 'ns::a::2', 'ns::a::3']) one.listen(topic)
    await relay.heardOf('ns::a::3')
    one.gossip.unsubscribe('ns::a::2')
    await relay.heardOf('ns::a::2', 0)
    await eventually(() => relay.topics().includes('ns::a::3'), 'the one after it is followed')
    assert.deepEqual(relay.topics(), ['ns::a::1', 'ns::a::3'])
  })

  it('follows nothing for another relay, whether it said what it is before or after what it listens to', async () => {
    await using relay = await startFollower({ topicsMax: 9, hostTopicsMax: 9, peerTopicsMax: 9, newPerSecond: 1000 })
    await using other = await startGuest(relay.address)
    other.listen('ns::a::1')
    await eventually(() => relay.topics().length === 1, 'it is followed for a peer')
    const { libp2p } = relay.node
    const { peerId } = other.node.libp2p
    const [connection] = libp2p.getConnections(peerId)
    const detail = { peerId, connection, protocols: [], listenAddrs: [], agentVersion: 'warren/1.0.0 (relay)' }
    libp2p.safeDispatchEvent('peer:identify', { detail: detail as never })
    assert.deepEqual(relay.topics(), [])
    other.listen('ns::a::2')
    await relay.heardOf('ns::a::2')
    assert.deepEqual(relay.topics(), [])
  })

  it('notes a thousand topics of a peer that it does not name as its relay, and not all', async () => {
    await using relay = await startFollower({ ...FOLLOW_LIMITS, peerTopicsMax: 1 })
    await using one = await startGuest(relay.address)
    const names = Array.from({ length: 1200 }, (_, index) => `ns::many::${index}`)
    for (const name of names) one.listen(name)
    one.gossip.unsubscribe(names[0]!)
    const { pubsub } = relay.node.libp2p.services
    const noted = () => names.filter(name => pubsub.getSubscribers(name).length > 0).length
    await eventually(() => noted() > 900, 'most are noted')
    await relay.heardOf(names[0]!, 0)
    assert.ok(noted() < 1100, `${noted()} are noted`)
  })

  it('follows only so many on account of one host, whichever of its peers asks, until one is free', async () => {
    await using relay = await startFollower({ topicsMax: 4, hostTopicsMax: 3, peerTopicsMax: 2, newPerSecond: 1000 })
    await using one = await startGuest(relay.address)
    await using two = await startGuest(relay.address)
    await using other = await startGuest(relay.otherHost)
    for (const topic of ['ns::a::1', 'ns::a::2']) one.listen(topic)
    await relay.heardOf('ns::a::2')
    for (const topic of ['ns::b::1', 'ns::b::2']) two.listen(topic)
    await relay.heardOf('ns::b::2')
    other.listen(TOPIC)
    await relay.heardOf(TOPIC)
    assert.deepEqual(relay.topics(), ['ns::a::1', 'ns::a::2', 'ns::b::1', TOPIC])
    one.gossip.unsubscribe('ns::a::1')
    await eventually(() => relay.topics().join() === `ns::a::2,ns::b::1,${TOPIC},ns::b::2`, 'the next has its turn')
  })

  it('has what is followed counted for those who still listen, not for whoever was the first', async () => {
    await using relay = await startFollower({ topicsMax: 9, hostTopicsMax: 2, peerTopicsMax: 9, newPerSecond: 1000 })
    await using first = await startGuest(relay.address)
    await using other = await startGuest(relay.otherHost)
    const both = ['ns::a::1', 'ns::a::2']
    for (const guest of [first, other]) {
      for (const topic of both) guest.listen(topic)
      for (const topic of both) await relay.heardOf(topic, guest === first ? 1 : 2)
    }
    for (const topic of both) first.gossip.unsubscribe(topic)
    for (const topic of both) await relay.heardOf(topic)
    first.listen(TOPIC)
    await eventually(() => relay.topics().includes(TOPIC), 'there is room for what it listens to now')
    other.listen('ns::a::3')
    await relay.heardOf('ns::a::3')
    assert.deepEqual(relay.topics(), [...both, TOPIC])
  })

  it('goes on with a topic for those who had to wait for theirs when it was begun for others', async () => {
    await using relay = await startFollower({ topicsMax: 9, hostTopicsMax: 1, peerTopicsMax: 9, newPerSecond: 1000 })
    await using full = await startGuest(relay.address)
    await using other = await startGuest(relay.otherHost)
    for (const topic of ['ns::a::1', 'ns::a::2', TOPIC]) full.listen(topic)
    await relay.heardOf(TOPIC)
    other.listen(TOPIC)
    await eventually(() => relay.topics().join() === `ns::a::1,${TOPIC}`, 'it is begun')
    other.gossip.unsubscribe(TOPIC)
    await relay.heardOf(TOPIC)
    assert.deepEqual(relay.topics(), ['ns::a::1', TOPIC])
  })

  it('lets nobody who always begins with something take all turns', async () => {
    await using relay = await startFollower({ topicsMax: 99, hostTopicsMax: 9, peerTopicsMax: 9, newPerSecond: 10 })
    await using flood = await startGuest(relay.address)
    await using honest = await startGuest(relay.otherHost)
    const { peerId } = flood.node.libp2p
    const begun = new Set<string>()
    let isHeard = false
    let said = 0
    const heard = relay.heardOf(TOPIC).then(() => {
      isHeard = true
    })
    await eventually(async () => {
      for (let turn = 0; turn < 1000 && !relay.topics().includes(TOPIC); turn += 1) {
        const [next, last] = [said + 1, said].map(index => `ns::flood::${index}`)
        said += 1
        const subscriptions = [
          { topic: last, subscribe: false },
          { topic: next, subscribe: true }
        ]
        relay.told({ peerId, subscriptions })
        if (isHeard) for (const topic of relay.topics()) begun.add(topic)
        if (said === 100) honest.listen(TOPIC)
        await new Promise(resolve => setImmediate(resolve))
      }
      return begun.size > 5 || relay.topics().includes(TOPIC)
    }, 'somebody had turns')
    await heard
    assert.ok(relay.topics().includes(TOPIC), `${[...begun]}`)
  })

  it('passes on what is said on a topic that it follows after a thousand long ones, to those who come then too', async () => {
    await using relay = await startFollower({ ...FOLLOW_LIMITS, newPerSecond: 10_000 })
    await using early = await startGuest(relay.address)
    await using one = await startGuest(relay.address)
    await using two = await startGuest(relay.address)
    // More than a MiB as gossipsub counts them for one peer, and more than 256 KiB of names.
    const name = (index: number) => `ns::${'long'.repeat(16)}::${'long'.repeat(63)}${index}`
    for (let index = 0; index < 850; index += 1) (index % 2 ? one : two).listen(name(index))
    await eventually(() => relay.topics().length === 850, 'all are followed')
    await using late = await startGuest(relay.address)
    early.listen(TOPIC)
    late.listen(TOPIC)
    await hears(late, early)
    await hears(early, late)
  })

  it('tells each of its peers of many new topics, and of their ends, in few messages', async () => {
    await using relay = await startRelay()
    await using flood = await startGuest(relay.address)
    await using honest = await startGuest(relay.address)
    const { pubsub } = honest.node.libp2p.services
    let messages = 0
    pubsub.addEventListener('subscription-change', () => void messages++)
    const names = Array.from({ length: 300 }, (_, index) => `ns::flood::${index}`)
    for (const topic of names) flood.listen(topic)
    await eventually(() => names.every(topic => pubsub.getSubscribers(topic).length === 1), 'all are told')
    for (const topic of names) flood.gossip.unsubscribe(topic)
    await eventually(() => names.every(topic => pubsub.getSubscribers(topic).length === 0), 'their ends too')
    assert.ok(messages < 100, `${messages} messages`)
    honest.listen(TOPIC)
    flood.listen(TOPIC)
    await hears(flood, honest)
  })
})
