import assert from 'node:assert/strict'
import { peerIdFromString } from '@libp2p/peer-id'
import {
  type Announcement,
  askPeerDirectory,
  ephemeralIdentity,
  MAX_DIRECTORY_BYTES,
  PEER_DIRECTORY_PROTOCOL,
  TOPICS
} from '../node/index.ts'
import { createDirectory, STALE_AFTER_MS } from './directory.ts'
import { eventually, type RelayPeer, startRelayPeer, startTestRelay } from './testing.ts'

const directConnection = (peer: RelayPeer, relayId: string) =>
  peer.node.libp2p.getConnections(peerIdFromString(relayId)).find(({ direct }) => direct)!

const announcement = (peerId: string, timestamp: number, multiaddrs: string[] = []): Announcement => ({
  peerId,
  nodeId: `name of ${peerId}`,
  owner: '',
  url: `/p2p/${peerId}`,
  shards: [],
  shardCount: 1024,
  failureGroup: '',
  multiaddrs,
  timestamp
})

function directoryAt(clock: { now: number }, options: Partial<Parameters<typeof createDirectory>[0]> = {}) {
  const connected = new Set<string>()
  const libp2p = null as unknown as Parameters<typeof createDirectory>[0]['libp2p']
  const directory = createDirectory({
    libp2p,
    members: null,
    connected: () => connected,
    maxPeers: 100,
    now: () => clock.now,
    ...options
  })
  return { ...directory, connected }
}

describe('the relay’s directory', () => {
  it('forgets who was not seen for 5 minutes, unless it is connected', () => {
    const clock = { now: 1_000_000 }
    const { heard, peers, connected } = directoryAt(clock)
    heard(announcement('gone', clock.now))
    heard(announcement('here', clock.now))
    connected.add('here')
    clock.now += STALE_AFTER_MS
    assert.equal(peers().length, 2)
    clock.now += 1
    assert.deepEqual(
      peers().map(({ peerId, lastSeen }) => [peerId, lastSeen]),
      [['here', clock.now]]
    )
  })

  it('takes a peer to be as old as its announcement, whoever repeats it, and never of the future', () => {
    const clock = { now: 10_000_000 }
    const { heard, peers } = directoryAt(clock)
    heard(announcement('old', clock.now - STALE_AFTER_MS - 1))
    heard(announcement('ahead', clock.now + 60_000))
    assert.deepEqual(
      peers().map(({ peerId, lastSeen }) => [peerId, lastSeen]),
      [['ahead', clock.now]]
    )
  })

  it('has only peers of the registry where one is read, with the ids that it gives them', () => {
    const clock = { now: 0 }
    const rows = [{ nodeId: '0xabc', peerId: 'registered', owner: '0x1', url: '/p2p/registered' }]
    const { heard, peers } = directoryAt(clock, { members: { nodes: () => rows } })
    heard({ ...announcement('impostor', 0), nodeId: '0xabc', ...{ isRegistered: true, onChainNodeId: '0xabc' } })
    heard(announcement('registered', 0))
    assert.deepEqual(peers(), [
      {
        peerId: 'registered',
        multiaddrs: [],
        lastSeen: 0,
        isRegistered: true,
        onChainNodeId: '0xabc',
        nodeId: 'name of registered'
      }
    ])
    const unread = directoryAt(clock, { members: { nodes: () => null } })
    unread.heard(announcement('registered', 0))
    assert.deepEqual(unread.peers(), [])
  })

  it('keeps the peers of the registry, however many others announce themselves', () => {
    const clock = { now: 0 }
    const rows = [{ nodeId: '0xabc', peerId: 'registered', owner: '0x1', url: '/p2p/registered' }]
    const { heard, peers } = directoryAt(clock, { members: { nodes: () => rows } })
    heard(announcement('registered', 0))
    for (let i = 0; i < 200; i++) heard(announcement(`stranger ${i}`, ++clock.now))
    assert.deepEqual(
      peers().map(({ peerId }) => peerId),
      ['registered']
    )
  })

  it('keeps a bounded number of peers, and answers a bounded number of bytes', () => {
    const clock = { now: 0 }
    const address = `/dns4/${'a'.repeat(480)}/tcp/1`
    const few = directoryAt(clock)
    for (let i = 0; i < 200; i++) few.heard(announcement(`peer ${i}`, ++clock.now))
    assert.equal(few.peers().length, 100)
    assert.equal(few.peers()[0]!.peerId, 'peer 199')
    const many = directoryAt(clock, { maxPeers: 1000 })
    for (let i = 0; i < 1000; i++) many.heard(announcement(`peer ${i}`, ++clock.now, Array(32).fill(address)))
    const peers = many.peers()
    assert.ok(peers.length > 10)
    assert.ok(Buffer.byteLength(JSON.stringify({ peers, timestamp: clock.now })) <= MAX_DIRECTORY_BYTES)
  })
})

