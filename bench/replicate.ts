/**
 * Blobs put on three nodes, each a process of its own, all copies synced: over our network against the same store and
 * service over bare TCP. Then the wire alone: bulk against a bare stream of libp2p, a round trip against one of TCP.
 */
import type { ChildProcess } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Bench } from './main.ts'
import { ask, startPeer } from './peers.ts'
import { cpuTimeUs, end } from './processes.ts'
import { median, type Row, row } from './report.ts'
import { byTurns, type Sample } from './rounds.ts'
import type { Place, StoreOrder, Transport } from './store-peer.ts'
import type { Wire, WireOrder } from './wire-peer.ts'

const MIB = 2 ** 20
const MB = 1e6
const NODES = 3
const ROUNDS = 5
/** For each of the four parts. */
const BUDGET_MS = 12_000

const PUTS = [
  { atOnce: 1, count: 30 },
  { atOnce: 4, count: 48 }
]
const PUT = { target: 0.33, aim: 0.4 }
const POUR_BYTES = 48 * MIB
const POUR_TARGET = 0.9
const TRIPS = 1000
const REQUESTS = 200
const TRIP_TARGET = 3

const middle = (samples: Sample[], of: keyof Sample) => median(samples.map(sample => sample[of]))
const cpuOf = async (children: ChildProcess[]): Promise<number> =>
  (await Promise.all(children.map(child => cpuTimeUs(child.pid as number)))).reduce((sum, used) => sum + used, 0)

/** Rate of `count` things, and what they took of all processes. */
async function sampleOf(children: ChildProcess[], count: number, work: () => Promise<number>): Promise<Sample> {
  const before = await cpuOf(children)
  const ms = await work()
  return { rate: count / (ms / 1000), cpuUs: ((await cpuOf(children)) - before) / count }
}

async function startStores(transport: Transport, folder: string, children: ChildProcess[]): Promise<ChildProcess[]> {
  const started = Array.from({ length: NODES }, () => startPeer('store-peer.ts'))
  children.push(...started)
  const peers = await Promise.all(
    started.map((child, index) =>
      ask<StoreOrder, Place>(child, { do: 'start', transport, dataDir: join(folder, `${transport}-${index}`) })
    )
  )
  // One after another: two that dial each other in the same moment end up with two connections.
  for (const child of started) await ask<StoreOrder, object>(child, { do: 'meet', peers })
  return started
}

async function putRows(folder: string, children: ChildProcess[], say: (text: string) => void): Promise<Row[]> {
  const transports: Transport[] = ['warren', 'quiet', 'raw']
  const stores = new Map<Transport, ChildProcess[]>()
  for (const transport of transports) stores.set(transport, await startStores(transport, folder, children))
  const rows: Row[] = []
  for (const { atOnce, count } of PUTS) {
    const what = `replicated PUT 1 MiB × ${atOnce}`
    say(what)
    const way = (transport: Transport) => async (): Promise<Sample> => {
      const [first, ...others] = stores.get(transport) as [ChildProcess, ...ChildProcess[]]
      const everywhere = async (): Promise<number> => {
        const begun = performance.now()
        await ask<StoreOrder, object>(first, { do: 'put', bytes: MIB, count, atOnce })
        // Acknowledged with two copies; the third is part of the work, or it would be in the way of what comes next.
        await Promise.all(others.map(child => ask<StoreOrder, object>(child, { do: 'hold', blobs: count })))
        return performance.now() - begun
      }
      const sample = await sampleOf([first, ...others], count, everywhere)
      for (const child of [first, ...others]) await ask<StoreOrder, object>(child, { do: 'forget' })
      return sample
    }
    const ways = { warren: way('warren'), quiet: way('quiet'), raw: way('raw') }
    const samples = await byTurns(ways, { rounds: ROUNDS, budgetMs: BUDGET_MS, say })
    const rated = (name: Transport, words: string, gate: { target?: number; aim?: number }) =>
      row({
        what: `${what}${words} (floor: over bare TCP)`,
        value: middle(samples[name], 'rate'),
        unit: '/s',
        floor: middle(samples.raw, 'rate'),
        better: 'higher',
        ...gate
      })
    rows.push(
      rated('warren', '', PUT),
      rated('quiet', ', not announced in the DHT', {}),
      row({
        what: `${what}, CPU of one on all nodes`,
        value: middle(samples.warren, 'cpuUs'),
        unit: 'µs',
        floor: middle(samples.raw, 'cpuUs'),
        better: 'lower'
      })
    )
  }
  await Promise.all([...stores.values()].flat().map(end))
  return rows
}

