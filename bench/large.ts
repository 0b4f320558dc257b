/**
 * A blob of 1 GiB put on a node over HTTP, replicated to another, read from the first and from a third that has to fetch it:
 * the most memory each of them ever had.
 */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, statfs } from 'node:fs/promises'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import type { Bench } from './main.ts'
import { end, peakResidentBytes, residentBytes } from './processes.ts'
import { type Row, row } from './report.ts'
import { type BenchNode, buildRoles, startStorageNode } from './storage-node.ts'

const MIB = 2 ** 20
const BLOB_BYTES = 1024 * MIB
const COPIES = 2
/** On the disk at one time, with room to spare. */
const ROOM_BYTES = (COPIES + 1) * BLOB_BYTES
const TARGET_MIB = 200
const SAMPLE_MS = 100
const MEET_LIMIT_MS = 30_000
const LOOK_EVERY_MS = 100

const ENV = {
  REPLICATION_FACTOR: String(COPIES),
  REPLICATION_QUORUM: String(COPIES),
  MAX_BLOB_SIZE_MB: String(BLOB_BYTES / MIB),
  MAX_STORAGE_MB: String((2 * BLOB_BYTES) / MIB)
}

type Named = Record<'first' | 'second' | 'third', BenchNode>

/** Waits until every node counts the others among its members. */
async function untilMet(nodes: BenchNode[]): Promise<void> {
  const deadline = performance.now() + MEET_LIMIT_MS
  for (;;) {
    const counts = await Promise.all(
      nodes.map(async ({ url }) => {
        const health = (await (await fetch(`${url}/health`)).json()) as { replication: { members: number } }
        return health.replication.members
      })
    )
    if (counts.every(count => count >= nodes.length)) return
    if (performance.now() > deadline) throw new Error(`the nodes know ${counts.join(', ')} members`)
    await delay(LOOK_EVERY_MS)
  }
}

/** The same random MiB over and over, its first bytes counted: cheap to make, no two leaves alike. */
async function store(port: number): Promise<{ cid: string; replicas: string[] }> {
  const piece = randomBytes(MIB)
  const headers = { 'content-type': 'application/octet-stream', 'content-length': BLOB_BYTES }
  const req = request({ host: '127.0.0.1', port, method: 'POST', path: '/store', headers })
  const answered = once(req, 'response')
  // Met when it is awaited; a node that refuses in the middle ends the sending first.
  answered.catch(() => {})
  for (let at = 0; at < BLOB_BYTES; at += MIB) {
    const bytes = Buffer.from(piece)
    for (let leaf = 0; leaf < 4; leaf += 1) bytes.writeUInt32BE(at / MIB, (leaf * MIB) / 4)
    if (!req.write(bytes)) await Promise.race([once(req, 'drain'), answered])
  }
  req.end()
  const [res] = await answered
  const body = await text(res)
  if (res.statusCode !== 201) throw new Error(`the node answered ${res.statusCode}: ${body}`)
  return JSON.parse(body)
}

async function read(port: number, cid: string): Promise<void> {
  const req = request({ host: '127.0.0.1', port, path: `/retrieve/${cid}` }).end()
  const [res] = await once(req, 'response')
  let bytes = 0
  for await (const piece of res) bytes += piece.length
  if (res.statusCode !== 200 || bytes !== BLOB_BYTES) throw new Error(`${res.statusCode} with ${bytes} bytes`)
}

/** Runs a step and tells how long it took and the most memory each node was seen with meanwhile. */
async function step<T>(what: string, nodes: Named, say: (text: string) => void, work: () => Promise<T>): Promise<T> {
  const most = new Map<string, number>()
  const sample = async (): Promise<void> => {
    for (const [name, { pid }] of Object.entries(nodes)) {
      most.set(name, Math.max(most.get(name) ?? 0, await residentBytes(pid)))
    }
  }
  const timer = setInterval(() => void sample().catch(() => {}), SAMPLE_MS)
  const begun = performance.now()
  try {
    return await work()
  } finally {
    clearInterval(timer)
    await sample()
    const seen = [...most].map(([name, bytes]) => `${name} ${(bytes / MIB).toFixed(0)}`).join(', ')
    say(`${what} in ${((performance.now() - begun) / 1000).toFixed(1)} s; MiB at most: ${seen}`)
  }
}

const bench: Bench = async say => {
  const folder = await mkdtemp(join(tmpdir(), 'warren-bench-large-'))
  const started: BenchNode[] = []
  try {
    const { bavail, bsize } = await statfs(folder)
    if (bavail * bsize < ROOM_BYTES) return { skip: `${folder} has no room for ${ROOM_BYTES / MIB} MiB` }
    await buildRoles()
    const start = async (name: string, env: Record<string, string>): Promise<BenchNode> => {
      const node = await startStorageNode(join(folder, name), { ...ENV, ...env })
      started.push(node)
      return node
    }
    const writer = await start('a', {})
    const bootstrap = { P2P_BOOTSTRAP_PEERS: writer.addresses.join() }
    const other = await start('b', bootstrap)
    const another = await start('c', bootstrap)
    await untilMet(started)

    const unnamed = { first: writer, second: other, third: another }
    const { cid, replicas } = await step('stored, two copies', unnamed, say, () => store(writer.port))
    const isHolder = ({ addresses }: BenchNode) => replicas.some(peerId => addresses[0]!.endsWith(peerId))
    const [holder, outsider] = isHolder(other) ? [other, another] : [another, other]
    if (!isHolder(holder) || isHolder(outsider)) throw new Error(`acknowledged with copies on ${replicas.join(', ')}`)
    const nodes: Named = { first: writer, second: holder, third: outsider }
    await step('read where it is', nodes, say, () => read(writer.port, cid))
    await step('read through a node that has none', nodes, say, () => read(outsider.port, cid))

    const words = {
      first: 'takes it over HTTP and sends it on',
      second: 'keeps a replica',
      third: 'fetches it for a reader'
    }
    const rows: Row[] = []
    for (const [name, { pid }] of Object.entries(nodes)) {
      rows.push(
        row({
          what: `1 GiB, most memory of the node that ${words[name as keyof Named]}`,
          value: (await peakResidentBytes(pid)) / MIB,
          unit: 'MiB',
          better: 'lower',
          target: TARGET_MIB
        })
      )
    }
    return rows
  } finally {
    await Promise.all(started.map(({ child }) => end(child)))
    await rm(folder, { recursive: true, force: true })
  }
}

export default bench