describe('a relay asked for its peers', function () {
  this.timeout(60_000)

  it('answers with those that announced themselves: length, JSON, end', async () => {
    await using relay = await startTestRelay()
    await using node = await startRelayPeer(relay.address)
    await using client = await startRelayPeer(relay.address, { role: 'client' })
    const relayId = relay.relay.peerId
    const connection = await eventually(() => directConnection(client, relayId), 'connected')
    const answer = await eventually(async () => {
      const given = await askPeerDirectory(connection)
      return given.peers.length > 0 ? given : null
    }, 'the node is in it')
    const [peer] = answer!.peers
    assert.equal(answer!.peers.length, 1)
    assert.equal(peer!.peerId, node.peerId)
    assert.equal(peer!.isRegistered, true)
    assert.equal(peer!.onChainNodeId, null)
    assert.equal(peer!.nodeId, `name of ${node.peerId}`)
    assert.ok(Math.abs(peer!.lastSeen - Date.now()) < 60_000)
    const { registered } = (await (await relay.get('/peers')).json()) as { registered: Array<{ peerId: string }> }
    assert.deepEqual(
      registered.map(({ peerId }) => peerId),
      [node.peerId]
    )

    const stream = await connection.newStream(PEER_DIRECTORY_PROTOCOL)
    const chunks: Uint8Array[] = []
    stream.addEventListener('message', ({ data }) => chunks.push(data.subarray()))
    await eventually(() => stream.remoteWriteStatus === 'closed' && stream.readBufferLength === 0, 'it ended')
    const bytes = Buffer.concat(chunks)
    stream.abort(new Error('read'))
    assert.equal(bytes.readUInt32BE(), bytes.byteLength - 4)
    assert.deepEqual(Object.keys(JSON.parse(bytes.subarray(4).toString('utf8'))), ['peers', 'timestamp'])
  })

  it('has nobody whom another announced, and nobody who only connected or reserved', async () => {
    await using relay = await startTestRelay()
    await using victim = await startRelayPeer(relay.address)
    await using liar = await startRelayPeer(relay.address, { role: 'client' })
    const absent = await ephemeralIdentity()
    const connection = await eventually(() => directConnection(liar, relay.relay.peerId), 'connected')
    await eventually(
      () => liar.node.libp2p.services.pubsub.getSubscribers(TOPICS.announce).length > 0,
      'the relay listens'
    )
    const forged = announcement(absent.peerId, Date.now(), ['/ip4/11.6.6.6/tcp/1'])
    const signature = Buffer.from(absent.sign(new TextEncoder().encode('another text'))).toString('base64')
    const say = () =>
      liar.node.libp2p.services.pubsub.publish(
        TOPICS.announce,
        Buffer.from(JSON.stringify({ ...forged, timestamp: Date.now(), signature, isRegistered: true }))
      )
    const peers = await eventually(async () => {
      await say()
      const given = await askPeerDirectory(connection)
      return given.peers.some(({ peerId }) => peerId === victim.peerId) ? given.peers : null
    }, 'the honest one is in it')
    assert.deepEqual(
      peers!.map(({ peerId }) => peerId),
      [victim.peerId]
    )
  })
})
