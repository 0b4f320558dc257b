/** What the room's tests share: a real gateway over real SQLite on a free loopback port. Not for production code. */
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, request } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createMetrics, type Log, silentLog } from '../../node/index.ts'
import { type DbClient, type GatewayConfig, readConfig, sqlFolder } from '../config.ts'
import { createGateway, type Gateway, type GatewayOptions } from '../gateway.ts'
import type { InventoryHost } from '../network/hosts.types.ts'
import type { NetworkPort } from '../network/port.ts'
import { serve } from '../server.ts'
import type { SocketLimits } from '../sockets.ts'
import { createEmbeddedSql, type EmbeddedLimits, type EmbeddedSql } from '../sql/embedded.ts'
import { openStore, type Store } from '../store.ts'

export interface RunningGateway extends AsyncDisposable {
  readonly url: string
  readonly port: number
  readonly gateway: Gateway
  readonly store: Store
  readonly sql: EmbeddedSql
  readonly config: GatewayConfig
  /** fetch with a key of the default namespace unless headers say otherwise. */
  readonly ask: (path: string, init?: RequestInit) => Promise<Response>
}

export interface StartOptions {
  environment?: Record<string, string>
  /** Default: a folder of its own that goes with the gateway. */
  dataDir?: string
  network?: NetworkPort | null
  inventory?: readonly InventoryHost[]
  socketLimits?: Partial<SocketLimits>
  /** Text of the file with the signing keys; default: one is made when it is first needed, which takes a while. */
  keyFile?: string
  log?: Log
  sqlLimits?: Partial<EmbeddedLimits>
  pubsubSecret?: Uint8Array
  pubsubLimits?: GatewayOptions['pubsubLimits']
  /** Default: any free one. */
  port?: number
  /** The clock that values expire by, ms since 1970. */
  nowMs?: () => number
}

export const ALICE = 'alice-key'
export const BOB = 'bob-key'

export async function startGateway(options: StartOptions = {}): Promise<RunningGateway> {
  const folder = options.dataDir ?? (await mkdtemp(join(tmpdir(), 'warren-gateway-')))
  const config = readConfig({
    GATEWAY_API_KEYS: `${ALICE}:alice,${BOB}:bob`,
    ...options.environment,
    DATA_DIR: folder
  })
  const log = options.log ?? silentLog()
  if (options.keyFile !== undefined) await writeFile(join(folder, 'auth-keys.json'), options.keyFile, { mode: 0o600 })
  const store = await openStore({
    dataDir: config.dataDir,
    client: config.dbClient,
    maxMb: config.databaseMaxMb,
    apiKeys: config.apiKeys,
    namespaces: [config.namespace],
    log,
    ...(options.nowMs === undefined ? {} : { nowMs: options.nowMs })
  })
  const {
    network = null,
    inventory = [],
    socketLimits = {},
    pubsubSecret = null,
    pubsubLimits = {},
    port = 0,
    nowMs
  } = options
  const metrics = createMetrics('gateway')
  const sql = await createEmbeddedSql({
    folder: sqlFolder(config),
    maxMb: config.sqlMaxMb,
    metrics,
    log,
    limits: options.sqlLimits
  })
  const pubsub = { pubsubSecret, pubsubLimits }
  const given = { config, store, sql, network, inventory, metrics, log }
  const gateway = createGateway({ ...given, socketLimits, nowMs, ...pubsub })
  const server = await serve({ handle: gateway.handle, host: '127.0.0.1', port })
  const url = `http://127.0.0.1:${server.port}`
  return {
    url,
    port: server.port,
    gateway,
    store,
    sql,
    config,
    ask: (path, init = {}) => fetch(url + path, { ...init, headers: { 'X-API-Key': ALICE, ...init.headers } }),
    async [Symbol.asyncDispose]() {
      gateway.drain()
      await server.close()
      gateway.close()
      await sql.stop()
      await store.close()
      if (options.dataDir === undefined) await rm(folder, { recursive: true, force: true })
    }
  }
}

/** The one host whose state a gateway finds out without a network. */
export const CHAIN: InventoryHost = {
  name: 'chain',
  role: 'chain',
  peerId: null,
  site: null,
  nat: null,
  natKind: null,
  control: null
}

/** A chain's RPC as far as a gateway asks for it, with the environment that names it. */
export async function startChain() {
  let status = 200
  const server = createServer((_, response) => response.writeHead(status).end('{}')).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    environment: {
      RPC_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      VAULT_REGISTRY_ADDRESS: `0x${'1'.repeat(40)}`
    },
    /** From now on it answers 500. */
    fail() {
      status = 500
    },
    async [Symbol.asyncDispose]() {
      server.close()
      server.closeAllConnections()
    }
  }
}

/** Drivers that can be loaded here; `sqlite3` needs `make sqlite3`. */
export function driverMissing(client: DbClient): string | null {
  try {
    createRequire(import.meta.url)(client)
    return null
  } catch {
    return `${client} is not built here: make sqlite3`
  }
}

/** Waits for a fact; the deadline is for when it never comes. */
export async function eventually<T>(
  fact: () => Promise<T | null | undefined | false>,
  deadlineMs = 10_000
): Promise<T> {
  const end = performance.now() + deadlineMs
  for (;;) {
    const found = await fact()
    if (found !== null && found !== undefined && found !== false) return found
    if (performance.now() > end) throw new Error('the fact did not come')
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

/** What an offer of a socket is answered with when it is not accepted. `path` with its query, as it is written. */
export async function refusalOf(running: RunningGateway, path: string, headers: Record<string, string> = {}) {
  const outgoing = request(running.url + path, {
    headers: {
      Connection: 'Upgrade',
      Upgrade: 'websocket',
      'Sec-WebSocket-Version': '13',
      'Sec-WebSocket-Key': Buffer.alloc(16).toString('base64'),
      ...headers
    }
  }).end()
  const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage]
  const chunks: Buffer[] = []
  for await (const chunk of incoming) chunks.push(chunk as Buffer)
  const body = JSON.parse(Buffer.concat(chunks).toString()) as { code?: string; error?: string }
  return { status: incoming.statusCode, code: body.code, error: body.error, headers: incoming.headers }
}
