import assert from 'node:assert/strict'
import type { Connection, IdentifyResult } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import { SHARD_COUNT_MAX } from '../blobs/shards.ts'
import { ephemeralIdentity, type Identity } from '../identity.ts'
import { silentLog } from '../log.ts'
import { ANNOUNCEMENTS_PROTOCOL, createAnnouncements } from './announce.ts'
import { sendBytes, sendHeader } from './frames.ts'
import { STANDING } from './heard.ts'
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

  it('are thrown away when an older one comes after a newer, or their clock is far off; addresses are the last ones', async () => {
    await using teller = await startPeer()
    await using listener = await startPeer({ bootstrap: teller.network.multiaddrs() })
    await eventually(() => known(listener).includes(teller.network.self), 'who tells is known')
    const [mover, early, late, last] = await Promise.all(Array.from({ length: 4 }, () => ephemeralIdentity()))
    const now = Date.now()
    const farMs = 11 * 60_000
    const first = '/ip4/127.0.0.1/tcp/1'
    const kept = async (): Promise<string> => {
      const peer = await listener.node.libp2p.peerStore.get(peerIdFromString(mover!.peerId)).catch(() => null)
      return (peer?.addresses ?? []).map(({ multiaddr }) => String(multiaddr)).join()
    }
    const told: Array<[Identity, number, string]> = [
      [mover!, now - 2, first],
      [mover!, now, '/ip4/127.0.0.1/tcp/3'],
      [mover!, now - 1, '/ip4/127.0.0.1/tcp/2'],
      [early!, now - farMs, '/ip4/127.0.0.1/tcp/4'],
      [late!, now + farMs, '/ip4/127.0.0.1/tcp/5'],
      [last!, now, '/ip4/127.0.0.1/tcp/6']
    ]
    for (const [identity, timestamp, address] of told) {
      const announcement = {
        ...{ peerId: identity.peerId, nodeId: address, owner: '', url: `/p2p/${identity.peerId}`, shards: [] },
        ...{ shardCount: 1024, failureGroup: '', multiaddrs: [address], timestamp }
      }
      const signature = Buffer.from(identity.sign(Buffer.from(JSON.stringify(announcement)))).toString('base64')
      const said = Buffer.from(JSON.stringify({ ...announcement, signature }))
      await teller.node.libp2p.services.pubsub.publish(TOPICS.announce, said)
      if (address === first) await eventually(async () => (await kept()) === first, 'its address is kept')
    }
    await eventually(() => known(listener).includes(last!.peerId), 'the last one is known')
    assert.deepEqual(
      [mover, early, late].map(identity => listener.network.announced(identity!.peerId)?.nodeId),
      ['/ip4/127.0.0.1/tcp/3', undefined, undefined]
    )
    await eventually(async () => (await kept()) === '/ip4/127.0.0.1/tcp/3', 'only its last address is kept')
  })

  it('are looked at no further when their signature is wrong, however full the table is', async () => {
    await using listener = await startPeer()
    const { libp2p } = listener.node
    let ranked = 0
    const announcements = createAnnouncements({
      ...{ libp2p, own: null, identity: listener.identity, isAnchor: () => false, log: silentLog() },
      standing: () => {
        ranked++
        return STANDING.stranger
      }
    })
    await libp2p.unhandle(ANNOUNCEMENTS_PROTOCOL)
    await announcements.start()
    const shards = Array.from({ length: 1000 }, () => ({ start: 65_534, end: 65_535 }))
    const say = async (nth: number, by?: Identity): Promise<string> => {
      const identity = await ephemeralIdentity()
      const announcement = {
        ...{ peerId: identity.peerId, nodeId: 'x', owner: '', url: '', shards, shardCount: 65_536, failureGroup: '' },
        multiaddrs: Array.from({ length: 32 }, () => `/dns4/${'x'.repeat(400)}${nth}/tcp/1`),
        timestamp: Date.now()
      }
      const signer = by ?? identity
      const signature = Buffer.from(signer.sign(Buffer.from(JSON.stringify(announcement)))).toString('base64')
      const data = Buffer.from(JSON.stringify({ ...announcement, signature }))
      const detail = { topic: TOPICS.announce, data }
      libp2p.services.pubsub.dispatchEvent(new CustomEvent('message', { detail: detail as never }))
      return identity.peerId
    }
    let nth = 0
    // Until one has to make room for another.
    while (ranked === 0 && nth < 200) await say(nth++)
    assert.ok(ranked > 0)
    ranked = 0
    const forged = await say(nth, listener.identity)
    assert.equal(announcements.of(forged), null)
    assert.equal(ranked, 0)
    announcements.stop()
  })

  it('leave room for other work while a long list of them is looked through', async () => {
    const signed = await Promise.all(
      Array.from({ length: 300 }, async () => {
        const identity = await ephemeralIdentity()
        const announcement = {
          ...{ peerId: identity.peerId, nodeId: 'x', owner: '', url: `/p2p/${identity.peerId}`, shards: [] },
          ...{ shardCount: 1024, failureGroup: '', multiaddrs: [], timestamp: Date.now() }
        }
        const signature = Buffer.from(identity.sign(Buffer.from(JSON.stringify(announcement)))).toString('base64')
        return { ...announcement, signature }
      })
    )
    await using hub = await startPeer()
    await hub.node.libp2p.unhandle(ANNOUNCEMENTS_PROTOCOL)
    await hub.node.libp2p.handle(ANNOUNCEMENTS_PROTOCOL, async stream => {
      const json = Buffer.from(JSON.stringify(signed))
      const frame = { idleTimeoutMs: 5000, signal: AbortSignal.timeout(5000) }
      await sendHeader(stream, { sizeBytes: json.byteLength }, frame)
      await sendBytes(stream, [json], frame)
      await stream.close(frame)
    })
    await using listener = await startPeer({ bootstrap: hub.network.multiaddrs() })
    const seen = new Set<number>()
    await eventually(async () => {
      for (let turn = 0; turn < 1000; turn++) {
        seen.add(known(listener).length)
        await new Promise(resolve => setImmediate(resolve))
      }
      return known(listener).length >= 300
    }, 'all are known')
    assert.ok(seen.size > 10, `${seen.size} turns`)
  })

  it('are asked of a peer once a connection, however often it tells of itself', async () => {
    await using first = await startPeer()
    await using peer = await startPeer({ bootstrap: first.network.multiaddrs() })
    await eventually(() => known(peer).length === 2, 'it was asked')
    const { libp2p } = peer.node
    const connection = libp2p.getConnections(peerIdFromString(first.network.self)).find(({ direct }) => direct)!
    let asked = 0
    const { newStream } = connection
    connection.newStream = (protocols, options) => {
      if (protocols === ANNOUNCEMENTS_PROTOCOL) asked++
      return newStream.call(connection, protocols, options)
    }
    const tell = (by: Connection): void => {
      const detail = { peerId: connection.remotePeer, protocols: [ANNOUNCEMENTS_PROTOCOL], connection: by }
      libp2p.dispatchEvent(new CustomEvent('peer:identify', { detail: detail as unknown as IdentifyResult }))
    }
    for (let nth = 0; nth < 10; nth++) tell(connection)
    assert.equal(asked, 0)
    // By another connection it is asked again.
    tell(Object.create(connection) as Connection)
    assert.equal(asked, 1)
  })
})
