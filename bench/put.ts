/**
 * Blobs stored over HTTP by another process, each durable when it is answered, against the least that this takes; the way
 * over HTTP alone, to a server that throws them away, is measured beside it.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ServeOrder } from './file-server.ts'
import type { LoadOrder } from './load.ts'
import type { Bench } from './main.ts'
import { ask, startPeer } from './peers.ts'
import { cpuTimeUs, end } from './processes.ts'
import type { LimitOrder } from './put-limit.ts'
import { median, type Row, row } from './report.ts'
import { byTurns, type Sample } from './rounds.ts'
import { buildRoles, startStorageNode } from './storage-node.ts'

const KIB = 1024
const MIB = 1024 * KIB
const ROUNDS = 5
/** For each of the sizes. */
const BUDGET_MS = 15_000

const SIZES = [
  { what: 'PUT 1 MiB × 1', bytes: MIB, atOnce: 1, count: 100, target: 0.6, aim: 0.7 },
  { what: 'PUT 1 MiB × 8', bytes: MIB, atOnce: 8, count: 160, target: 0.5, aim: 0.62 },
  { what: 'PUT 64 KiB × 16', bytes: 64 * KIB, atOnce: 16, count: 800, target: 0.5 }
]

const bench: Bench = async say => {
  await buildRoles()
  const folder = await mkdtemp(join(tmpdir(), 'warren-bench-put-'))
  const node = await startStorageNode(join(folder, 'node'))
  const [limit, sink, client] = [startPeer('put-limit.ts'), startPeer('file-server.ts'), startPeer('load-peer.ts')]
  const rows: Row[] = []
  try {
    const { port: sinkPort } = await ask<ServeOrder, { port: number }>(sink, { folder })
    for (const { what, bytes, atOnce, count, target, aim } of SIZES) {
      say(what)
      const sampleOf = async (pid: number, work: () => Promise<{ ms: number }>): Promise<Sample> => {
        const before = await cpuTimeUs(pid)
        const { ms } = await work()
        return { rate: count / (ms / 1000), cpuUs: ((await cpuTimeUs(pid)) - before) / count }
      }
      const overHttp = (pid: number, port: number) => () =>
        sampleOf(pid, () => {
          const request = { do: 'put', path: '/store', bytes } as const
          return ask<LoadOrder, { ms: number }>(client, { port, count, atOnce, request })
        })
      const samples = await byTurns(
        {
          node: overHttp(node.pid, node.port),
          http: overHttp(sink.pid as number, sinkPort),
          limit: async () => {
            const place = join(folder, 'limit')
            await mkdir(place)
            try {
              return await sampleOf(limit.pid as number, () =>
                ask<LimitOrder, { ms: number }>(limit, { folder: place, bytes, count, atOnce })
              )
            } finally {
              await rm(place, { recursive: true })
            }
          }
        },
        { rounds: ROUNDS, budgetMs: BUDGET_MS, say }
      )
      const middle = (way: keyof typeof samples, of: keyof Sample) => median(samples[way].map(sample => sample[of]))
      rows.push(
        row({
          what: `${what} (floor: in-process limit)`,
          value: middle('node', 'rate'),
          unit: '/s',
          floor: middle('limit', 'rate'),
          better: 'higher',
          target,
          ...(aim === undefined ? {} : { aim })
        }),
        row({
          what: `${what} (floor: limit and HTTP one after the other)`,
          value: middle('node', 'rate'),
          unit: '/s',
          floor: 1 / (1 / middle('limit', 'rate') + 1 / middle('http', 'rate')),
          better: 'higher'
        }),
        row({
          what: `${what}, CPU of one`,
          value: middle('node', 'cpuUs'),
          unit: 'µs',
          floor: middle('limit', 'cpuUs'),
          better: 'lower'
        })
      )
    }
    return rows
  } finally {
    await Promise.all([node.child, limit, sink, client].map(end))
    await rm(folder, { recursive: true, force: true })
  }
}

export default bench
