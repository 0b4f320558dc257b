import { createLog, createMetrics } from '../node/index.ts'
import { readConfig, sqlFolder } from './config.ts'
import { SHUTDOWN_TIMEOUT_MS } from './constants.ts'
import { keepTemporaryFilesIn, openDataDir } from './data-dir.ts'
import { createGateway } from './gateway.ts'
import { connectNetwork } from './network/connect.ts'
import { readInventory } from './network/inventory.ts'
import { createSiblings } from './network/siblings.ts'
import { loadPubsubSecret } from './pubsub/secret.ts'
import { serve } from './server.ts'
import { createEmbeddedSql } from './sql/embedded.ts'
import { openStore } from './store.ts'

async function main(): Promise<void> {
  const startedAt = new Date()
  const config = readConfig(process.env)
  await openDataDir(config.dataDir)
  keepTemporaryFilesIn(config.dataDir)
  const inventory = await readInventory(config.inventoryFile)
  const log = await createLog({ level: config.logLevel, role: 'gateway', host: config.nodeId })
  const metrics = createMetrics('gateway')
  const [store, sql, network, siblings, pubsubSecret] = await Promise.all([
    openStore({
      dataDir: config.dataDir,
      client: config.dbClient,
      maxMb: config.databaseMaxMb,
      apiKeys: config.apiKeys,
      namespaces: [config.namespace],
      log
    }),
    createEmbeddedSql({ folder: sqlFolder(config), maxMb: config.sqlMaxMb, metrics, log }),
    connectNetwork({ config, metrics, log }),
    createSiblings(config, log),
    loadPubsubSecret({ dataDir: config.dataDir, keyFile: config.pubsubKeyFile })
  ])
  if (network === null) {
    log.warn('GATEWAY_BOOTSTRAP_PEERS is empty: values over 64 KiB are refused, messages stay within this gateway')
  }
  if (config.requireAuth && config.apiKeys.length === 0) log.warn('GATEWAY_API_KEYS is empty: only wallets get in')

  const gateway = createGateway({
    config,
    store,
    sql,
    network,
    inventory,
    siblings,
    metrics,
    log,
    startedAt,
    pubsubSecret
  })
  await gateway.prepare()
  const server = await serve({ handle: gateway.handle, ...config, environment: process.env })

  async function stop(signal: string): Promise<void> {
    log.info({ signal }, 'stopping')
    // What does not end by itself must not keep the process.
    setTimeout(() => process.exit(0), SHUTDOWN_TIMEOUT_MS).unref()
    gateway.drain()
    siblings.close()
    await server.close()
    gateway.close()
    await Promise.allSettled([network?.close(), sql.stop(), store.close()])
    process.exit(0)
  }
  process.once('SIGTERM', stop).once('SIGINT', stop)

  const ready = { ready: true, peerId: network?.peerId ?? null, addresses: [] }
  process.stdout.write(`${JSON.stringify(ready)}\n`)
}

main().catch((error: Error) => {
  // An error with a code is one we know and says what to do; anything else is a bug and shows where.
  process.stderr.write(`${'code' in error ? error.message : error.stack}\n`)
  process.exit(1)
})
