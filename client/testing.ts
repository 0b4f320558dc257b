/** A relay in a process of its own, whole nodes, and nodes that lie, on loopback, for tests. Not for production code. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import {
  createNetwork,
  createNetworkNode,
  createNode,
  ephemeralIdentity,
  GENEROUS_LIMITS,
  generousEnvironment,
  generousHttpEnvironment,
  type NetworkHandlers,
  readNodeConfig,
  silentLog
} from '../node/index.ts'

const ROOT = join(import.meta.dirname, '..')
export const LOOPBACK_TCP = '/ip4/127.0.0.1/tcp/0'
export const LOOPBACK_WS = '/ip4/127.0.0.1/tcp/0/ws'
const POLL_MS = 20
const CHUNK_BYTES = 64 * 1024

/** Waits until `fact` gives something true, at most `deadlineMs`. */
export async function eventually<T>(fact: () => Promise<T> | T, what: string, deadlineMs = 30_000): Promise<T> {
  const end = performance.now() + deadlineMs
  for (;;) {
    const value = await fact()
    if (value) return value
    if (performance.now() > end) throw new Error(`still not: ${what}`)
    await new Promise(resolve => setTimeout(resolve, POLL_MS))
  }
}

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

export interface RelayProcess extends AsyncDisposable {
  /** Of its HTTP port. */
  url: URL
  tcp: string
  webSocket: string
}

/** The relay as it is run, `relay/main.ts`, with generous limits. */
export async function startRelayProcess(): Promise<RelayProcess> {
  const dataDir = await mkdtemp(join(tmpdir(), 'warren-relay-'))
  const port = await freePort()
  const { line, stop } = await startProgram([join(ROOT, 'relay/main.ts')], {
    cwd: dataDir,
    env: {
      ...generousEnvironment('relay'),
      PATH: process.env.PATH,
      DATA_DIR: dataDir,
      PORT: String(port),
      LOG_LEVEL: 'error',
      P2P_REFLECTOR_PORTS: '',
      RELAY_LISTEN_ADDRESSES: `${LOOPBACK_TCP},${LOOPBACK_WS}`
    }
  })
  const { addresses } = JSON.parse(line) as { addresses: string[] }
  return {
    url: new URL(`http://127.0.0.1:${port}/`),
    tcp: addresses.find(text => !text.includes('/ws/')) ?? '',
    webSocket: addresses.find(text => text.includes('/ws/')) ?? '',
    async [Symbol.asyncDispose]() {
      await stop()
      await rm(dataDir, { recursive: true, force: true })
    }
  }
}

/** The server of the example page, as it is run; `url` leads to the page connected to this relay. */
export async function startExample(relay: RelayProcess): Promise<{ url: string } & AsyncDisposable> {
  const program = join(ROOT, 'client/example/serve.ts')
  const { line, stop } = await startProgram([program, '--port', '0', '--relay', relay.url.href], {
    cwd: ROOT,
    env: { PATH: process.env.PATH }
  })
  return { url: (JSON.parse(line) as { url: string }).url, [Symbol.asyncDispose]: stop }
}

