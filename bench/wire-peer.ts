/**
 * One end of what `replicate.ts` measures of the wire alone: bulk and round trips, over our network, over a bare stream of
 * libp2p with the same encryption, and over TCP. Nothing is stored.
 */
import { once } from 'node:events'
import { connect as connectTcp, createServer, type Socket } from 'node:net'
import type { Connection, Libp2p, Stream, StreamMessageEvent } from '@libp2p/interface'
import { noise } from '@libp2p/noise'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import {
  createNetwork,
  createNetworkNode,
  ephemeralIdentity,
  GENEROUS_LIMITS,
  type Network,
  silentLog
} from '../node/index.ts'
import { obeyOrders } from './peers.ts'

export type Wire = 'ours' | 'bare' | 'tcp'

export type WireOrder =
  | { do: 'start'; wire: Wire }
  | { do: 'connect'; address: string }
  /** Resolves when the other end has read everything. */
  | { do: 'pour'; bytes: number }
  /** Round trips of a small message, one after another, on a stream that is kept. */
  | { do: 'trips'; count: number }
  /** The same of a whole request, which has a stream of its own; ours only. */
  | { do: 'requests'; count: number }

const POUR = '/warren/bench-pour/1.0.0'
const TRIP = '/warren/bench-trip/1.0.0'
/** As large as a store gives them, and as one send takes. */
const BLOCK = new Uint8Array(256 * 1024).fill(7)
const CHUNK = BLOCK.subarray(0, 64 * 1024)
const MESSAGE = new Uint8Array(64).fill(7)
/** What the pouring side of TCP hears when all is read. */
const DONE = 1

interface End {
  /** Where it is reached. */
  address: string
  connect: (address: string) => Promise<void>
  pour: (bytes: number) => Promise<void>
  /** One round trip. */
  openTrips: () => Promise<() => Promise<void>>
  request?: () => Promise<void>
}

let end: End

/** Back to the sender, as it came. */
const echo = (stream: Stream) => stream.addEventListener('message', ({ data }: StreamMessageEvent) => stream.send(data))

/** Waits until as many bytes came back as were sent. */
function tripsOn(send: (bytes: Uint8Array) => void, onBytes: (heard: (bytes: number) => void) => void) {
  let missing = 0
  let settle: () => void = () => {}
  onBytes(bytes => {
    missing -= bytes
    if (missing === 0) settle()
  })
  return () =>
    new Promise<void>(resolve => {
      settle = resolve
      missing = MESSAGE.length
      send(MESSAGE)
    })
}

async function libp2pTrips(connection: Connection): Promise<() => Promise<void>> {
  const stream = await connection.newStream(TRIP)
  return tripsOn(
    bytes => stream.send(bytes),
    heard => stream.addEventListener('message', ({ data }: StreamMessageEvent) => heard(data.byteLength))
  )
}

async function startOurs(): Promise<End> {
  const log = silentLog()
  const identity = await ephemeralIdentity()
  const listen = ['/ip4/127.0.0.1/tcp/0']
  const node = await createNetworkNode({ role: 'node', identity, listen, limits: GENEROUS_LIMITS, log })
  const network: Network = createNetwork({
    node,
    identity,
    own: null,
    members: null,
    limits: GENEROUS_LIMITS,
    log
  })
  const refuse = async (): Promise<never> => {
    throw new Error('replicas only')
  }
  await network.serve({
    put: refuse,
    get: refuse,
    putReplica: async (_cid, _mimeType, source) => {
      for await (const piece of source) void piece.byteLength
      return { alreadyStored: false }
    },
    health: () => ({ status: 'healthy', storedBlobs: 0, totalSize: 0 })
  })
  await node.libp2p.handle(TRIP, echo)
  await network.start()
  let peerId = ''
  const connectionTo = (): Connection => {
    const found = node.libp2p.getConnections().find(({ remotePeer }) => remotePeer.toString() === peerId)
    if (found === undefined) throw new Error('not connected')
    return found
  }
  let number = 0
  return {
    address: network.multiaddrs()[0]!,
    async connect(address) {
      peerId = (await network.connect(address)).peerId
    },
    async pour(bytes) {
      number += 1
      async function* open() {
        for (let at = 0; at < bytes; at += BLOCK.length) yield BLOCK.subarray(0, bytes - at)
      }
      const blob = { cid: `pour-${number}`, sizeBytes: bytes, mimeType: 'text/plain', open }
      await network.replicate(peerId, blob, { signal: AbortSignal.timeout(60_000) })
    },
    openTrips: () => libp2pTrips(connectionTo()),
    async request() {
      await network.health(peerId)
    }
  }
}

