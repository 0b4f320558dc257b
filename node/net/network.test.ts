import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { peerIdFromString } from '@libp2p/peer-id'
import { multiaddr } from '@multiformats/multiaddr'
import { PeerRefusedError } from '../errors.ts'
import { ephemeralIdentity } from '../identity.ts'
import { eventually, memoryHandlers, startPeer, startRelay, type TestPeer } from './testing.ts'

const MIB = 1024 * 1024

function blobOf(bytes: Uint8Array) {
  return {
    sizeBytes: bytes.byteLength,
    mimeType: 'application/octet-stream',
    open: (offset = 0) =>
      (async function* () {
        for (let at = offset; at < bytes.byteLength; at += 65_536)
          yield bytes.subarray(at, Math.min(at + 65_536, bytes.byteLength))
      })()
  }
}

async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of source) chunks.push(chunk)
  return Buffer.concat(chunks)
}

const pathTo = ({ network }: TestPeer, other: TestPeer) =>
  network.connections().find(({ peerId }) => peerId === other.identity.peerId)

/** Introduces a to b directly. */
const introduce = (a: TestPeer, b: TestPeer) => a.node.libp2p.dial(b.node.libp2p.getMultiaddrs())

describe('the network', function () {
  this.timeout(60_000)
  const signal = new AbortController().signal

  it('takes a peer for unreachable when the time of its caller ran out, not when the caller lost interest', async () => {
    const silent = createServer().listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const { port } = silent.address() as { port: number }
    const { peerId } = await ephemeralIdentity()
    const member = { nodeId: 'silent', peerId, owner: '', url: `/p2p/${peerId}` }
    try {
      await using a = await startPeer({ members: { nodes: () => [member] } })
      const reachable = () => a.network.members().find(each => each.peerId === peerId)?.reachable
      await a.node.libp2p.peerStore.merge(peerIdFromString(peerId), {
        multiaddrs: [multiaddr(`/ip4/127.0.0.1/tcp/${port}`)]
      })
      const lost = new AbortController()
      const asked = a.network.health(peerId, { signal: lost.signal })
      lost.abort()
      await assert.rejects(asked)
      assert.equal(reachable(), true)
      await assert.rejects(a.network.health(peerId, { signal: AbortSignal.timeout(200) }))
      assert.equal(reachable(), false)
    } finally {
      silent.close()
    }
  })

  it('stores, replicates, retrieves ranges and reports health over a direct connection', async () => {
    await using a = await startPeer()
    await using b = await startPeer()
    await introduce(a, b)
    const bytes = randomBytes(3 * MIB + 17)
    const { cid, sizeBytes } = await a.network.store(b.network.self, blobOf(bytes))
    assert.equal(sizeBytes, bytes.byteLength)
    assert.ok(bytes.equals(b.blobs.get(cid)!))

    const blob = await a.network.retrieve(b.network.self, cid, { offset: 1000, length: 2 * MIB, signal })
    assert.equal(blob.sizeBytes, bytes.byteLength)
    assert.equal(blob.mimeType, 'text/plain')
    assert.ok(bytes.subarray(1000, 1000 + 2 * MIB).equals(await collect(blob.bytes)))

    const probe = await a.network.retrieve(b.network.self, cid, { length: 0, signal })
    assert.equal(probe.sizeBytes, bytes.byteLength)
    assert.equal((await collect(probe.bytes)).byteLength, 0)

    assert.deepEqual(await a.network.replicate(b.network.self, { cid, ...blobOf(bytes) }, { signal }), {
      alreadyStored: true
    })
    assert.deepEqual(await a.network.replicate(b.network.self, { cid: 'other', ...blobOf(bytes) }, { signal }), {
      alreadyStored: false
    })
    const health = await a.network.health(b.network.self)
    assert.equal(health.peerId, b.identity.peerId)
    assert.equal(health.storedBlobs, 2)
    assert.ok(health.connections.some(({ peerId, path }) => peerId === a.identity.peerId && path === 'direct'))
  })

  it('stores bytes whose number nobody knows', async () => {
    await using a = await startPeer()
    await using b = await startPeer()
    await introduce(a, b)
    const bytes = randomBytes(200_001)
    const stored = await a.network.store(b.network.self, { ...blobOf(bytes), sizeBytes: null })
    assert.equal(stored.sizeBytes, bytes.byteLength)
    assert.ok(bytes.equals(b.blobs.get(stored.cid)!))
  })

  it('goes through a relay, and on after the relay cuts the circuit at its limit', async () => {
    await using relay = await startRelay({ limits: { circuitDataBytes: 1.5 * MIB } })
    await using a = await startPeer({ relays: [relay.address], listen: [] })
    await using b = await startPeer({ relays: [relay.address], listen: [] })
    await eventually(() => b.network.anchors().every(({ reserved }) => reserved), 'b reserved')
    const bytes = randomBytes(5 * MIB)
    const { cid } = await a.network.store(b.network.self, blobOf(bytes))
    assert.ok(bytes.equals(b.blobs.get(cid)!), 'stored bytes differ')
    assert.equal(pathTo(a, b)?.path, 'relayed')
    assert.equal(pathTo(a, b)?.via, relay.node.libp2p.peerId.toString())

    const blob = await a.network.retrieve(b.network.self, cid, { signal })
    assert.ok(bytes.equals(await collect(blob.bytes)), 'retrieved bytes differ')
    assert.deepEqual(await a.network.replicate(b.network.self, { cid: 'again', ...blobOf(bytes) }, { signal }), {
      alreadyStored: false
    })
    assert.ok(bytes.equals(b.blobs.get('again')!))
  })

  it('prefers the direct connection when there are both', async () => {
    await using relay = await startRelay()
    await using a = await startPeer({ relays: [relay.address], listen: [] })
    await using b = await startPeer({ relays: [relay.address] })
    await eventually(() => b.network.anchors().every(({ reserved }) => reserved), 'b reserved')
    await a.network.health(b.network.self)
    await introduce(a, b).catch(() => undefined)
    await a.node.libp2p.dial(
      b.node.libp2p.getMultiaddrs().filter(at => !at.toString().includes('p2p-circuit')),
      {
        force: true
      } as object
    )
    const used = b.network.connections().filter(({ peerId }) => peerId === a.identity.peerId)
    assert.ok(used.some(({ path }) => path === 'direct'))
    const bytes = randomBytes(MIB)
    await a.network.store(b.network.self, blobOf(bytes))
    const direct = a.node.libp2p.getConnections(b.node.libp2p.peerId).filter(connection => connection.direct)
    assert.notEqual(direct.length, 0)
  })

  it('reserves again when its relay was restarted', async () => {
    const first = await startRelay()
    await using a = await startPeer({ relays: [first.address], listen: [] })
    await using b = await startPeer({ relays: [first.address] })
    const reserved = () => b.network.anchors().every(anchor => anchor.reserved)
    await eventually(reserved, 'b reserved')
    await first[Symbol.asyncDispose]()
    await eventually(() => !reserved(), 'b noticed')
    await using second = await startRelay({ identity: first.identity, port: first.port })
    assert.equal(second.address, first.address)
    await eventually(reserved, 'b reserved again')
    await eventually(() => a.network.anchors().every(anchor => anchor.connected), 'a is back at the relay')
    assert.equal((await a.network.health(b.network.self)).peerId, b.identity.peerId)
  })

  it('goes through a relay that is configured by name, and follows no name that a peer told', async () => {
    await using relay = await startRelay()
    const byName = (address: string) => address.replace('/ip4/127.0.0.1/', '/dns4/localhost/')
    await using a = await startPeer({ relays: [byName(relay.address)], listen: [] })
    await using b = await startPeer({ relays: [byName(relay.address)], listen: [] })
    await eventually(() => b.network.anchors().every(({ reserved }) => reserved), 'b reserved')
    assert.equal((await a.network.health(b.network.self)).peerId, b.identity.peerId)
    await using c = await startPeer()
    const { peerId } = c.node.libp2p
    const told = c.node.libp2p.getMultiaddrs().filter(address => address.toString().includes('/tcp/'))
    await a.node.libp2p.peerStore.merge(peerId, { multiaddrs: told.map(address => multiaddr(byName(`${address}`))) })
    await assert.rejects(a.node.libp2p.dial(peerId), { name: 'DialDeniedError' })
    assert.deepEqual(c.node.libp2p.getConnections(), [])
  })

  it('tells the peer’s refusal', async () => {
    await using a = await startPeer()
    await using b = await startPeer({
      handlers: blobs => ({ ...memoryHandlers(blobs), put: () => Promise.reject(new Error('disk on fire')) })
    })
    await introduce(a, b)
    await assert.rejects(a.network.store(b.network.self, blobOf(randomBytes(20 * MIB))), (error: PeerRefusedError) => {
      assert.ok(error instanceof PeerRefusedError)
      assert.equal(error.code, 'INTERNAL_ERROR')
      assert.doesNotMatch(error.message, /fire/)
      return true
    })
  })
})
