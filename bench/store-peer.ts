/**
 * One of three nodes that `replicate.ts` measures: the store and the blob service, over our network or over bare TCP, in a
 * process of its own. There is no HTTP: it makes the blobs itself.
 */
import { randomBytes, randomFillSync } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import {
  type BlobNetwork,
  type BlobService,
  createBlobService,
  createNetwork,
  createNetworkNode,
  ephemeralIdentity,
  GENEROUS_LIMITS,
  openStore,
  type RegisteredNode,
  silentLog
} from '../node/index.ts'
import { obeyOrders } from './peers.ts'
import { createRawNetwork } from './raw-network.ts'

/** `quiet` is ours without announcements in the DHT. */
export type Transport = 'warren' | 'quiet' | 'raw'

export interface Place {
  peerId: string
  /** With the peer id; none over bare TCP. */
  addresses: string[]
  /** Of bare TCP. */
  port: number
}

export type StoreOrder =
  | { do: 'start'; transport: Transport; dataDir: string }
  | { do: 'meet'; peers: Place[] }
  | { do: 'put'; bytes: number; count: number; atOnce: number }
  /** Waits until so many are here. */
  | { do: 'hold'; blobs: number }
  | { do: 'forget' }

const CAPACITY_BYTES = 8 * 2 ** 30
const BLOB_BYTES_MAX = 2 ** 26
const SHARD_COUNT = 1024
const REPLICAS = 3
const QUORUM = 2
const TIMEOUT_MS = 30_000
const STAMP_BYTES = 16
const LOOK_EVERY_MS = 2
const WAIT_LIMIT_MS = 60_000

const log = silentLog()
let store: Awaited<ReturnType<typeof openStore>>
let blobs: BlobService
let meet: (peers: Place[]) => Promise<void>

async function start(transport: Transport, dataDir: string): Promise<Place> {
  store = await openStore({ dataDir, capacityBytes: CAPACITY_BYTES, secret: randomBytes(32), log })
  return transport === 'raw' ? await startRaw() : await startOurs(transport === 'warren')
}

function serviceOver(network: BlobNetwork): BlobService {
  return createBlobService({
    store,
    network,
    shards: () => [{ start: 0, end: SHARD_COUNT - 1 }],
    shardsAssigned: () => true,
    shardCount: SHARD_COUNT,
    replicationFactor: REPLICAS,
    quorum: QUORUM,
    timeoutMs: TIMEOUT_MS,
    maxBlobBytes: BLOB_BYTES_MAX,
    membersKnown: () => true,
    log
  })
}

async function startRaw(): Promise<Place> {
  const network = createRawNetwork(`raw-${process.pid}`, SHARD_COUNT)
  blobs = serviceOver(network)
  meet = async peers => network.meet(peers)
  const port = await network.listen(blobs, async cid => (await store.stat(cid))?.sizeBytes ?? null)
  return { peerId: network.self, addresses: [], port }
}

async function startOurs(enableDht: boolean): Promise<Place> {
  const identity = await ephemeralIdentity()
  const listen = ['/ip4/127.0.0.1/tcp/0']
  const node = await createNetworkNode({ role: 'node', identity, listen, limits: GENEROUS_LIMITS, enableDht, log })
  let rows: RegisteredNode[] = []
  const shards = [{ start: 0, end: SHARD_COUNT - 1 }]
  const network = createNetwork({
    node,
    identity,
    own: { nodeId: identity.peerId, owner: '', shards, shardCount: SHARD_COUNT, failureGroup: identity.peerId },
    // As a registry would have them.
    members: { nodes: () => rows },
    limits: GENEROUS_LIMITS,
    log
  })
  blobs = serviceOver(network)
  await network.serve({
    put: blobs.put,
    putReplica: blobs.putReplica,
    get: blobs.get,
    health: () => ({ status: 'healthy', storedBlobs: store.stats().storedBlobs, totalSize: 0 })
  })
  await network.start()
  meet = async peers => {
    for (const { peerId, addresses } of peers) if (peerId !== identity.peerId) await network.connect(addresses[0]!)
    rows = peers.map(({ peerId }) => ({ nodeId: peerId, peerId, owner: '', url: `/p2p/${peerId}` }))
  }
  return { peerId: identity.peerId, addresses: network.multiaddrs(), port: 0 }
}

async function put(bytes: number, count: number, atOnce: number): Promise<void> {
  let next = 0
  const worker = async (): Promise<void> => {
    const body = randomBytes(bytes)
    while (next++ < count) {
      randomFillSync(body, 0, STAMP_BYTES)
      const { replicas } = await blobs.put(whole(body), { sizeHint: bytes })
      if (replicas.length < QUORUM) throw new Error(`acknowledged with ${replicas.length} copies`)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
}

async function* whole(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

async function hold(count: number): Promise<void> {
  const deadline = performance.now() + WAIT_LIMIT_MS
  for (;;) {
    const { storedBlobs } = store.stats()
    if (storedBlobs >= count) return
    if (performance.now() > deadline) throw new Error(`${storedBlobs} of ${count} blobs came`)
    await delay(LOOK_EVERY_MS)
  }
}

obeyOrders<StoreOrder>(async order => {
  switch (order.do) {
    case 'start':
      return await start(order.transport, order.dataDir)
    case 'meet':
      await meet(order.peers)
      return {}
    case 'put':
      await put(order.bytes, order.count, order.atOnce)
      return {}
    case 'hold':
      await hold(order.blobs)
      return {}
    case 'forget':
      for (const cid of [...store.list()]) await store.delete(cid)
      return {}
  }
})
