import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import {
  BlobNotFoundError,
  CidInvalidError,
  cidOf,
  createNetwork,
  createNetworkNode,
  ephemeralIdentity,
  GENEROUS_LIMITS,
  type Network,
  PeerRefusedError,
  silentLog,
  WarrenError
} from '../node/index.ts'
import { BlobMissingError, type Client, createClient, NoNodeError, SizeMismatchError } from './index.ts'

const MIB = 1024 * 1024
const LOOPBACK = '/ip4/127.0.0.1/tcp/0'

class Missing extends Error {}

interface Host {
  network: Network
  blobs: Map<string, Uint8Array>
  addresses: () => string[]
  stop: () => Promise<void>
}

async function host(
  role: 'node' | 'relay',
  options: { relays?: string[]; listen?: string[]; failAfterBytes?: number; silent?: boolean; refusal?: Error } = {}
): Promise<Host> {
  const identity = await ephemeralIdentity()
  const log = silentLog()
  const node = await createNetworkNode({
    role,
    identity,
    listen: options.listen ?? [LOOPBACK],
    relays: options.relays ?? [],
    limits: GENEROUS_LIMITS,
    log
  })
  const own =
    role === 'relay'
      ? null
      : { nodeId: identity.peerId, owner: '', shards: [{ start: 0, end: 1023 }], shardCount: 1024, failureGroup: '' }
  const network = createNetwork({ node, identity, own, members: null, limits: GENEROUS_LIMITS, log })
  const blobs = new Map<string, Uint8Array>()
  if (own !== null) {
    await network.serve({
      async put(source) {
        const chunks: Uint8Array[] = []
        for await (const chunk of source) chunks.push(chunk)
        const bytes = Buffer.concat(chunks)
        const cid = await cidOf([bytes])
        blobs.set(cid, bytes)
        return { cid, sizeBytes: bytes.byteLength }
      },
      putReplica: () => Promise.reject(new Missing()),
      async get(cid, { offset = 0, length, signal }) {
        if (options.silent) {
          return await new Promise<never>((_, reject) => signal?.addEventListener('abort', () => reject(new Missing())))
        }
        if (options.refusal !== undefined) throw options.refusal
        const bytes = blobs.get(cid)
        if (bytes === undefined) throw new BlobNotFoundError(cid)
        const range = bytes.subarray(offset, length === undefined ? undefined : offset + length)
        const { failAfterBytes = Number.POSITIVE_INFINITY } = options
        return {
          sizeBytes: bytes.byteLength,
          mimeType: '',
          bytes: (async function* () {
            for (let at = 0; at < range.byteLength; at += 65_536) {
              if (at >= failAfterBytes) throw new Missing()
              yield range.subarray(at, at + 65_536)
            }
          })()
        }
      },
      health: () => ({ status: 'healthy', storedBlobs: blobs.size, totalSize: 0 })
    })
  }
  await network.start()
  return { network, blobs, addresses: network.multiaddrs, stop: network.stop }
}

const POLL_MS = 20

async function known(network: Client['network'], nodes: number): Promise<void> {
  while (network.status().nodes < nodes) await new Promise(resolve => setTimeout(resolve, POLL_MS))
}

async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of source) chunks.push(chunk)
  return Buffer.concat(chunks)
}

