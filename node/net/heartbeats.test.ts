import assert from 'node:assert/strict'
import { ephemeralIdentity } from '../identity.ts'
import { silentLog } from '../log.ts'
import { createHeartbeats, type Heartbeat } from './heartbeats.ts'
import { TOPICS } from './libp2p.ts'
import { eventually, startPeer, type TestPeer } from './testing.ts'

const beatOf = (peer: TestPeer, of: TestPeer) =>
  peer.network.heartbeats().find(({ peerId }) => peerId === of.network.self) ?? null

describe('heartbeats', function () {
  this.timeout(30_000)

  it('tell every node how the others are', async () => {
    await using hub = await startPeer()
    await using left = await startPeer({ bootstrap: hub.network.multiaddrs() })
    await using right = await startPeer({ bootstrap: hub.network.multiaddrs() })
    right.blobs.set('x', new Uint8Array(1))
    for (const peer of [hub, left, right]) {
      await eventually(() => peer.network.heartbeats().length === 2, 'two others are heard')
    }
    const heard = (await eventually(() => beatOf(left, right), 'right is heard by left'))!
    assert.deepEqual([heard.status, heard.nodeId], ['healthy', right.identity.publicKey])
    assert.ok(heard.direct >= 1)
  })

  it('are thrown away when another wrote or signed them, when they are old, and when they are repeated', async () => {
    await using liar = await startPeer()
    await using listener = await startPeer({ bootstrap: liar.network.multiaddrs() })
    const { libp2p } = listener.node
    // One that is not in the way of many in a moment, so that lies are refused for what they are.
    const heartbeats = createHeartbeats({
      libp2p,
      identity: listener.identity,
      own: () => null,
      minGapMs: 0,
      log: silentLog()
    })
    heartbeats.start()
    const heard = () => heartbeats.all().find(({ peerId }) => peerId === liar.network.self) ?? null
    const honest = (await eventually(heard, 'the liar is heard'))!
    const victim = await ephemeralIdentity()
    const { pubsub } = liar.node.libp2p.services
    const arrived = new Set<string>()
    libp2p.services.pubsub.addEventListener('message', event => {
      arrived.add(Buffer.from((event as CustomEvent<{ data: Uint8Array }>).detail.data).toString())
    })
    const signed = (heartbeat: Heartbeat, by: { sign: (bytes: Uint8Array) => Uint8Array }, domain: string) =>
      JSON.stringify({
        ...heartbeat,
        signature: Buffer.from(by.sign(Buffer.from(domain + JSON.stringify(heartbeat)))).toString('base64')
      })
    const domain = 'warren heartbeat v1\n'
    const now = { ...honest, timestamp: honest.timestamp + 1000, storedBlobs: 99 }
    const lies = [
      // Truly signed by the victim, but sent by another.
      signed({ ...now, peerId: victim.peerId }, victim, domain),
      signed({ ...now, peerId: victim.peerId }, liar.identity, domain),
      signed(now, victim, domain),
      signed(now, liar.identity, ''),
      signed({ ...now, timestamp: honest.timestamp }, liar.identity, domain),
      signed({ ...now, timestamp: honest.timestamp - 1 }, liar.identity, domain),
      signed({ ...now, timestamp: honest.timestamp + 3_600_000 }, liar.identity, domain),
      signed({ ...now, status: 'fine' as never }, liar.identity, domain),
      '{}',
      'nonsense'
    ]
    for (const lie of lies) await pubsub.publish(TOPICS.control, Buffer.from(lie))
    await eventually(() => lies.every(lie => arrived.has(lie)), 'the lies arrived')
    assert.deepEqual(heartbeats.all(), [honest])
    // The same message with nothing wrong is heard: what was refused was refused for its fault.
    await pubsub.publish(TOPICS.control, Buffer.from(signed(now, liar.identity, domain)))
    await eventually(() => heard()?.storedBlobs === 99, 'the truth is heard')
    heartbeats.stop()
  })
})
