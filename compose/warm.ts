/**
 * Runs fresh bundles once, so that Node's cache of compiled code is there before the first real start, also in images
 * whose root is read-only. What cannot run here (a leg changes networks, a chain opens a port to everyone) is left out;
 * failing is no failure of the build: a start without the cache is slower, that is all.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import type { Program } from './build.ts'

/** To start and to end. */
const TIMEOUT_MS = 15_000
const LISTEN = '/ip4/127.0.0.1/tcp/0,/ip4/127.0.0.1/tcp/0/ws'

const ENVIRONMENTS: Partial<Record<Program, Record<string, string>>> = {
  node: { WARREN_OFFLINE: '1', P2P_LISTEN_ADDRESSES: LISTEN, P2P_ENABLE_MDNS: 'false' },
  relay: { RELAY_LISTEN_ADDRESSES: LISTEN },
  gateway: { GATEWAY_API_KEYS: 'warm:default' },
  client: { CLIENT_PROGRAM: 'puncher' }
}

async function runOnce(dist: string, program: Program, env: Record<string, string>): Promise<void> {
  const data = await mkdtemp(join(tmpdir(), `warren-warm-${program}-`))
  // Handed over as systemd would: nothing listens beyond loopback.
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { fd } = (server as unknown as { _handle: { fd: number } })._handle
  const child = spawn(process.execPath, [join(dist, `${program}.js`)], {
    cwd: data,
    env: { PATH: process.env.PATH ?? '', DATA_DIR: data, LOG_LEVEL: 'info', LISTEN_FDS: '1', ...env },
    stdio: ['ignore', 'pipe', 'ignore', fd]
  })
  const closed = once(child, 'close')
  const deadline = setTimeout(() => child.kill('SIGKILL'), TIMEOUT_MS)
  try {
    await Promise.race([once(child.stdio[1] as Readable, 'data'), closed])
    child.kill('SIGTERM')
    await closed
  } finally {
    clearTimeout(deadline)
    child.kill('SIGKILL')
    server.close()
    await rm(data, { recursive: true, force: true })
  }
}

/** Fills `dist/cache` for the programs that can run here. */
export async function warmCache(dist: string, programs: Program[]): Promise<void> {
  await Promise.allSettled(
    programs.flatMap(program => {
      const env = ENVIRONMENTS[program]
      return env === undefined ? [] : [runOnce(dist, program, env)]
    })
  )
}
