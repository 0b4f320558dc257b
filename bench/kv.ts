/**
 * A gateway's key-value storage, with all that a request passes there (credentials, tenancy, sealing, log, metrics), against
 * the least that one over HTTP and SQLite takes; every put on the disk before it is answered.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { etcdVersion, startEtcd } from './etcd.ts'
import type { KvLimitOrder } from './kv-limit.ts'
import type { KvLoaded, KvLoadOrder, KvRequest } from './kv-load.ts'
import type { Bench } from './main.ts'
import { ask, startPeer } from './peers.ts'
import { cpuTimeUs, end, freePort, untilFirstLine } from './processes.ts'
import { median, type Row, row } from './report.ts'
import { byTurns, type Sample } from './rounds.ts'
import { buildRoles } from './storage-node.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const ROUNDS = 7
/** For each of the operations. */
const BUDGET_MS = 25_000

const KEYS = 20_000
const VALUE_BYTES = 256
const AT_ONCE = 64
const GETS = 20_000
const PUTS = 12_000
/** An open loop: so many a second, latency from when each was due. */
const PACED_PUTS = 9_000
const PACED_PER_SECOND = 3_000
const PACED_ROUNDS = 3
const API_KEY = 'bench-key'

const GET = { target: 0.45, aim: 0.6 }
const PUT = { target: 0.45, aim: 0.65 }
const PACED_P99 = { target: 3, aim: 2 }
const ETCD = { target: 1, aim: 2 }

const keys = Array.from({ length: KEYS }, (_, index) => `key/${String(index).padStart(6, '0')}`)
const paths = (what: string) => keys.map(key => `/v1/storage/${what}?key=${key}`)
const gets: KvRequest = { do: 'get', paths: paths('get'), bytes: VALUE_BYTES }
const puts: KvRequest = { do: 'put', paths: paths('put'), bytes: VALUE_BYTES }
/** Key and value in base64, the key of the same length as ours. */
const etcdPuts: KvRequest = {
  do: 'put',
  paths: ['/v3/kv/put'],
  bytes: VALUE_BYTES,
  json: [`{"key":"${Buffer.from(keys[0]!).toString('base64')}","value":"`, '"}']
}

interface Server {
  pid: number
  port: number
  headers: Record<string, string>
}

async function startGateway(folder: string) {
  const port = await freePort()
  const { child } = await untilFirstLine([process.execPath, join(ROOT, 'dist/gateway.js')], {
    PATH: process.env.PATH,
    DATA_DIR: folder,
    GATEWAY_ADDR: `127.0.0.1:${port}`,
    GATEWAY_API_KEYS: `${API_KEY}:bench`,
    // One caller is the whole load.
    GATEWAY_RATE_PER_SECOND: '0',
    LOG_LEVEL: 'warn'
  })
  return { child, server: { pid: child.pid as number, port, headers: { 'x-api-key': API_KEY } } satisfies Server }
}

