import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { freePort } from './free-port.ts'
import { generousHttpEnvironment } from './http/http-limits.ts'
import { generousEnvironment } from './net/limits.ts'
import { eventually } from './net/testing.ts'

const MIB = 2 ** 20
const BLOB_BYTES = 96 * MIB
/** Most that a process may have grown by: half of it on a quiet machine, and all of the blob without `heap.ts`. */
const GROWTH_MAX_BYTES = 72 * MIB

interface NodeProcess {
  child: ChildProcess
  url: string
  addresses: string[]
}

async function startProcess(dataDir: string, bootstrap = '', env: Record<string, string> = {}): Promise<NodeProcess> {
  const port = await freePort()
  const child = spawn(process.execPath, [fileURLToPath(new URL('./main.ts', import.meta.url))], {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: {
      ...process.env,
      ...generousEnvironment('node'),
      ...generousHttpEnvironment(),
      ENV_FILE: 'none',
      WARREN_OFFLINE: '1',
      DATA_DIR: dataDir,
      PORT: String(port),
      P2P_LISTEN_ADDRESSES: '/ip4/127.0.0.1/tcp/0',
      P2P_BOOTSTRAP_PEERS: bootstrap,
      REPLICATION_FACTOR: '2',
      REPLICATION_QUORUM: '2',
      LOG_LEVEL: 'silent',
      ...env
    }
  })
  const ready = once(createInterface({ input: child.stdout! }), 'line')
  const ended = once(child, 'exit').then(() => Promise.reject(new Error('the node does not start')))
  ended.catch(() => {})
  const [line] = (await Promise.race([ready, ended])) as [string]
  return { child, url: `http://127.0.0.1:${port}`, addresses: (JSON.parse(line) as { addresses: string[] }).addresses }
}

/** Resident memory now and the most there was, bytes (proc_pid_status(5)). */
async function residentBytes({ child }: NodeProcess): Promise<{ now: number; most: number }> {
  const status = await readFile(`/proc/${child.pid}/status`, 'utf8')
  const of = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) * 1024
  return { now: of('VmRSS'), most: of('VmHWM') }
}

describe('the threads of a node’s process', function () {
  this.timeout(60_000)

  it('are sixteen for the disk, unless its operator says how many', async function () {
    if (process.platform !== 'linux') this.skip()
    const folder = await mkdtemp(join(tmpdir(), 'warren-threads-'))
    const threads: number[] = []
    try {
      for (const env of [{}, { UV_THREADPOOL_SIZE: '2' }] as Record<string, string>[]) {
        const { child } = await startProcess(join(folder, String(threads.length)), '', env)
        threads.push((await readdir(`/proc/${child.pid}/task`)).length)
        child.kill('SIGKILL')
        await once(child, 'exit')
      }
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
    assert.equal(threads[0]! - threads[1]!, 14)
  })
})

describe('the memory of a node’s process', function () {
  this.timeout(60_000)

  it('does not grow with a blob that it takes, keeps a replica of, or fetches for a reader', async function () {
    if (process.platform !== 'linux') this.skip()
    const folder = await mkdtemp(join(tmpdir(), 'warren-memory-'))
    const nodes: NodeProcess[] = []
    try {
      for (const name of ['a', 'b', 'c']) {
        nodes.push(await startProcess(join(folder, name), nodes[0]?.addresses.join()))
      }
      const membersOf = async ({ url }: NodeProcess) =>
        ((await (await fetch(`${url}/health`)).json()) as { replication: { members: number } }).replication.members
      await eventually(
        async () => (await Promise.all(nodes.map(membersOf))).every(count => count === 3),
        'all met',
        30_000
      )
      const idle = await Promise.all(nodes.map(residentBytes))

      const piece = randomBytes(MIB)
      async function* body() {
        for (let at = 0; at < BLOB_BYTES; at += MIB) {
          const bytes = Buffer.from(piece)
          for (let leaf = 0; leaf < 4; leaf += 1) bytes.writeUInt32BE(at / MIB, (leaf * MIB) / 4)
          yield bytes
        }
      }
      const [writer] = nodes
      const stored = await fetch(`${writer!.url}/store`, { method: 'POST', body: body(), duplex: 'half' } as never)
      assert.equal(stored.status, 201)
      const { cid, replicas } = (await stored.json()) as { cid: string; replicas: string[] }
      const outsider = nodes.find(({ addresses }) => !replicas.some(peerId => addresses[0]!.endsWith(peerId)))
      for (const { url } of [writer!, outsider!]) {
        let bytes = 0
        for await (const part of (await fetch(`${url}/retrieve/${cid}`)).body!) bytes += part.length
        assert.equal(bytes, BLOB_BYTES)
      }
      const grown = (await Promise.all(nodes.map(residentBytes))).map(({ most }, nth) => most - idle[nth]!.now)
      const mib = grown.map(bytes => Math.round(bytes / MIB))
      assert.ok(
        grown.every(bytes => bytes <= GROWTH_MAX_BYTES),
        `grown by ${mib.join(', ')} MiB`
      )
    } finally {
      for (const { child } of nodes) {
        child.kill('SIGKILL')
        if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
      }
      await rm(folder, { recursive: true, force: true })
    }
  })
})
