import assert from 'node:assert/strict'
import type { GossipSub } from '@chainsafe/libp2p-gossipsub'
import { RPC } from '@chainsafe/libp2p-gossipsub/message'
import type { Startable } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import { ephemeralIdentity } from '../identity.ts'
import { silentLog } from '../log.ts'
import { createNetworkNode } from './libp2p.ts'
import { GENEROUS_LIMITS } from './limits.ts'
import { eventually, startRelay } from './testing.ts'

async function startGuest() {
  const identity = await ephemeralIdentity()
  const node = await createNetworkNode({
    role: 'client',
    identity,
    enableDht: false,
    limits: GENEROUS_LIMITS,
    log: silentLog()
  })
  await node.start()
  return { node, [Symbol.asyncDispose]: () => node.stop() }
}

/** A message of gossip that says so much, its length before it. */
function subscribing(topics: string[]): Uint8Array {
  const rpc = RPC.encode({ subscriptions: topics.map(topic => ({ topic, subscribe: true })), messages: [] })
  const length = rpc.length < 0x80 ? [rpc.length] : [(rpc.length & 0x7f) | 0x80, rpc.length >> 7]
  return Buffer.concat([Buffer.from(length), rpc])
}

describe('gossip of a peer that is gone', function () {
  this.timeout(60_000)

  it('is not taken: nothing of it stays, however much it said in the end', async () => {
    await using relay = await startRelay()
    const { libp2p } = relay.node
    const pubsub = libp2p.services.pubsub as GossipSub & Record<'topics' | 'peerTopicBytes', Map<string, unknown>>
    for (const round of [0, 1, 2]) {
      await using guest = await startGuest()
      const connection = await guest.node.libp2p.dial(multiaddr(relay.address))
      const stream = await connection.newStream('/meshsub/1.1.0')
      for (let nth = 0; nth < 30; nth++) {
        stream.send(subscribing(Array.from({ length: 30 }, (_, i) => `ns::guest::${round}/${nth}/${i}`)))
      }
      await connection.close()
    }
    await eventually(() => libp2p.getPeers().length === 0, 'all are gone')
    await using last = await startGuest()
    const connection = await last.node.libp2p.dial(multiaddr(relay.address))
    const stream = await connection.newStream('/meshsub/1.1.0')
    stream.send(subscribing(['ns::last::1']))
    await eventually(() => pubsub.getSubscribers('ns::last::1').length === 1, 'the last is heard')
    const left = [...pubsub.topics.keys(), ...pubsub.getTopics()].filter(topic => topic.startsWith('ns::guest'))
    assert.deepEqual([left.length, [...pubsub.peerTopicBytes.keys()].length], [0, 1])
  })

  it('is forgotten, though gossipsub had let go of it before, for it does not say that it speaks gossip', async () => {
    await using relay = await startRelay()
    const { libp2p } = relay.node
    const pubsub = libp2p.services.pubsub as GossipSub &
      Record<'peers' | 'topics' | 'peerTopicBytes', Map<string, unknown>>
    await using guest = await startGuest()
    await (guest.node.libp2p.services.pubsub as unknown as Startable).stop()
    const connection = await guest.node.libp2p.dial(multiaddr(relay.address))
    const stream = await connection.newStream('/meshsub/1.1.0')
    let said = 0
    await eventually(() => {
      said += 1
      stream.send(subscribing([`ns::guest::${said}`]))
      return pubsub.peers.size === 0 && pubsub.topics.size > 0
    }, 'it is heard, though let go of')
    await guest.node.stop()
    await eventually(() => libp2p.getPeers().length === 0, 'it is gone')
    assert.deepEqual([pubsub.peers.size, pubsub.topics.size, pubsub.peerTopicBytes.size], [0, 0, 0])
  })
})