const bench: Bench = async say => {
  await buildRoles()
  const folder = await mkdtemp(join(tmpdir(), 'warren-bench-kv-'))
  const [limit, client] = [startPeer('kv-limit.ts'), startPeer('kv-load-peer.ts')]
  const children = [limit, client]
  const version = etcdVersion()
  const skipped = version === null ? ['PUT beside etcd: etcd is not installed'] : []
  say(version ?? 'etcd is not installed: nothing is measured beside it')
  try {
    const gateway = await startGateway(join(folder, 'gateway'))
    children.push(gateway.child)
    const limitFolder = join(folder, 'limit')
    await mkdir(limitFolder)
    const { port: limitPort } = await ask<KvLimitOrder, { port: number }>(limit, { folder: limitFolder })
    const servers: Record<string, Server> = {
      gateway: gateway.server,
      limit: { pid: limit.pid as number, port: limitPort, headers: {} }
    }

    const run = ({ port, headers }: Server, order: Omit<KvLoadOrder, 'port' | 'headers' | 'atOnce'>) =>
      ask<KvLoadOrder, KvLoaded>(client, { port, headers, atOnce: AT_ONCE, ...order })
    const way = (server: Server, count: number, request: KvRequest) => async (): Promise<Sample> => {
      const before = await cpuTimeUs(server.pid)
      const { ms } = await run(server, { count, request })
      return { rate: count / (ms / 1000), cpuUs: ((await cpuTimeUs(server.pid)) - before) / count }
    }
    const both = (of: (server: Server) => () => Promise<Sample>) =>
      Object.fromEntries(Object.entries(servers).map(([name, server]) => [name, of(server)]))
    const middle = (samples: Record<string, Sample[]>, name: string, of: keyof Sample) =>
      median(samples[name]!.map(sample => sample[of]))
    const rowsOf = (what: string, floor: string, samples: Record<string, Sample[]>, gate: object): Row[] => [
      row({
        what: `${what} (floor: ${floor})`,
        value: middle(samples, 'gateway', 'rate'),
        unit: '/s',
        floor: middle(samples, 'limit', 'rate'),
        better: 'higher',
        ...gate
      }),
      row({
        what: `${what}, CPU of one`,
        value: middle(samples, 'gateway', 'cpuUs'),
        unit: 'µs',
        floor: middle(samples, 'limit', 'cpuUs'),
        better: 'lower'
      })
    ]

    for (const server of Object.values(servers)) await run(server, { count: KEYS, request: puts })
    say(`GET ${VALUE_BYTES} B × ${AT_ONCE}, ${KEYS} keys`)
    const read = await byTurns(
      both(server => way(server, GETS, gets)),
      { rounds: ROUNDS, budgetMs: BUDGET_MS, say }
    )
    const rows = rowsOf(`GET ${VALUE_BYTES} B × ${AT_ONCE}`, 'raw HTTP and a prepared SELECT', read, GET)

    say(`PUT ${VALUE_BYTES} B × ${AT_ONCE}, each synced`)
    const putWays = both(server => way(server, PUTS, puts))
    if (version !== null) {
      const etcd = await startEtcd(join(folder, 'etcd'))
      children.push(etcd.child)
      const server = { pid: etcd.child.pid as number, port: etcd.port, headers: {} }
      putWays.etcd = way(server, PUTS, etcdPuts)
    }
    const written = await byTurns(putWays, { rounds: ROUNDS, budgetMs: BUDGET_MS, say })
    rows.push(...rowsOf(`PUT ${VALUE_BYTES} B × ${AT_ONCE}`, 'raw HTTP and a group commit', written, PUT))
    if (version !== null) {
      rows.push(
        row({
          what: `PUT ${VALUE_BYTES} B × ${AT_ONCE} (floor: ${version}, JSON over HTTP)`,
          value: middle(written, 'gateway', 'rate'),
          unit: '/s',
          floor: middle(written, 'etcd', 'rate'),
          better: 'higher',
          ...ETCD
        })
      )
    }

    say(`PUT ${PACED_PER_SECOND} a second, whatever is answered`)
    const p99s: Record<string, number[]> = { gateway: [], limit: [] }
    for (let round = 0; round < PACED_ROUNDS; round += 1) {
      for (const [name, server] of Object.entries(servers)) {
        const { latenciesMs } = await run(server, { count: PACED_PUTS, request: puts, perSecond: PACED_PER_SECOND })
        p99s[name]!.push(latenciesMs[Math.floor(latenciesMs.length * 0.99)] as number)
      }
    }
    for (const [name, values] of Object.entries(p99s))
      say(`${name}: p99 ${values.map(ms => ms.toFixed(1)).join(' ')} ms`)
    rows.push(
      row({
        what: `PUT at ${PACED_PER_SECOND}/s, p99 (floor: the same of the limit)`,
        value: median(p99s.gateway!),
        unit: 'ms',
        floor: median(p99s.limit!),
        better: 'lower',
        ...PACED_P99
      })
    )
    return { rows, skipped }
  } finally {
    await Promise.all(children.map(end))
    await rm(folder, { recursive: true, force: true })
  }
}

export default bench