/** A program of ours that says in its first line that it is ready. */
async function startProgram(
  args: string[],
  options: { cwd: string; env: Record<string, string | undefined> }
): Promise<{ line: string; stop: () => Promise<void> }> {
  const child = spawn(process.execPath, args, { ...options, stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  const [line] = (await Promise.race([
    once(createInterface(child.stdout), 'line'),
    exited.then(() => {
      throw new Error(`${args[0]} ended before it was ready`)
    })
  ])) as [string]
  const stop = async () => {
    child.kill('SIGTERM')
    await exited
  }
  return { line, stop }
}

export interface LoopbackNode extends AsyncDisposable {
  peerId: string
  nodeId: string
  /** Of its HTTP port. */
  url: string
  stop: () => Promise<void>
}

/** A whole storage node that reserves on the relay. `listen`: by default TCP and WebSocket. */
export async function startStorageNode(
  nodeId: string,
  relay: RelayProcess,
  env: Record<string, string> = {}
): Promise<LoopbackNode> {
  const dataDir = await mkdtemp(join(tmpdir(), 'warren-node-'))
  const config = readNodeConfig({
    ...generousEnvironment('node'),
    ...generousHttpEnvironment(),
    WARREN_OFFLINE: '1',
    NODE_ID: nodeId,
    DATA_DIR: dataDir,
    P2P_RELAY_PEERS: relay.tcp,
    P2P_LISTEN_ADDRESSES: `${LOOPBACK_TCP},${LOOPBACK_WS}`,
    REPLICATION_FACTOR: '2',
    REPLICATION_QUORUM: '2',
    ...env
  })
  const node = await createNode({ config: { ...config, port: 0 }, log: silentLog() })
  await node.start()
  const [address = ''] = node.addresses()
  return {
    peerId: /\/p2p\/([^/]+)$/.exec(address)?.[1] ?? '',
    nodeId,
    url: `http://127.0.0.1:${node.httpPort()}/`,
    stop: () => node.stop(),
    async [Symbol.asyncDispose]() {
      await node.stop()
      await rm(dataDir, { recursive: true, force: true })
    }
  }
}

/** What a node that lies does. Left out: it refuses. */
export interface Lies {
  /** The bytes it gives for any CID; null: it never answers. */
  bytes?: () => Uint8Array | null
  /** Bytes that it says it has beyond those it gives. Where these end it cuts the transfer, and refuses to go on. */
  missingBytes?: () => number
  /** The CID it says it stored, of whatever came. */
  stored?: string
}

export interface Liar extends AsyncDisposable {
  peerId: string
  /** Requests for blobs it had so far. */
  asked: () => number
}

/** A node that announces itself like any other, and answers what it likes. */
export async function startLiar(relay: RelayProcess, lies: Lies): Promise<Liar> {
  const identity = await ephemeralIdentity()
  const log = silentLog()
  const node = await createNetworkNode({
    role: 'node',
    identity,
    listen: [LOOPBACK_TCP, LOOPBACK_WS],
    relays: [relay.tcp],
    limits: GENEROUS_LIMITS,
    log
  })
  const shards = [{ start: 0, end: 1023 }]
  const own = { nodeId: 'liar', owner: '', shards, shardCount: 1024, failureGroup: '' }
  const network = createNetwork({ node, identity, own, members: null, limits: GENEROUS_LIMITS, log })
  let asked = 0
  const handlers: NetworkHandlers = {
    async put(source) {
      asked += 1
      let sizeBytes = 0
      for await (const chunk of source) sizeBytes += chunk.byteLength
      if (lies.stored === undefined) throw new Error('a refusal')
      return { cid: lies.stored, sizeBytes }
    },
    putReplica: () => Promise.reject(new Error('a refusal')),
    async get(_cid, { offset = 0, signal }) {
      asked += 1
      const bytes = lies.bytes?.()
      const missingBytes = lies.missingBytes?.() ?? 0
      if (bytes === undefined || (bytes !== null && missingBytes > 0 && offset >= bytes.byteLength))
        throw new Error('a refusal')
      if (bytes === null) {
        return await new Promise<never>((_, reject) =>
          signal?.addEventListener('abort', () => reject(new Error('too late')))
        )
      }
      return {
        sizeBytes: bytes.byteLength + missingBytes,
        mimeType: 'text/plain',
        bytes: (async function* () {
          for (let at = offset; at < bytes.byteLength; at += CHUNK_BYTES) yield bytes.subarray(at, at + CHUNK_BYTES)
          if (missingBytes > 0) throw new Error('a cut')
        })()
      }
    },
    health: () => ({ status: 'healthy', storedBlobs: 1, totalSize: 1 })
  }
  await network.serve(handlers)
  await network.start()
  return { peerId: identity.peerId, asked: () => asked, [Symbol.asyncDispose]: () => network.stop() }
}
