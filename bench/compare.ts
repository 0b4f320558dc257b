/**
 * The same files stored and read by a node, by Helia and by Kubo, each in a process of its own over its own folder, offline,
 * measured by turns. What each of them does for a file, and what not, is in README.md.
 */
import { mkdir, mkdtemp, rm, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { run } from '../netem/index.ts'
import { ensureHelia } from './compare/helia.ts'
import type { HeliaAnswer, HeliaOrder } from './compare/helia-peer.ts'
import { ensureKubo, startKubo } from './compare/kubo.ts'
import { type Way, wayByHttp, wayInProcess } from './compare/ways.ts'
import { firstFile } from './files.ts'
import type { Bench } from './main.ts'
import { ask, startPeer } from './peers.ts'
import { cpuTimeUs, end } from './processes.ts'
import { median, type Row, row } from './report.ts'
import { byTurns, type Sample } from './rounds.ts'
import { buildRoles, startStorageNode } from './storage-node.ts'

const KIB = 1024
const MIB = 1024 * KIB
const ROUNDS = 5
/** For adding, and for reading, each of the sizes. */
const BUDGET_MS = 20_000
/** On the disk when all is measured, with room to spare. */
const ROOM_BYTES = 16 * 1024 * MIB
const SYNC_TIMEOUT_MS = 300_000

const SIZES = [
  { what: '64 KiB × 16', bytes: 64 * KIB, atOnce: 16, adds: 400, files: 64, cats: 1600 },
  { what: '1 MiB × 1', bytes: MIB, atOnce: 1, adds: 32, files: 16, cats: 128 },
  { what: '1 MiB × 8', bytes: MIB, atOnce: 8, adds: 64, files: 16, cats: 256 },
  { what: '16 MiB × 2', bytes: 16 * MIB, atOnce: 2, adds: 8, files: 4, cats: 24 }
]

const OURS = 'a node'
/**
 * What the node is held to: the same promise, asked in the same way. Beside it what Helia does by default, which promises
 * less and has nothing in between, and Kubo, shown.
 */
const ADD_FLOORS = {
  'Helia by HTTP, synced': { target: 1 },
  'Helia by HTTP': { aim: 1 },
  'Helia in process': { aim: 1 },
  'Kubo, synced': {},
  Kubo: {}
}
const CAT_FLOORS = {
  'Helia by HTTP': { target: 1 },
  'Helia in process': { aim: 1 },
  Kubo: {}
}
type Floors = Record<string, { target?: number; aim?: number }>

const NODE_ENV = { MAX_STORAGE_MB: String(32 * 1024) }

interface Stores {
  ways: Record<string, Way>
  skipped: string[]
}

/** Starts every store that this machine can have; `onEnd` gets what ends each. */
async function startStores(
  folder: string,
  say: (text: string) => void,
  onEnd: (ending: () => Promise<void>) => void
): Promise<Stores> {
  const skipped: string[] = []
  const helia = await ensureHelia(say)
  if ('missing' in helia) skipped.push(`beside Helia, which could not be installed: ${helia.missing}`)
  const kubo = await ensureKubo(say)
  if ('missing' in kubo) skipped.push(`beside Kubo, which could not be built: ${kubo.missing}`)
  if (skipped.length === 2) return { ways: {}, skipped }

  await buildRoles()
  const peer = (file: string) => {
    const child = startPeer(file)
    onEnd(() => end(child))
    return child
  }
  const client = peer('load-peer.ts')
  const node = await startStorageNode(join(folder, 'node'), NODE_ENV)
  onEnd(() => end(node.child))
  const ways: Record<string, Way> = {
    [OURS]: wayByHttp({
      ...node,
      client,
      addPath: '/store',
      cidField: 'cid',
      catPath: cid => `/retrieve/${cid}`
    })
  }
  if ('home' in helia) {
    for (const name of ['Helia by HTTP, synced', 'Helia by HTTP', 'Helia in process']) {
      const child = peer('compare/helia-peer.ts')
      const own = join(folder, name)
      await mkdir(own)
      const { port } = await ask<HeliaOrder, HeliaAnswer>(child, {
        do: 'open',
        home: helia.home,
        folder: own,
        isSynced: name.endsWith('synced')
      })
      const byHttp = wayByHttp({
        client,
        pid: child.pid as number,
        port,
        addPath: '/add',
        cidField: 'cid',
        catPath: (cid, bytes) => `/cat/${bytes}/${cid}`
      })
      ways[name] = name === 'Helia in process' ? wayInProcess(child, byHttp) : byHttp
    }
  }
  if ('home' in kubo) {
    for (const name of ['Kubo, synced', 'Kubo']) {
      const { child, port } = await startKubo(kubo.home, join(folder, name), name.endsWith('synced'))
      onEnd(() => end(child))
      ways[name] = wayByHttp({
        client,
        pid: child.pid as number,
        port,
        addPath: '/api/v0/add?quieter=true&progress=false',
        isForm: true,
        cidField: 'Hash',
        catPath: cid => `/api/v0/cat?arg=${cid}`,
        catMethod: 'POST'
      })
    }
  }
  return { ways, skipped }
}

/** Measures the node and the floors that are there by turns, and answers a row for the rate and one for the CPU of each. */
async function beside(
  what: string,
  floors: Floors,
  ways: Record<string, Way>,
  say: (text: string) => void,
  sample: (name: string, way: Way) => Promise<Sample>
): Promise<Row[]> {
  say(what)
  const names = [OURS, ...Object.keys(floors)].filter(name => name in ways)
  const samples = await byTurns(Object.fromEntries(names.map(name => [name, () => sample(name, ways[name]!)])), {
    rounds: ROUNDS,
    budgetMs: BUDGET_MS,
    say
  })
  const middle = (name: string, of: keyof Sample) => median(samples[name]!.map(one => one[of]))
  return names.slice(1).flatMap(name => [
    row({
      what: `${what} (floor: ${name})`,
      value: middle(OURS, 'rate'),
      unit: '/s',
      floor: middle(name, 'rate'),
      better: 'higher',
      ...floors[name]
    }),
    row({
      what: `${what}, CPU of one (floor: ${name})`,
      value: middle(OURS, 'cpuUs'),
      unit: 'µs',
      floor: middle(name, 'cpuUs'),
      better: 'lower'
    })
  ])
}

const bench: Bench = async say => {
  const folder = await mkdtemp(join(tmpdir(), 'warren-bench-compare-'))
  const endings: Array<() => Promise<void>> = []
  try {
    const { bavail, bsize } = await statfs(folder)
    if (bavail * bsize < ROOM_BYTES) return { skip: `${folder} has no room for ${ROOM_BYTES / MIB} MiB` }
    const { ways, skipped } = await startStores(folder, say, ending => endings.push(ending))
    if (Object.keys(ways).length === 0) return { skip: skipped.join('; ') }

    const rows: Row[] = []
    for (const { what, bytes, atOnce, adds, files, cats } of SIZES) {
      const sampleOf = async ({ pid }: Way, count: number, work: () => Promise<number>): Promise<Sample> => {
        const before = await cpuTimeUs(pid)
        const ms = await work()
        return { rate: count / (ms / 1000), cpuUs: ((await cpuTimeUs(pid)) - before) / count }
      }
      const turns = new Map<string, number>()
      rows.push(
        ...(await beside(`add ${what}`, ADD_FLOORS, ways, say, async (name, way) => {
          const turn = turns.get(name) ?? 0
          turns.set(name, turn + 1)
          // What another left for the disk to do is not for the next one to wait for.
          await run(['sync', '-f', folder], { timeoutMs: SYNC_TIMEOUT_MS })
          const order = { seed: `${what} ${turn}`, bytes, count: adds, atOnce }
          return await sampleOf(way, adds, () => way.add(order))
        }))
      )
      const seed = `${what} to read`
      const cids: Record<string, string[]> = {}
      for (const [name, way] of Object.entries(ways)) {
        const own = await way.prepare(seed, bytes, files)
        if (!firstFile(seed, bytes).equals(await way.read(own[0]!, bytes))) throw new Error(`${name} gives other bytes`)
        cids[name] = own
      }
      rows.push(
        ...(await beside(`cat ${what}`, CAT_FLOORS, ways, say, (name, way) =>
          sampleOf(way, cats, () => way.cat({ cids: cids[name]!, bytes, count: cats, atOnce }))
        ))
      )
    }
    return { rows, skipped }
  } finally {
    for (const ending of endings) await ending()
    await rm(folder, { recursive: true, force: true })
  }
}

export default bench
