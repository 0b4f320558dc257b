/**
 * A namespace's SQL over HTTP, at concurrency 1: point reads beside key-value reads of the same gateway and beside a prepared
 * SELECT over raw node:http; a transaction of a hundred inserts beside one insert at a time, each durable when answered.
 */
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { GATEWAY_KEY, startGateway } from './gateway.ts'
import { openConnection } from './load.ts'
import type { Bench } from './main.ts'
import { ask, startPeer } from './peers.ts'
import { cpuTimeUs, end } from './processes.ts'
import { median, row } from './report.ts'
import { byTurns, type Sample } from './rounds.ts'
import type { SqlLimitOrder } from './sql-limit.ts'
import { buildRoles } from './storage-node.ts'

const POINTS = 2_000
const BODY = 'x'.repeat(256)
const READS = 1_500
const SINGLES = 150
const BATCHES = 15
const BATCH = 100
const ROUNDS = 5
const BUDGET_MS = 40_000

const READ_TARGET = 0.25
const BATCH_TARGET = 20

const bench: Bench = async say => {
  await buildRoles()
  const folder = await mkdtemp(join(tmpdir(), 'warren-bench-sql-'))
  const gateway = await startGateway(folder)
  const limit = startPeer('sql-limit.ts')
  try {
    await gateway.post('/v1/db/create-table', { schema: 'CREATE TABLE points (id INTEGER PRIMARY KEY, body TEXT)' })
    await gateway.post('/v1/db/create-table', { schema: 'CREATE TABLE written (id INTEGER PRIMARY KEY, body TEXT)' })
    await gateway.post('/v1/db/query', {
      sql: 'WITH RECURSIVE c(x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM c LIMIT ?) INSERT INTO points SELECT x, ? FROM c',
      args: [POINTS, BODY]
    })
    for (let id = 0; id < POINTS; id += 1) {
      await gateway.post('/v1/storage/put', { key: `k${id}`, value: Buffer.from(BODY).toString('base64') })
    }
    const file = (await readdir(join(folder, 'sql'))).find(name => name.endsWith('.sqlite')) as string
    const { port: limitPort } = await ask<SqlLimitOrder, { port: number }>(limit, { path: join(folder, 'sql', file) })

    /** `count` requests one after the other; `per` operations in each. */
    const oneByOne =
      (pid: number, port: number, count: number, per: number, requestOf: (at: number) => [string, unknown?]) =>
      async (): Promise<Sample> => {
        const connection = await openConnection(port)
        const cpuBefore = await cpuTimeUs(pid)
        const begun = performance.now()
        for (let at = 0; at < count; at += 1) {
          const [line, json] = requestOf(at)
          const body = json === undefined ? undefined : Buffer.from(JSON.stringify(json))
          const length = body === undefined ? '' : `content-length: ${body.byteLength}\r\n`
          const head = `${line} HTTP/1.1\r\nhost: 127.0.0.1\r\nx-api-key: ${GATEWAY_KEY}\r\n${length}\r\n`
          const { status, told } = await (body === undefined ? connection.ask(head) : connection.ask(head, body))
          if (status !== 200) throw new Error(`answered ${status}: ${told}`)
        }
        const ms = performance.now() - begun
        connection.end()
        return { rate: (count * per) / (ms / 1000), cpuUs: ((await cpuTimeUs(pid)) - cpuBefore) / (count * per) }
      }
    const select = (at: number) => ({ sql: 'SELECT id, body FROM points WHERE id = ?', args: [at % POINTS] })
    const insert = { sql: 'INSERT INTO written (body) VALUES (?)', args: [BODY] }
    const batch = { statements: Array.from({ length: BATCH }, () => insert) }
    const { pid, port } = gateway
    const samples = await byTurns(
      {
        sql: oneByOne(pid, port, READS, 1, at => ['POST /v1/db/query', select(at)]),
        keyValue: oneByOne(pid, port, READS, 1, at => [`GET /v1/storage/get?key=k${at % POINTS}`]),
        limit: oneByOne(limit.pid as number, limitPort, READS, 1, at => ['POST /', select(at)]),
        single: oneByOne(pid, port, SINGLES, 1, () => ['POST /v1/db/query', insert]),
        batch: oneByOne(pid, port, BATCHES, BATCH, () => ['POST /v1/db/transaction', batch])
      },
      { rounds: ROUNDS, budgetMs: BUDGET_MS, say }
    )
    const middle = (way: keyof typeof samples, of: keyof Sample) => median(samples[way].map(sample => sample[of]))
    return [
      row({
        what: 'SQL point read × 1 (floor: key-value GET of the same gateway)',
        value: middle('sql', 'rate'),
        unit: '/s',
        floor: middle('keyValue', 'rate'),
        better: 'higher',
        target: READ_TARGET
      }),
      row({
        what: 'SQL point read × 1 (floor: raw http and a prepared SELECT)',
        value: middle('sql', 'rate'),
        unit: '/s',
        floor: middle('limit', 'rate'),
        better: 'higher'
      }),
      row({
        what: `statements in transactions of ${BATCH} × 1 (floor: single statements)`,
        value: middle('batch', 'rate'),
        unit: '/s',
        floor: middle('single', 'rate'),
        better: 'higher',
        target: BATCH_TARGET
      }),
      row({
        what: 'SQL point read, CPU of the gateway without its child (floor: key-value GET)',
        value: middle('sql', 'cpuUs'),
        unit: 'µs',
        floor: middle('keyValue', 'cpuUs'),
        better: 'lower'
      })
    ]
  } finally {
    await Promise.all([gateway.child, limit].map(end))
    await rm(folder, { recursive: true, force: true })
  }
}

export default bench
