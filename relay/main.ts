import { setFlagsFromString } from 'node:v8'
import { createLog } from '../node/index.ts'
import { readConfig } from './config.ts'
import { createRelay } from './relay.ts'

const DRAIN_MS = 10_000

// Under a flood V8 lets its young generation grow to 128 MiB, and gives little of it back when all is calm. What a relay
// handles lives outside that heap: measured at full rate, a young generation that stays small costs it no CPU.
setFlagsFromString('--semi-space-growth-factor=1')

async function main(): Promise<void> {
  const config = readConfig(process.env)
  const log = await createLog({ level: config.logLevel, role: 'relay', host: config.name })
  const relay = await createRelay(config, log)
  const stop = (signal: string) => {
    log.info({ signal }, 'stopping')
    // A peer that does not let go must not keep the process.
    setTimeout(() => process.exit(0), DRAIN_MS).unref()
    void relay.stop().finally(() => process.exit(0))
  }
  process.once('SIGTERM', stop).once('SIGINT', stop)
  await relay.start(process.env)
  process.stdout.write(`${JSON.stringify({ ready: true, peerId: relay.peerId, addresses: relay.addresses() })}\n`)
}

main().catch((error: Error) => {
  // An error with a code is one we know and says what to do; anything else is a bug and shows where.
  process.stderr.write(`${'code' in error ? error.message : error.stack}\n`)
  process.exit(1)
})
