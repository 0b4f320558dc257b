import assert from 'node:assert/strict'
import type { IdentifyResult, Stream } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import { ProtocolViolationError } from '../errors.ts'
import { ephemeralIdentity } from '../identity.ts'
import { silentLog } from '../log.ts'
import { MAX_UNSIGNED_ADDRESSES } from './announce.ts'
import { createNetworkNode } from './libp2p.ts'
import { GENEROUS_LIMITS } from './limits.ts'
import { askPeerDirectory, MAX_DIRECTORY_BYTES, PEER_DIRECTORY_PROTOCOL, tellPeerDirectory } from './peer-directory.ts'
import { eventually, startPeer } from './testing.ts'

/** A relay that knows nothing of announcements and answers the directory's question as it likes. */
async function startOtherRelay(answer: (stream: Stream) => void) {
  const node = await createNetworkNode({
    role: 'relay',
    identity: await ephemeralIdentity(),
    listen: ['/ip4/127.0.0.1/tcp/0'],
    limits: GENEROUS_LIMITS,
    log: silentLog()
  })
  await node.libp2p.handle(PEER_DIRECTORY_PROTOCOL, answer)
  await node.start()
  return { node, address: String(node.libp2p.getMultiaddrs()[0]), [Symbol.asyncDispose]: () => node.stop() }
}

const entry = (peerId: string) => ({
  peerId,
  multiaddrs: ['/ip4/127.0.0.1/tcp/7', 'nonsense'],
  lastSeen: 1,
  isRegistered: true,
  onChainNodeId: null,
  nodeId: 'far'
})

describe('the peer directory, asked', () => {
  it('tells a node that begins with a relay without announcements where peers are', async () => {
    const known = (await ephemeralIdentity()).peerId
    const json = Buffer.from(JSON.stringify({ peers: [entry(known)], timestamp: 1 }))
    await using relay = await startOtherRelay(stream => void tellPeerDirectory(stream, json))
    await using peer = await startPeer({ bootstrap: [relay.address] })
    const addresses = await eventually(async () => {
      const found = await peer.node.libp2p.peerStore.get(peerIdFromString(known)).catch(() => null)
      return found !== null && found.addresses.length > 0 ? found.addresses : null
    }, 'the peer is known')
    assert.deepEqual(
      addresses!.map(({ multiaddr }) => String(multiaddr)),
      ['/ip4/127.0.0.1/tcp/7']
    )
    // A relay's word makes nobody a member.
    assert.deepEqual(
      peer.network.members().map(({ peerId }) => peerId),
      [peer.identity.peerId]
    )
  })

  it('tells of the others also where one row names nobody', async () => {
    const known = (await ephemeralIdentity()).peerId
    const json = Buffer.from(JSON.stringify({ peers: [entry('nobody'), entry(known)], timestamp: 1 }))
    await using relay = await startOtherRelay(stream => void tellPeerDirectory(stream, json))
    await using peer = await startPeer({ bootstrap: [relay.address] })
    await eventually(
      () =>
        peer.node.libp2p.peerStore.get(peerIdFromString(known)).then(
          ({ addresses }) => addresses.length > 0,
          () => false
        ),
      'the peer is known'
    )
  })

  it('gives a peer few addresses, however many a relay names again and again, and none beside those it signed', async () => {
    const unknown = (await ephemeralIdentity()).peerId
    await using signed = await startPeer()
    let asked = 0
    const naming = (peerId: string) => ({
      ...entry(peerId),
      multiaddrs: Array.from({ length: 64 }, (_, nth) => `/ip4/127.0.0.1/tcp/${1000 * (asked + 1) + nth}`)
    })
    await using relay = await startOtherRelay(stream => {
      asked++
      const peers = [unknown, signed.identity.peerId].map(naming)
      void tellPeerDirectory(stream, Buffer.from(JSON.stringify({ peers, timestamp: 1 })))
    })
    await using peer = await startPeer({ bootstrap: [...signed.network.multiaddrs(), relay.address] })
    const addressesOf = (peerId: string) =>
      peer.node.libp2p.peerStore.get(peerIdFromString(peerId)).then(
        ({ addresses }) => addresses.map(({ multiaddr }) => String(multiaddr)),
        () => []
      )
    await eventually(() => asked >= 2 && peer.network.members().length === 2, 'it was asked twice, and knows the peer')
    assert.equal((await addressesOf(unknown)).length, MAX_UNSIGNED_ADDRESSES)
    await eventually(async () => {
      const known = await addressesOf(signed.identity.peerId)
      const own = signed.network.multiaddrs().map(text => text.replace(/\/p2p\/.*/, ''))
      return known.length > 0 && known.every(text => own.includes(text.replace(/\/p2p\/.*/, '')))
    }, 'only its own word is left')
  })

  it('is asked by whoever meets the relay, not each time that the relay tells of itself', async () => {
    let asked = 0
    await using relay = await startOtherRelay(stream => {
      asked++
      void tellPeerDirectory(stream, Buffer.from('{"peers":[],"timestamp":1}'))
    })
    await using peer = await startPeer({ bootstrap: [relay.address] })
    const { libp2p } = peer.node
    const told = Promise.withResolvers<IdentifyResult>()
    libp2p.addEventListener('peer:identify', ({ detail }) => told.resolve(detail))
    const detail = await told.promise
    for (let nth = 0; nth < 20; nth++) libp2p.dispatchEvent(new CustomEvent('peer:identify', { detail }))
    await eventually(() => asked > 0, 'asked')
    // Streams come in the order in which they were opened.
    await askPeerDirectory(detail.connection)
    assert.ok(asked < 10, `asked ${asked} times`)
  })

  for (const [what, bytes] of Object.entries({
    'a length over the limit': lengthOf(MAX_DIRECTORY_BYTES + 1),
    'no JSON': framed('{"peers":'),
    'another shape': framed('{"peers":[{"peerId":7}],"timestamp":1}'),
    'no object': framed('null')
  })) {
    it(`refuses ${what}`, async () => {
      await using relay = await startOtherRelay(stream => {
        stream.send(bytes)
        void stream.close().catch(() => undefined)
      })
      await using peer = await startPeer()
      const connection = await peer.node.libp2p.dial(relay.node.libp2p.getMultiaddrs())
      await assert.rejects(askPeerDirectory(connection), ProtocolViolationError)
    })
  }

  it('refuses an answer that ends before its length', async () => {
    await using relay = await startOtherRelay(stream => {
      stream.send(lengthOf(100))
      void stream.close().catch(() => undefined)
    })
    await using peer = await startPeer()
    const connection = await peer.node.libp2p.dial(relay.node.libp2p.getMultiaddrs())
    await assert.rejects(askPeerDirectory(connection), { code: 'TRANSFER_CUT' })
  })
})

function lengthOf(bytes: number): Uint8Array {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes)
  return length
}

function framed(text: string): Uint8Array {
  return Buffer.concat([lengthOf(Buffer.byteLength(text)), Buffer.from(text)])
}