describe('the client', function () {
  this.timeout(60_000)
  const running: Array<{ stop: () => Promise<void> }> = []
  const clients: Client[] = []

  afterEach(async () => {
    await Promise.all(clients.splice(0).map(client => client.close()))
    await Promise.all(running.splice(0).map(({ stop }) => stop()))
  })
  async function start(...given: Parameters<typeof host>): Promise<Host> {
    const started = await host(...given)
    running.push(started)
    return started
  }
  async function client(bootstrapPeers: string[], firstNodeTimeoutMs = 15_000): Promise<Client> {
    const made = await createClient({ bootstrapPeers, limits: GENEROUS_LIMITS, firstNodeTimeoutMs })
    clients.push(made)
    return made
  }

  it('stores and reads through a relay, and shows the way', async () => {
    const relay = await start('relay')
    const node = await start('node', { relays: relay.addresses(), listen: [] })
    const { storage, network } = await client(relay.addresses())
    const bytes = randomBytes(2 * MIB + 5)
    const { cid, sizeBytes, peerId } = await storage.put(bytes)
    assert.equal(sizeBytes, bytes.byteLength)
    assert.equal(peerId, node.network.self)
    const blob = await storage.get(cid, { offset: 7, length: MIB })
    assert.ok(bytes.subarray(7, 7 + MIB).equals(await collect(blob.bytes)))

    const [seen] = await network.nodes()
    assert.equal(seen?.peerId, node.network.self)
    assert.equal(seen?.path, 'relayed')
    assert.equal(seen?.health?.storedBlobs, 1)
    assert.equal(network.status().nodes, 1)
    assert.ok(network.peers().some(({ via }) => via === relay.network.self))
  })

  it('reads on from another node when one fails in the middle', async () => {
    const bad = await start('node', { failAfterBytes: 300_000 })
    const good = await start('node')
    const { storage, network } = await client([...bad.addresses(), ...good.addresses()])
    const bytes = randomBytes(MIB)
    const cid = await cidOf([bytes])
    bad.blobs.set(cid, bytes)
    good.blobs.set(cid, bytes)
    await storage.put(randomBytes(10))
    await known(network, 2)
    for (let i = 0; i < 6; i++) {
      const { bytes: read } = await storage.get(cid)
      assert.ok(bytes.equals(await collect(read)))
    }
  })

  it('reads past nodes that take the request and never answer', async () => {
    const silent = await Promise.all([1, 2, 3].map(async () => await start('node', { silent: true })))
    const good = await start('node')
    const { storage, network } = await client([good, ...silent].flatMap(({ addresses }) => addresses()))
    const bytes = randomBytes(MIB)
    const cid = await cidOf([bytes])
    good.blobs.set(cid, bytes)
    await known(network, 4)
    // Nodes are asked in a random order: eight reads meet a silent one first, all but surely.
    const reads = Array.from({ length: 8 }, async () => await collect((await storage.get(cid)).bytes))
    for (const read of await Promise.all(reads)) assert.ok(bytes.equals(read))
  })

  it('reads past nodes that refuse, and says why when all do', async () => {
    const cid = await cidOf([randomBytes(MIB)])
    const refusals = [
      new WarrenError('CONTENT_BLOCKED', 403, 'not here'),
      new WarrenError('RANGE_NOT_SATISFIABLE', 416, 'the whole of it is outside'),
      new CidInvalidError(cid, 'it is not, whatever others say')
    ]
    const refusing = await Promise.all(refusals.map(async refusal => await start('node', { refusal })))
    const addresses = refusing.map(node => node.addresses())
    const hopeless = await client(addresses.flat())
    await known(hopeless.network, 3)
    await assert.rejects(hopeless.storage.get(cid), PeerRefusedError)
    await assert.rejects(hopeless.storage.get('nonsense'), PeerRefusedError)
    const good = await start('node')
    const bytes = randomBytes(MIB)
    const kept = await cidOf([bytes])
    good.blobs.set(kept, bytes)
    const { storage, network } = await client([...addresses.flat(), ...good.addresses()])
    await known(network, 4)
    // Nodes are asked in a random order: each refuses first in some of these reads, all but surely.
    for (let i = 0; i < 16; i++) assert.ok(bytes.equals(await collect((await storage.get(kept)).bytes)))
  })

  it('takes no whole blob of other bytes than its CID names', async () => {
    const node = await start('node')
    const { storage } = await client(node.addresses())
    const { cid } = await storage.put(randomBytes(MIB))
    node.blobs.set(cid, randomBytes(MIB))
    const { bytes } = await storage.get(cid)
    await assert.rejects(collect(bytes), { code: 'CID_MISMATCH' })
    node.blobs.set(cid, new Uint8Array(0))
    await assert.rejects(collect((await storage.get(cid)).bytes), { code: 'CID_MISMATCH' })
    node.blobs.set(cid, randomBytes(MIB))
    const part = await storage.get(cid, { offset: 1, length: 10 })
    assert.equal((await collect(part.bytes)).byteLength, 10)
  })

  it('says what is wrong: nobody there, nobody has it, wrong size', async () => {
    const node = await start('node')
    const { storage } = await client(node.addresses())
    await assert.rejects(storage.get('absent'), BlobMissingError)
    await assert.rejects(storage.put(oneChunk(10), { sizeHint: 5 }), SizeMismatchError)
    await assert.rejects(storage.put(oneChunk(10), { sizeHint: 15 }), SizeMismatchError)
    const lonely = await client([], 200)
    await assert.rejects(lonely.storage.put(randomBytes(1)), NoNodeError)
  })
})

async function* oneChunk(sizeBytes: number) {
  yield randomBytes(sizeBytes)
}