async function startBare(): Promise<End> {
  const libp2p: Libp2p = await createLibp2p({
    addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionMonitor: { enabled: false }
  })
  await libp2p.handle(POUR, async stream => {
    for await (const chunk of stream) void chunk.byteLength
    await stream.close()
  })
  await libp2p.handle(TRIP, echo)
  let connection: Connection
  return {
    address: libp2p.getMultiaddrs()[0]!.toString(),
    async connect(address) {
      connection = await libp2p.dial(multiaddr(address))
    },
    async pour(bytes) {
      const stream = await connection.newStream(POUR)
      for (let sent = 0; sent < bytes; sent += CHUNK.length) {
        if (stream.send(CHUNK)) continue
        // Not `onDrain`, which resolves for ever after the first drain.
        await new Promise<void>(resolve => stream.addEventListener('drain', () => resolve(), { once: true }))
      }
      await stream.close()
      for await (const chunk of stream) void chunk
    },
    openTrips: () => libp2pTrips(connection)
  }
}

/** The first byte says what a connection is for. */
async function startTcp(): Promise<End> {
  const [pours, trips] = [Uint8Array.of(0), Uint8Array.of(1)]
  const server = createServer({ allowHalfOpen: true, noDelay: true }, socket => {
    socket.on('error', () => socket.destroy())
    socket.once('data', first => {
      const isPour = first[0] === pours[0]
      if (!isPour) socket.write(first.subarray(1))
      socket.on('data', bytes => {
        if (!isPour) socket.write(bytes)
      })
      socket.on('end', () => socket.end(Uint8Array.of(DONE)))
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  let port = 0
  const open = async (kind: Uint8Array): Promise<Socket> => {
    const socket = connectTcp({ host: '127.0.0.1', port, noDelay: true })
    await once(socket, 'connect')
    socket.write(kind)
    return socket
  }
  return {
    address: String((server.address() as { port: number }).port),
    async connect(address) {
      port = Number(address)
    },
    async pour(bytes) {
      const socket = await open(pours)
      const heard = once(socket, 'data')
      for (let sent = 0; sent < bytes; sent += CHUNK.length) if (!socket.write(CHUNK)) await once(socket, 'drain')
      socket.end()
      const [[done]] = (await heard) as [Buffer]
      if (done !== DONE) throw new Error('the other end did not read everything')
    },
    async openTrips() {
      const socket = await open(trips)
      return tripsOn(
        bytes => socket.write(bytes),
        heard => socket.on('data', bytes => heard(bytes.length))
      )
    }
  }
}

const STARTS: Record<Wire, () => Promise<End>> = { ours: startOurs, bare: startBare, tcp: startTcp }
let trip: (() => Promise<void>) | undefined

async function timed(count: number, work: () => Promise<void>): Promise<{ ms: number }> {
  const begun = performance.now()
  for (let i = 0; i < count; i += 1) await work()
  return { ms: performance.now() - begun }
}

obeyOrders<WireOrder>(async order => {
  switch (order.do) {
    case 'start':
      end = await STARTS[order.wire]()
      return { address: end.address }
    case 'connect':
      await end.connect(order.address)
      return {}
    case 'pour':
      return await timed(1, () => end.pour(order.bytes))
    case 'trips':
      trip ??= await end.openTrips()
      return await timed(order.count, trip)
    case 'requests':
      return await timed(order.count, end.request!)
  }
})
