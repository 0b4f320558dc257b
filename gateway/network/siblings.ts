/**
 * Gateways that share a data directory tell each other that they are alive, by the age of a file: they have no
 * connection to each other, because a gateway listens for nobody.
 */
import { mkdir, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Log } from '../../node/index.ts'
import { type GatewayConfig, ownFolder } from '../config.ts'
import { HEARTBEAT_MS, HEARTBEAT_STALE_MS } from '../constants.ts'
import type { HostState } from './hosts.types.ts'

export interface Siblings {
  /** Whether the gateway of that name lives; unknown when it does not share this directory. */
  stateOf: (name: string) => Promise<{ state: HostState; reason: string | null }>
  close: () => void
}

const ALIVE_FILE = 'alive'
/** What NODE_ID may be: a name of the inventory is never a way out of the directory. */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$/

/** Begins to tell that this gateway lives. */
export async function createSiblings(config: Pick<GatewayConfig, 'dataDir' | 'nodeId'>, log: Log): Promise<Siblings> {
  const own = join(ownFolder(config), ALIVE_FILE)
  await mkdir(ownFolder(config), { recursive: true, mode: 0o700 })
  await writeFile(own, '')
  const timer = setInterval(() => {
    const now = new Date()
    utimes(own, now, now).catch((error: unknown) => log.warn({ err: error }, 'the sign of life was not written'))
  }, HEARTBEAT_MS)
  timer.unref()
  return {
    async stateOf(name) {
      const found = NAME.test(name)
        ? await stat(join(ownFolder({ ...config, nodeId: name }), ALIVE_FILE)).catch(() => null)
        : null
      if (found === null) return { state: 'unknown', reason: 'it does not share this gateway’s data directory' }
      const fresh = Date.now() - found.mtimeMs < HEARTBEAT_STALE_MS
      return fresh ? { state: 'up', reason: null } : { state: 'down', reason: 'it gives no sign of life' }
    },
    close: () => clearInterval(timer)
  }
}
