/**
 * Blobs read over HTTP by another process, decrypted, every tag checked, against the same bytes as plain files: piped by
 * Node and, where it is installed, sent by nginx. All of it is in the page cache.
 */
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ServeOrder } from './file-server.ts'
import type { LoadOrder } from './load.ts'
import type { Bench } from './main.ts'
import { nginxVersion, startNginx } from './nginx.ts'
import { ask, startPeer } from './peers.ts'
import { cpuTimeUs, end } from './processes.ts'
import { median, type Row, row } from './report.ts'
import { byTurns, type Sample } from './rounds.ts'
import { buildRoles, startStorageNode } from './storage-node.ts'

const KIB = 1024
const MIB = 1024 * KIB
const ROUNDS = 5
/** For each of the sizes. */
const BUDGET_MS = 22_000

const SIZES = [
  { what: 'GET 1 MiB × 8', bytes: MIB, blobs: 32, atOnce: 8, count: 400 },
  { what: 'GET 64 KiB × 16', bytes: 64 * KIB, blobs: 128, atOnce: 16, count: 3000 }
]
const PIPE = { target: 0.9, aim: 1 }
const SENDFILE_TARGET = 0.4

async function store(url: string, body: Buffer<ArrayBuffer>): Promise<string> {
  const answer = await fetch(`${url}/store`, { method: 'POST', body })
  if (answer.status !== 201) throw new Error(`the node answered ${answer.status}: ${await answer.text()}`)
  return ((await answer.json()) as { cid: string }).cid
}

const bench: Bench = async say => {
  await buildRoles()
  const folder = await mkdtemp(join(tmpdir(), 'warren-bench-get-'))
  const files = join(folder, 'files')
  await mkdir(files)
  const node = await startStorageNode(join(folder, 'node'))
  const [plain, client] = [startPeer('file-server.ts'), startPeer('load-peer.ts')]
  const version = nginxVersion()
  const nginx = version === null ? null : await startNginx(join(folder, 'nginx'), files)
  const skipped = version === null ? ['against nginx sendfile: nginx is not installed'] : []
  say(version ?? 'nginx is not installed: nothing is measured against it')
  const rows: Row[] = []
  try {
    const { port: plainPort } = await ask<ServeOrder, { port: number }>(plain, { folder: files })
    for (const { what, bytes, blobs, atOnce, count } of SIZES) {
      say(what)
      const cids: string[] = []
      for (let i = 0; i < blobs; i += 1) {
        const body = randomBytes(bytes)
        const cid = await store(node.url, body)
        await writeFile(join(files, cid), body)
        cids.push(cid)
      }
      const way = (pid: number, port: number, path: (cid: string) => string) => async (): Promise<Sample> => {
        const request = { do: 'get' as const, paths: cids.map(path), bytes }
        const before = await cpuTimeUs(pid)
        const { ms } = await ask<LoadOrder, { ms: number }>(client, { port, count, atOnce, request })
        return { rate: count / (ms / 1000), cpuUs: ((await cpuTimeUs(pid)) - before) / count }
      }
      const plainPid = plain.pid as number
      const ways: Record<string, () => Promise<Sample>> = {
        node: way(node.pid, node.port, cid => `/retrieve/${cid}`),
        pipe: way(plainPid, plainPort, cid => `/file/${bytes}/${cid}`),
        memory: way(plainPid, plainPort, cid => `/memory/${bytes}/${cid}`)
      }
      if (nginx !== null) ways.nginx = way(nginx.child.pid as number, nginx.port, cid => `/${cid}`)
      const samples = await byTurns(ways, { rounds: ROUNDS, budgetMs: BUDGET_MS, say })
      const middle = (name: string, of: keyof Sample) => median(samples[name]!.map(sample => sample[of]))
      const against = (floor: string, words: string, gate: { target?: number; aim?: number }) =>
        row({
          what: `${what} (floor: ${words})`,
          value: middle('node', 'rate'),
          unit: '/s',
          floor: middle(floor, 'rate'),
          better: 'higher',
          ...gate
        })
      rows.push(against('pipe', 'plain files piped', PIPE))
      if (nginx !== null) rows.push(against('nginx', 'nginx sendfile', { target: SENDFILE_TARGET }))
      rows.push(
        against('memory', 'out of memory, the most that the client takes', {}),
        row({
          what: `${what}, CPU of one (floor: plain files piped)`,
          value: middle('node', 'cpuUs'),
          unit: 'µs',
          floor: middle('pipe', 'cpuUs'),
          better: 'lower'
        })
      )
    }
    return { rows, skipped }
  } finally {
    await Promise.all([node.child, plain, client, ...(nginx === null ? [] : [nginx.child])].map(end))
    await rm(folder, { recursive: true, force: true })
  }
}

export default bench
