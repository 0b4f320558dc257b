import { type Chain, startChain } from './chain.ts'
import { readConfig } from './config.ts'
import { createLog } from './log.ts'
import { createMetrics } from './metrics.ts'
import { close, createHandler, listen, urlOf } from './server.ts'
import { watchChain } from './watchdog.ts'

/** The first inherited socket, by systemd's convention. */
const LISTEN_FDS_START = 3

async function main(): Promise<void> {
  const config = readConfig(process.env)
  const log = await createLog(config.logLevel)
  let chain: Chain | null = null
  const metrics = createMetrics(async () => (chain === null ? null : await chain.blockNumber().catch(() => null)))
  const handler = createHandler({ chain: () => chain, metrics, allowDevRpc: config.allowDevRpc })
  const servers = [
    await listen(handler, hasInheritedSocket(process.env) ? { fd: LISTEN_FDS_START } : { port: config.port }),
    await listen(handler, { port: config.rpcPort, host: config.rpcHost })
  ]
  const watch = new AbortController()
  const stop = async (signal: string) => {
    log.info({ signal }, 'stopping')
    watch.abort()
    await Promise.all(servers.map(close))
    // The simulator's threads would keep the process alive; its state is in memory and goes with it.
    process.exit(0)
  }
  process.once('SIGTERM', stop).once('SIGINT', stop)

  if (config.allowDevRpc) log.warn('CHAIN_ALLOW_DEV_RPC is on: everyone who reaches the ports controls this chain')
  chain = await startChain(config)
  const addresses = servers.map(urlOf)
  process.stdout.write(`${JSON.stringify({ ready: true, peerId: null, addresses, registry: chain.registry })}\n`)
  log.info({ chainId: chain.chainId, registry: chain.registry, accounts: config.accounts.length, addresses }, 'ready')
  const deadReason = await watchChain(chain, watch.signal)
  if (deadReason === null) return
  log.fatal({ reason: deadReason }, 'the chain does not answer any more')
  process.exit(1)
}

function hasInheritedSocket(env: NodeJS.ProcessEnv): boolean {
  const isOurs = env.LISTEN_PID === undefined || env.LISTEN_PID === '' || Number(env.LISTEN_PID) === process.pid
  return isOurs && Number(env.LISTEN_FDS ?? 0) >= 1
}

main().catch((error: Error) => {
  // An error with a code is one we know and says what to do; anything else is a bug and shows where.
  process.stderr.write(`${'code' in error ? error.message : error.stack}\n`)
  process.exit(1)
})
