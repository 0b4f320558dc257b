/**
 * Floods one relay from addresses of loopback, in every way at once: silent TCP connections and connections of ever new
 * peers, each from the next address; streams that ask nothing, reservations, circuits that nobody reads, and questions for the directory. Run by
 * flood.ts, in a process of its own. At the end it prints how many attempts of each kind it made, as JSON.
 *
 *     node relay/flood-attacker.ts <relay multiaddr> <number of addresses> <seconds>
 */
import { connect, type Socket } from 'node:net'
import { circuitRelayTransport, RELAY_V2_HOP_CODEC } from '@libp2p/circuit-relay-v2'
import { identify } from '@libp2p/identify'
import type { Connection } from '@libp2p/interface'
import { noise } from '@libp2p/noise'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { PEER_DIRECTORY_PROTOCOL } from '../node/index.ts'

const NOBODY_READS = '/warren/test/unread/1.0.0'
/** Length-prefixed `HopMessage { type: RESERVE }`. */
const RESERVE = Uint8Array.from([2, 0x08, 0])
/** Where the peers are that are in before the flood begins. */
const INSIDER = '127.0.0.2'
const MAX_SOCKETS = 500
const STREAMS_AT_ONCE = 200
const CHUNK = new Uint8Array(64 * 1024)

const [address = '', hosts = '1', seconds = '10'] = process.argv.slice(2)
const relay = multiaddr(address)
const [, host = '', port = ''] = /^\/ip4\/([^/]+)\/tcp\/(\d+)/.exec(address) ?? []
const endMs = performance.now() + Number(seconds) * 1000
const counts = { sockets: 0, peers: 0, streams: 0, reservations: 0, circuits: 0, unreadBytes: 0, questions: 0 }
let attempt = 0
/** 127.0.1.1 and the next ones, in turn; loopback has them all. */
const nextSource = () => `127.0.1.${1 + (attempt++ % Number(hosts))}`
const isOver = () => performance.now() >= endMs
const turn = () => new Promise(resolve => setTimeout(resolve, 5))

async function peer(listen: string[] = [], source = INSIDER) {
  return await createLibp2p({
    addresses: { listen },
    transports: [tcp({ dialOpts: { localAddress: source } as never }), circuitRelayTransport()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionGater: { denyDialMultiaddr: () => false },
    services: { identify: identify() }
  })
}

async function sockets(): Promise<void> {
  const open = new Set<Socket>()
  while (!isOver()) {
    if (open.size < MAX_SOCKETS) {
      const socket = connect({ host, port: Number(port), localAddress: nextSource() })
      open.add(socket)
      counts.sockets++
      socket.on('error', () => undefined).on('close', () => open.delete(socket))
    }
    await turn()
  }
  for (const socket of open) socket.destroy()
}

async function peers(): Promise<void> {
  while (!isOver()) {
    const each = await peer([], nextSource())
    counts.peers++
    const connection = await each.dial(relay, { signal: AbortSignal.timeout(3000) }).catch(() => null)
    if (connection !== null) await reserve(connection)
    await each.stop()
  }
}

async function reserve(connection: Connection): Promise<void> {
  counts.reservations++
  try {
    const stream = await connection.newStream(RELAY_V2_HOP_CODEC, { signal: AbortSignal.timeout(3000) })
    stream.addEventListener('message', () => stream.abort(new Error('enough')))
    stream.send(RESERVE)
  } catch {
    await turn()
  }
}

/** One connection that is in: all it can open. */
async function streams(connection: Connection): Promise<void> {
  while (!isOver() && connection.status === 'open') {
    const many = Array.from({ length: STREAMS_AT_ONCE }, async (_, i) => {
      counts.streams++
      const protocol = [RELAY_V2_HOP_CODEC, '/ipfs/ping/1.0.0', '/no/such/protocol', PEER_DIRECTORY_PROTOCOL][i % 4]!
      if (protocol === PEER_DIRECTORY_PROTOCOL) counts.questions++
      await connection.newStream(protocol, { signal: AbortSignal.timeout(3000), maxOutboundStreams: 100_000 })
    })
    await Promise.allSettled(many)
    for (let i = 0; i < 10; i++) await reserve(connection)
    await turn()
  }
}

/** Circuits between two own peers, the far one of which never reads. */
async function circuits(): Promise<void> {
  const far = await peer([`${address}/p2p-circuit`])
  const near = await peer()
  try {
    await far.handle(NOBODY_READS, stream => stream.pause(), {
      runOnLimitedConnection: true,
      maxInboundStreams: 10_000
    })
    while (!isOver() && far.getMultiaddrs().length === 0) await turn()
    while (!isOver()) {
      counts.circuits++
      try {
        const to = multiaddr(`${address}/p2p-circuit/p2p/${far.peerId}`)
        const connection = await near.dial(to, { signal: AbortSignal.timeout(3000), force: true })
        const stream = await connection.newStream(NOBODY_READS, { runOnLimitedConnection: true })
        for (let i = 0; i < 16 && stream.status === 'open'; i++) {
          stream.send(CHUNK)
          counts.unreadBytes += CHUNK.byteLength
        }
      } catch {
        await turn()
      }
    }
  } finally {
    await Promise.allSettled([far.stop(), near.stop()])
  }
}

process.on('uncaughtException', () => undefined)
process.on('unhandledRejection', () => undefined)
const circuiting = circuits().catch(() => undefined)
const insider = await peer()
const inside = await insider.dial(relay)
await Promise.all([sockets(), peers(), streams(inside), circuiting])
process.stdout.write(`${JSON.stringify(counts)}\n`)
process.exit(0)
