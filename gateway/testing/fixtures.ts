/** What the room's tests share: a real gateway over real SQLite on a free loopback port. Not for production code. */
import { mkdtemp, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createMetrics, silentLog } from '../../node/index.ts'
import { type DbClient, type GatewayConfig, readConfig } from '../config.ts'
import { createGateway, type Gateway } from '../gateway.ts'
import type { InventoryHost } from '../network/hosts.types.ts'
import type { NetworkPort } from '../network/port.ts'
import { serve } from '../server.ts'
import { openStore, type Store } from '../store.ts'

export interface RunningGateway extends AsyncDisposable {
  readonly url: string
  readonly port: number
  readonly gateway: Gateway
  readonly store: Store
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
  const log = silentLog()
  const store = await openStore({
    dataDir: config.dataDir,
    client: config.dbClient,
    maxMb: config.databaseMaxMb,
    apiKeys: config.apiKeys,
    namespaces: [config.namespace],
    log
  })
  const { network = null, inventory = [] } = options
  const gateway = createGateway({ config, store, network, inventory, metrics: createMetrics('gateway'), log })
  const server = await serve({ handle: gateway.handle, host: '127.0.0.1', port: 0 })
  const url = `http://127.0.0.1:${server.port}`
  return {
    url,
    port: server.port,
    gateway,
    store,
    config,
    ask: (path, init = {}) => fetch(url + path, { ...init, headers: { 'X-API-Key': ALICE, ...init.headers } }),
    async [Symbol.asyncDispose]() {
      await server.close()
      await store.close()
      if (options.dataDir === undefined) await rm(folder, { recursive: true, force: true })
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
