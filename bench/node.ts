/** A storage node against a bare Node process: time until it is ready, and what it weighs when idle. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Bench } from './main.ts'
import { end, freePort, residentBytes, untilFirstLine, wallMs } from './processes.ts'
import { median, row } from './report.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const REPETITIONS = 7
/** An idle process is weighed when its start-up garbage had this long to go. */
const SETTLE_MS = 3000

const bench: Bench = async say => {
  await wallMs([process.execPath, join(ROOT, 'compose/build.ts')])
  const folder = await mkdtemp(join(tmpdir(), 'warren-bench-'))
  const env = async (name: string): Promise<NodeJS.ProcessEnv> => ({
    ...process.env,
    WARREN_OFFLINE: '1',
    LOG_LEVEL: 'warn',
    DATA_DIR: join(folder, name),
    PORT: String(await freePort()),
    P2P_LISTEN_ADDRESSES: '/ip4/127.0.0.1/tcp/0,/ip4/127.0.0.1/tcp/0/ws',
    NODE_COMPILE_CACHE: join(folder, 'compile-cache')
  })
  const start = async (name: string) => untilFirstLine([process.execPath, join(ROOT, 'dist/node.js')], await env(name))
  try {
    // The first start makes the identity and fills the compile cache: not counted.
    await end((await start('a')).child)
    const ready: number[] = []
    const bare: number[] = []
    for (let i = 0; i < REPETITIONS; i++) {
      const started = await start('a')
      ready.push(started.readyMs)
      await end(started.child)
      bare.push(await wallMs([process.execPath, '-e', '0']))
    }
    say(
      `ready after ${ready.map(ms => ms.toFixed(0)).join(' ')} ms, bare ${bare.map(ms => ms.toFixed(0)).join(' ')} ms`
    )

    const node = await start('a')
    const idle = await untilFirstLine(
      [process.execPath, '-e', 'console.log(1); setInterval(() => {}, 1e9)'],
      process.env
    )
    await delay(SETTLE_MS)
    const [nodeBytes, bareBytes] = [
      await residentBytes(node.child.pid as number),
      await residentBytes(idle.child.pid as number)
    ]
    await Promise.all([end(node.child), end(idle.child)])
    const mib = (bytes: number) => bytes / 2 ** 20
    return [
      row({
        what: 'node ready (first stdout line)',
        value: median(ready),
        unit: 'ms',
        floor: median(bare),
        better: 'lower',
        target: 10,
        aim: 6
      }),
      row({
        what: 'node idle resident memory',
        value: mib(nodeBytes),
        unit: 'MiB',
        floor: mib(bareBytes),
        better: 'lower',
        target: 3
      })
    ]
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

export default bench
