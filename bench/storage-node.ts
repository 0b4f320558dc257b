/** A storage node as a process of its own, without a chain, on loopback. */
import type { ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { generousEnvironment, generousHttpEnvironment } from '../node/index.ts'
import { freePort, untilFirstLine, wallMs } from './processes.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

export interface BenchNode {
  child: ChildProcess
  pid: number
  /** Of HTTP. */
  port: number
  url: string
  /** Multiaddrs with its peer id. */
  addresses: string[]
}

/** Bundles the roles, as images have them. */
export const buildRoles = (): Promise<number> => wallMs([process.execPath, join(ROOT, 'compose/build.ts')])

/** Starts one from the bundle; `env` goes over what is set here. */
export async function startStorageNode(dataDir: string, env: Record<string, string> = {}): Promise<BenchNode> {
  const port = await freePort()
  const { child, line } = await untilFirstLine([process.execPath, join(ROOT, 'dist/node.js')], {
    ...process.env,
    ...generousEnvironment('node'),
    ...generousHttpEnvironment(),
    ENV_FILE: 'none',
    WARREN_OFFLINE: '1',
    LOG_LEVEL: 'warn',
    DATA_DIR: dataDir,
    PORT: String(port),
    P2P_LISTEN_ADDRESSES: '/ip4/127.0.0.1/tcp/0',
    ...env
  })
  const { addresses } = JSON.parse(line) as { addresses: string[] }
  return { child, pid: child.pid as number, port, url: `http://127.0.0.1:${port}`, addresses }
}
