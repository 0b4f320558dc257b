/** A gateway as a process of its own, from the bundle, without a network, on loopback. */
import type { ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePort, untilFirstLine } from './processes.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

export const GATEWAY_KEY = 'bench-key'

export interface BenchGateway {
  child: ChildProcess
  pid: number
  port: number
  /** A request with a key, its answer's JSON. @throws when it is no 2xx */
  post: (path: string, body: unknown) => Promise<unknown>
}

/** To be built before: see `buildRoles`. */
export async function startGateway(dataDir: string): Promise<BenchGateway> {
  const port = await freePort()
  const { child } = await untilFirstLine([process.execPath, join(ROOT, 'dist/gateway.js')], {
    PATH: process.env.PATH,
    ENV_FILE: 'none',
    LOG_LEVEL: 'info',
    DATA_DIR: dataDir,
    GATEWAY_ADDR: `127.0.0.1:${port}`,
    GATEWAY_API_KEYS: `${GATEWAY_KEY}:bench`
  })
  return {
    child,
    pid: child.pid as number,
    port,
    async post(path, body) {
      const answer = await fetch(`http://127.0.0.1:${port}${path}`, {
        method: 'POST',
        headers: { 'X-API-Key': GATEWAY_KEY },
        body: JSON.stringify(body)
      })
      if (!answer.ok) throw new Error(`the gateway answered ${answer.status}: ${await answer.text()}`)
      return answer.json()
    }
  }
}
