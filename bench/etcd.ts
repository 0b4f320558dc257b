/** etcd, one member, over its HTTP with JSON, where it is installed. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'
import { boundToUs, freePort } from './processes.ts'

const START_LIMIT_MS = 30_000

/** Its version as it says it, or null where there is none. */
export function etcdVersion(): string | null {
  const { status, stdout } = spawnSync('etcd', ['--version'], { encoding: 'utf8' })
  return status === 0 ? (stdout.split('\n')[0]?.trim() ?? 'etcd') : null
}

export async function startEtcd(folder: string): Promise<{ child: ChildProcess; port: number }> {
  const [port, peerPort] = [await freePort(), await freePort()]
  const [client, peer] = [`http://127.0.0.1:${port}`, `http://127.0.0.1:${peerPort}`]
  const child = boundToUs(
    spawn(
      'etcd',
      [
        ...['--name', 'bench', '--data-dir', folder],
        ...['--listen-client-urls', client, '--advertise-client-urls', client],
        ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer, '--initial-cluster', `bench=${peer}`]
      ],
      { stdio: 'ignore' }
    )
  )
  const deadline = performance.now() + START_LIMIT_MS
  for (;;) {
    const answer = await fetch(`${client}/health`).catch(() => null)
    if (answer?.ok) return { child, port }
    if (child.exitCode !== null || performance.now() > deadline) throw new Error('etcd did not start')
    await delay(100)
  }
}
