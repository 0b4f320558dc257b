/** The storage node's process: configuration, node, signals. */
import { readConfig } from './config.ts'
import { helpText, printedConfig } from './config-help.ts'
import { collectBuffersSoon } from './heap.ts'
import { createLog } from './log.ts'
import { createLogFile } from './log-file.ts'
import { createNode } from './node.ts'
import { gatherSettings } from './settings.ts'

const DRAIN_MS = 10_000
/** Threads that wait for the disk, unless UV_THREADPOOL_SIZE says otherwise: a blob on its way in has three of them syncing. */
const DISK_THREADS = 16

collectBuffersSoon()

async function main(): Promise<void> {
  // Node looks at it when it first needs such a thread, which is below.
  process.env.UV_THREADPOOL_SIZE ??= String(DISK_THREADS)
  const settings = await gatherSettings({ argv: process.argv.slice(2), env: process.env, cwd: process.cwd() })
  if (settings.command === 'help') {
    process.stdout.write(helpText())
    return
  }
  if (settings.command === 'print-config') process.stdout.write(printedConfig(settings))
  const config = readConfig(settings.env, settings.problems)
  if (settings.command === 'print-config') return
  const logFile = config.logFile === null ? undefined : createLogFile(config.logFile)
  const log = await createLog({ level: config.logLevel, role: 'node', host: config.nodeId, file: logFile })
  for (const note of settings.notes) log.warn(note)
  const node = await createNode({ config, log, logFile })
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
