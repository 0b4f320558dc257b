/** Real relays and peers on loopback for the tests of this room. */
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Connection, Stream } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import {
  createNetwork,
  createNetworkNode,
  ephemeralIdentity,
  GENEROUS_LIMITS,
  type Identity,
  type Network,
  type NetworkNode,
  silentLog
} from '../node/index.ts'
import { readConfig } from './config.ts'
import { createRelay, type Relay } from './relay.ts'

const POLL_MS = 20
const SINK_PROTOCOL = '/warren/test/sink/1.0.0'
const CHUNK = new Uint8Array(64 * 1024)

/** Waits until `fact` is true (or gives something), at most `deadlineMs`. */
export async function eventually<T>(fact: () => Promise<T> | T, what: string, deadlineMs = 20_000): Promise<T> {
  const end = performance.now() + deadlineMs
  for (;;) {
    const value = await fact()
    if (value) return value
    if (performance.now() > end) throw new Error(`still not: ${what}`)
    await new Promise(resolve => setTimeout(resolve, POLL_MS))
  }
}

export interface TestRelay extends AsyncDisposable {
  relay: Relay
  dataDir: string
  address: string
  get: (path: string) => Promise<Response>
  /** Value of one metric, with its labels as they are written: `name{…}`. */
  metric: (name: string, reason?: string) => Promise<number>
}

/** A started relay with the default limits, besides those of connections in `env`; its folder goes with it. */
export async function startTestRelay(env: Record<string, string> = {}): Promise<TestRelay> {
  const dataDir = env.DATA_DIR ?? (await mkdtemp(join(tmpdir(), 'warren-relay-')))
  const config = readConfig({
    DATA_DIR: dataDir,
    PORT: '0',
    RELAY_LISTEN_ADDRESSES: '/ip4/127.0.0.1/tcp/0',
    P2P_REFLECTOR_PORTS: '',
    // All peers of a test share one address.
    P2P_INBOUND_CONNECTION_THRESHOLD: '1000',
    P2P_MAX_INCOMING_PENDING: '1000',
    ...env
  })
  const relay = await createRelay(config, silentLog())
  await relay.start()
  const get = (path: string) => fetch(`http://127.0.0.1:${relay.httpPort()}${path}`)
  return {
    relay,
    dataDir,
    address: relay.addresses()[0]!,
    get,
    async metric(name, reason) {
      const labels = reason === undefined ? '{role="relay"}' : `{reason="${reason}",role="relay"}`
      const line = (await (await get('/metrics')).text()).split('\n').find(text => text.startsWith(`${name}${labels} `))
      if (line === undefined) throw new Error(`no metric ${name}${labels}`)
      return Number(line.split(' ').at(-1))
    },
    async [Symbol.asyncDispose]() {
      await relay.stop()
      if (env.DATA_DIR === undefined) await rm(dataDir, { recursive: true, force: true })
    }
  }
}

export interface RelayPeer extends AsyncDisposable {
  peerId: string
  node: NetworkNode
  network: Network
  /** Bytes that came to it. */
  received: () => number
  reserved: () => boolean
  /** A circuit to another peer through the relay. */
  circuitTo: (peer: string) => Promise<Connection>
}

/** A peer that reserves on the relay (or, a client, only connects to it) and reads whatever it is sent. */
export async function startRelayPeer(
  relayAddress: string,
  options: { role?: 'node' | 'client'; identity?: Identity } = {}
): Promise<RelayPeer> {
  const { role = 'node', identity = await ephemeralIdentity() } = options
  const log = silentLog()
  const node = await createNetworkNode({
    role,
    identity,
    ...(role === 'node' ? { relays: [relayAddress] } : { bootstrap: [relayAddress] }),
    enableDht: false,
    dcutr: 'off',
    limits: GENEROUS_LIMITS,
    log
  })
  const own = { nodeId: `name of ${identity.peerId}`, owner: '', shards: [], shardCount: 1024, failureGroup: 'here' }
  const network = createNetwork({ node, identity, own: role === 'node' ? own : null, members: null, log })
  let received = 0
  const sink = (stream: Stream) => {
    stream.addEventListener('message', ({ data }) => {
      received += data.byteLength
    })
    stream.addEventListener('end', () => void stream.close().catch(() => undefined))
  }
  await node.libp2p.handle(SINK_PROTOCOL, sink, { runOnLimitedConnection: true, maxInboundStreams: 1000 })
  await network.start()
  return {
    peerId: identity.peerId,
    node,
    network,
    received: () => received,
    reserved: () => network.anchors().some(({ reserved }) => reserved),
    circuitTo: peer => node.libp2p.dial(multiaddr(`${relayAddress}/p2p-circuit/p2p/${peer}`)),
    [Symbol.asyncDispose]: () => network.stop()
  }
}

/** Sends so many bytes over a connection, no faster than they are taken, and waits until the far end read them all. */
export async function sendOver(connection: Connection, bytes: number): Promise<void> {
  const stream = await connection.newStream(SINK_PROTOCOL, { runOnLimitedConnection: true })
  let isWhole = false
  const closed = once(stream, 'close').then(([event]) => {
    const { error } = event as { error?: Error }
    if (error !== undefined || !isWhole) throw error ?? new Error('the stream ended while bytes were left')
  })
  closed.catch(() => undefined)
  for (let left = bytes; left > 0; left -= CHUNK.byteLength) {
    stream.send(CHUNK.subarray(0, Math.min(left, CHUNK.byteLength)))
    while (stream.writableNeedsDrain) await Promise.race([once(stream, 'drain'), closed])
  }
  isWhole = true
  await stream.close()
  await closed
}
