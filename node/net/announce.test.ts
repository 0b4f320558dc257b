import assert from 'node:assert/strict'
import { SHARD_COUNT_MAX } from '../blobs/shards.ts'
import { ephemeralIdentity } from '../identity.ts'
import { TOPICS } from './libp2p.ts'
import { eventually, startPeer, startRelay, type TestPeer } from './testing.ts'

const known = ({ network }: TestPeer) =>
  network
    .members()
    .map(({ peerId }) => peerId)
    .sort()

describe('announcements', function () {
  this.timeout(60_000)

  it('reach those who are there and, by the relay’s list, those who come later', async () => {
    await using relay = await startRelay()
    // The role of a relay is composed without a network here; a peer that begins with another one asks that one.
    await using first = await startPeer()
    const beginWith = { bootstrap: first.network.multiaddrs(), relays: [relay.address] }
    await using a = await startPeer(beginWith)
    await using b = await startPeer(beginWith)
    const three = [first, a, b].map(({ network }) => network.self).sort()
    for (const peer of [first, a, b]) await eventually(() => known(peer).length === 3, 'three are known')
    assert.deepEqual(known(a), three)

    await using late = await startPeer(beginWith)
    await eventually(() => known(late).length === 4, 'the latecomer knows all')
    const facts = late.network.members().find(({ peerId }) => peerId === a.network.self)
    assert.equal(facts?.failureGroup, 'here')
  })

  it('are said again when what a node owns changed, with how it came to it and its room', async () => {
    let shards = [{ start: 0, end: 7 }]
    const own = {
      nodeId: 'mover',
      owner: '',
      get shards() {
        return shards
      },
      shardMode: 'auto' as const,
      capacityBytes: 4096,
      shardCount: 16,
      failureGroup: ''
    }
    await using listener = await startPeer()
    await using mover = await startPeer({ own, bootstrap: listener.network.multiaddrs() })
    const { self } = mover.network
    const seen = () => listener.network.members().find(({ peerId }) => peerId === self)?.shards
    await eventually(() => seen()?.length === 1, 'it is known')
    assert.deepEqual(seen(), shards)
    shards = [
      { start: 0, end: 3 },
      { start: 12, end: 15 }
    ]
    mover.network.announceSoon()
    await eventually(() => seen()?.length === 2, 'its new ranges are known')
    assert.deepEqual(seen(), shards)
    const { shardMode, capacityBytes } = listener.network.announced(self) ?? {}
    assert.deepEqual([shardMode, capacityBytes], ['auto', 4096])
    assert.equal(mover.network.announced(listener.network.self)?.shardMode, undefined)
  })

  it('are heard from every one of a crowd behind one address', async () => {
    await using hub = await startPeer()
    const crowd = await Promise.all(
      Array.from({ length: 15 }, () => startPeer({ bootstrap: hub.network.multiaddrs() }))
    )
    try {
      await eventually(() => known(hub).length === 16, 'the hub knows all')
      for (const peer of crowd) await eventually(() => known(peer).length === 16, 'all know all')
    } finally {
      await Promise.all(crowd.map(peer => peer[Symbol.asyncDispose]()))
    }
  })

  it('are thrown away when another than the announced peer signed them', async () => {
    await using liar = await startPeer()
    await using listener = await startPeer({ bootstrap: liar.network.multiaddrs() })
    await eventually(() => known(listener).includes(liar.network.self), 'the liar is known')
    const victim = await ephemeralIdentity()
    const announcement = {
      peerId: victim.peerId,
      nodeId: 'x',
      owner: '',
      url: `/p2p/${victim.peerId}`,
      shards: [],
      shardCount: 1024,
      failureGroup: '',
      multiaddrs: [],
      timestamp: Date.now()
    }
    const signature = Buffer.from(liar.identity.sign(Buffer.from(JSON.stringify(announcement)))).toString('base64')
    const { pubsub } = liar.node.libp2p.services
    const arrived = new Set<string>()
    listener.node.libp2p.services.pubsub.addEventListener('message', event => {
      const { topic, data } = (event as CustomEvent<{ topic: string; data: Uint8Array }>).detail
      if (topic === TOPICS.announce) arrived.add(Buffer.from(data).toString())
    })
    const lies = [
      JSON.stringify({ ...announcement, signature }),
      JSON.stringify({ ...announcement, signature: '' }),
      JSON.stringify(announcement),
      '{}',
      'nonsense'
    ]
    for (const lie of lies) await pubsub.publish(TOPICS.announce, Buffer.from(lie))
    await eventually(() => lies.every(lie => arrived.has(lie)), 'the lies arrived')
    assert.ok(!known(listener).includes(victim.peerId))
  })

  it('are thrown away when they name a shard or a number of shards beyond any there can be', async () => {
    await using liar = await startPeer()
    await using listener = await startPeer({ bootstrap: liar.network.multiaddrs() })
    await eventually(() => known(listener).includes(liar.network.self), 'the liar is known')
    const { pubsub } = liar.node.libp2p.services
    // Each signed by itself and from another identity; the last one is right, and comes after the others.
    const wrongs = [{ shardCount: SHARD_COUNT_MAX + 1 }, { shards: [{ start: 0, end: SHARD_COUNT_MAX }] }]
    const said: string[] = []
    for (const wrong of [...wrongs, {}]) {
      const identity = await ephemeralIdentity()
      const announcement = {
        ...{ peerId: identity.peerId, nodeId: 'x', owner: '', url: `/p2p/${identity.peerId}`, shards: [] },
        ...{ shardCount: SHARD_COUNT_MAX, failureGroup: '', multiaddrs: [], timestamp: Date.now(), ...wrong }
      }
      const signature = Buffer.from(identity.sign(Buffer.from(JSON.stringify(announcement)))).toString('base64')
      await pubsub.publish(TOPICS.announce, Buffer.from(JSON.stringify({ ...announcement, signature })))
      said.push(identity.peerId)
    }
    await eventually(() => known(listener).includes(said.at(-1)!), 'the right one is known')
    assert.deepEqual(
      said.filter(peerId => known(listener).includes(peerId)),
      said.slice(-1)
    )
  })
})
