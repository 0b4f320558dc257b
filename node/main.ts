/** The storage node's process: configuration, node, signals. */
import { readConfig } from './config.ts'
import { createLog } from './log.ts'
import { createNode } from './node.ts'

const DRAIN_MS = 10_000

async function main(): Promise<void> {
  const config = readConfig(process.env)
  const log = await createLog({ level: config.logLevel, role: 'node', host: config.nodeId })
  const node = await createNode({ config, log })
  const stop = (signal: string) => {
    log.info({ signal }, 'stopping')
    // A peer that does not let go must not keep the process.
    setTimeout(() => process.exit(0), DRAIN_MS).unref()
    void node.stop().finally(() => process.exit(0))
  }
  process.once('SIGTERM', stop).once('SIGINT', stop)
  await node.start(process.env)
  process.stdout.write(`${JSON.stringify({ ready: true, peerId: node.peerId, addresses: node.addresses() })}\n`)
}

main().catch((error: Error) => {
  // An error with a code is one we know and says what to do; anything else is a bug and shows where.
  process.stderr.write(`${'code' in error ? error.message : error.stack}\n`)
  process.exit(1)
})