async function startPair(wire: Wire, children: ChildProcess[]): Promise<[ChildProcess, ChildProcess]> {
  const pair: [ChildProcess, ChildProcess] = [startPeer('wire-peer.ts'), startPeer('wire-peer.ts')]
  children.push(...pair)
  const [, far] = await Promise.all(
    pair.map(child => ask<WireOrder, { address: string }>(child, { do: 'start', wire }))
  )
  await ask<WireOrder, object>(pair[0], { do: 'connect', address: far!.address })
  return pair
}

async function wireRows(children: ChildProcess[], say: (text: string) => void): Promise<Row[]> {
  const pairs = {
    ours: await startPair('ours', children),
    bare: await startPair('bare', children),
    tcp: await startPair('tcp', children)
  }
  const way = (wire: Wire, count: number, order: WireOrder) => () =>
    sampleOf(pairs[wire], count, async () => (await ask<WireOrder, { ms: number }>(pairs[wire][0], order)).ms)
  const options = { rounds: ROUNDS, budgetMs: BUDGET_MS, say }

  say('bulk, MB/s')
  const pour = (wire: Wire) => way(wire, POUR_BYTES / MB, { do: 'pour', bytes: POUR_BYTES })
  const pours = await byTurns({ ours: pour('ours'), bare: pour('bare'), tcp: pour('tcp') }, options)
  const bulk = (floor: 'bare' | 'tcp', words: string, gate: { target?: number }) =>
    row({
      what: `bulk between two nodes (floor: ${words})`,
      value: middle(pours.ours, 'rate'),
      unit: 'MB/s',
      floor: middle(pours[floor], 'rate'),
      better: 'higher',
      ...gate
    })

  say('round trips a second')
  const trips = (wire: Wire) => way(wire, TRIPS, { do: 'trips', count: TRIPS })
  const seen = await byTurns(
    {
      ours: trips('ours'),
      bare: trips('bare'),
      tcp: trips('tcp'),
      request: way('ours', REQUESTS, { do: 'requests', count: REQUESTS })
    },
    options
  )
  const US = 1e6
  const trip = (name: 'ours' | 'bare' | 'request', what: string, gate: { target?: number }) =>
    row({
      what: `${what} (floor: TCP)`,
      value: US / middle(seen[name], 'rate'),
      unit: 'µs',
      floor: US / middle(seen.tcp, 'rate'),
      better: 'lower',
      ...gate
    })
  return [
    bulk('bare', 'a bare stream, the same encryption', { target: POUR_TARGET }),
    bulk('tcp', 'TCP', {}),
    row({
      what: 'bulk between two nodes, CPU of 1 MB at both ends (floor: a bare stream)',
      value: middle(pours.ours, 'cpuUs'),
      unit: 'µs',
      floor: middle(pours.bare, 'cpuUs'),
      better: 'lower'
    }),
    trip('ours', 'round trip on a kept stream of a node', { target: TRIP_TARGET }),
    trip('bare', 'round trip on a kept bare stream', {}),
    trip('request', 'request with a stream of its own, /bytecave/health', {})
  ]
}

const bench: Bench = async say => {
  const folder = await mkdtemp(join(tmpdir(), 'warren-bench-replicate-'))
  const children: ChildProcess[] = []
  try {
    return [...(await putRows(folder, children, say)), ...(await wireRows(children, say))]
  } finally {
    await Promise.all(children.map(end))
    await rm(folder, { recursive: true, force: true })
  }
}

export default bench
