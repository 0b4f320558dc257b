/** Many peers behind several NATs punch to each other all at once, and nothing of it stays behind. */
import { cpus, loadavg } from 'node:os'
import type { Topology } from '../netem/index.ts'
import { type Occasion, type Story, scenario } from './harness/scenario.ts'
import type { PunchTransport } from './punching/expected.ts'
import { playTransfer, type TransferCase, transferFaults } from './punching/moved-transfer.ts'
import type { Held } from './punching/peer.types.ts'
import { readSettings } from './punching/settings.ts'
import { quantile } from './punching/statistics.ts'
import {
  type Grown,
  growth,
  isLower,
  kindAt,
  leftOver,
  MEMORY_SLACK,
  type PairResult,
  RELAY_BYTES,
  SMALL_RELAY_BYTES,
  SWARM_SIZES,
  slotOf,
  socketCount,
  swarmHost,
  swarmHosts,
  swarmPairs,
  swarmTopology,
  transportsAt,
  unnamed
} from './punching/swarm.ts'
import {
  type Census,
  closeRound,
  meetPair,
  openRound,
  partRound,
  type Round,
  type SwarmContext,
  takeCensus
} from './punching/swarm-round.ts'

const MIB = 1024 * 1024
const TRANSFER_BYTES = 64 * MIB
/** Punches at one time of the peer that all others dial at once, and how long it goes on with those that wait. */
const CAP = 1
const CROWD_WAITS_MS = 15_000

const sizeOf = ({ depth }: Pick<Occasion, 'depth'>) => SWARM_SIZES[depth]

function topology(occasion: Occasion): Topology {
  const { linkMs, lossPct } = readSettings(process.env, occasion)
  return swarmTopology(sizeOf(occasion), linkMs, lossPct)
}

export default scenario({
  about:
    'many peers behind several NATs punch to each other at once as well as one at a time, and leave nothing behind',
  topology,
  needs: ['nat', 'exec', 'delay', 'partition'],
  withinMs: 1_200_000,
  settings: ['TRANSPORTS', 'LINK', 'LOSS'],
  reportFolder: ({ depth }) => (depth === 'full' ? 'punch-swarm' : 'punch-swarm-short'),

  async story(story) {
    const { testnet, host, depth, check, step, row, signal } = story
    const { transports } = readSettings(process.env, { depth })
    const context: SwarmContext = {
      plan: testnet.plan,
      host,
      transportsOf: name => transportsAt(slotOf(name), transports),
      signal
    }
    const size = sizeOf({ depth })
    const hosts = swarmHosts(size)
    const pairs = swarmPairs(size)
    const began = performance.now()

    step(`${hosts.length} peers behind ${size.nats} NATs`)
    const blank = await takeCensus(context, hosts, null)

    // Every peer takes part, on either side: what a process makes once it has then made, and it is no leak later.
    const sample = pairs.slice(0, hosts.length)
    step(`${sample.length} pairs one at a time`)
    const first = await openRound(context, hosts, 'alone')
    const alone = await timed(story, 'one at a time', first, async () => {
      const results: PairResult[] = []
      for (const pair of sample) results.push(await meetPair(first, pair, signal))
      return results
    })
    await partRound(first)
    await closeRound(first)
    const warm = await takeCensus(context, hosts, blank)

    step(`${pairs.length} pairs at once`)
    const round = await openRound(context, hosts, 'swarm')
    const idle = await takeCensus(context, hosts, null)
    const swarm = await timed(
      story,
      'at once',
      round,
      async () => await Promise.all(pairs.map(async pair => await meetPair(round, pair, signal)))
    )
    const during = await takeCensus(context, hosts, null)
    await partRound(round)
    const parted = await takeCensus(context, hosts, idle)

    step('everybody dials one peer')
    await crowd(story, context, round)
    await closeRound(round)
    const closed = await takeCensus(context, hosts, blank)

    checkSuccess(story, alone, swarm, transports)
    const nameless = unnamed([...alone.results, ...swarm.results])
    check.that(
      'every pair that stays on the relay says why',
      nameless.length === 0,
      nameless
        .map(({ pair, failures, problem }) => `${pair.a} × ${pair.b}: ${problem ?? (failures.join(', ') || 'nothing')}`)
        .join('; ')
    )
    const restarted = hosts.filter(name => blank.get(name)!.pid !== closed.get(name)!.pid)
    check.that(`all ${hosts.length} processes lived through it`, restarted.length === 0, restarted.join(', '))
    checkSockets(story, 'after connections ended', idle, parted)
    checkHeap(story, 'after connections ended', idle, parted)
    checkSockets(story, 'after peers were closed', blank, closed)
    checkHeap(story, 'after peers were closed', warm, closed)

    step('transfers that begin on a relay')
    await transfers(story, context, transports)

    for (const [when, census] of Object.entries({ blank, warm, idle, during, parted, closed }))
      row(censusRow(when, census))
    for (const played of [alone, swarm]) for (const pair of pairRows(played)) row(pair)
    row({
      machine: `${cpus().length} cores`,
      load: loadavg()
        .map(each => each.toFixed(1))
        .join(' '),
      tookS: Math.round((performance.now() - began) / 1000)
    })
  }
})

interface Played {
  name: string
  results: PairResult[]
  tookMs: number
  /** Punches under way at one time at one peer. */
  mostPunches: number
}

async function timed(
  { history }: Story,
  name: string,
  { id, peers }: Round,
  meet: () => Promise<PairResult[]>
): Promise<Played> {
  const began = performance.now()
  const results = await history.operation('punch', { round: name }, meet, each => each)
  const tookMs = Math.round(performance.now() - began)
  const most = await Promise.all([...peers.values()].map(async ({ client }) => await client.mostPunches({ id })))
  return { name, results, tookMs, mostPunches: Math.max(...most.map(each => each.most)) }
}

/** By each set of transports: the slower one's failures would hide behind the other's successes. */
function checkSuccess({ check, row }: Story, alone: Played, swarm: Played, allowed: readonly PunchTransport[]): void {
  const by = ({ pair }: PairResult): string => transportsAt(slotOf(pair.a), allowed).join('+')
  for (const group of new Set(swarm.results.map(by))) {
    const of = ({ results, ...rest }: Played): Played => ({
      ...rest,
      results: results.filter(each => by(each) === group)
    })
    const [one, many] = [of(alone), of(swarm)]
    const { lower, least } = isLower(countOf(many), countOf(one))
    check.that(
      `by ${group} not fewer pairs are direct at once than one at a time leaves to chance`,
      !lower,
      `${told(many)} at once, ${told(one)} one at a time: at least ${(least * 100).toFixed(1)} %`
    )
    for (const played of [one, many]) row(roundRow(group, played))
  }
}

/** One peer that punches with one other at a time, beside its host's own; everybody behind another NAT dials it. */
async function crowd({ check, row, signal }: Story, context: SwarmContext, round: Round): Promise<void> {
  const hub = swarmHost(0, 0)
  const home = hub.slice(0, hub.lastIndexOf('-') + 1)
  const transports = context.transportsOf(hub)
  const others = [...round.peers.keys()].filter(
    name => !name.startsWith(home) && context.transportsOf(name).some(each => transports.includes(each))
  )
  const id = 'crowd'
  const far = await openRound(context, [hub], id, { punchesAtOnce: { host: hub, most: CAP } })
  const kinds: PairResult['pair']['kinds'] = [kindAt(0), kindAt(0)]
  const results = await Promise.all(
    others.map(async a => await meetPair(round, { a, b: hub, kinds }, signal, { round: far, waitMs: CROWD_WAITS_MS }))
  )
  const { most } = await far.peers.get(hub)!.client.mostPunches({ id })
  await closeRound(far)
  const direct = results.filter(({ directMs }) => directMs !== null).length
  row({ crowd: `${others.length} dial one peer`, cap: CAP, mostPunches: most, direct, failures: causesOf(results) })
  check.that(
    `a peer that ${others.length} dial at once has no more than ${CAP} punch under way, and each that stays relayed says why`,
    most === CAP && direct > CAP && unnamed(results).length === 0,
    `${most} at once, ${direct} direct; ${JSON.stringify(causesOf(results))}`
  )
}

async function transfers(
  { testnet, check, row, history, depth }: Story,
  context: SwarmContext,
  transports: readonly PunchTransport[]
): Promise<void> {
  const hosts: TransferCase['hosts'] = [swarmHost(2, 0), swarmHost(4, 0)]
  const every = transports.flatMap((transport): TransferCase[] => [
    { name: 'moves', transport, hosts, bytes: TRANSFER_BYTES, circuitBytes: RELAY_BYTES, isCut: false },
    {
      name: 'is cut, then moves',
      transport,
      hosts,
      bytes: TRANSFER_BYTES,
      circuitBytes: SMALL_RELAY_BYTES,
      isCut: true
    }
  ])
  // Both cases and both transports, once each.
  const cases = depth === 'full' ? every : [every[0]!, every.at(-1)!]
  for (const [number, each] of cases.entries()) {
    const name = `64 MiB that begin on a relay end on the direct path (${each.name}, ${each.transport})`
    try {
      const seen = await history.operation(
        'transfer',
        { ...each },
        async () => await playTransfer(context, testnet, each, `transfer-${number}`),
        result => result
      )
      row(seen)
      const faults = transferFaults(seen, each.isCut)
      const { byRelay, byDirect, tookMs, circuits, fullestCircuit, circuitLimit, sha256 } = seen
      check.that(
        name,
        faults.length === 0,
        `${faults.join('; ')}${faults.length === 0 ? '' : ': '}${mib(byRelay)} by ${circuits} circuits (fullest ${mib(fullestCircuit)} of ${mib(circuitLimit)}), ${mib(byDirect)} directly, ${tookMs} ms, SHA-256 ${sha256.slice(0, 16)}`
      )
    } catch (error) {
      context.signal.throwIfAborted()
      check.that(name, false, (error as Error).message)
    }
  }
}

function checkSockets({ check }: Story, when: string, before: Census, after: Census): void {
  const more = [...after].filter(([name, held]) => leftOver(before.get(name)!, held) > 0)
  check.that(
    `${after.size} processes have no more sockets ${when} than before`,
    more.length === 0,
    more.map(([name, held]) => `${name}: ${heldText(held)} instead of ${heldText(before.get(name)!)}`).join('; ')
  )
}

function checkHeap({ check }: Story, when: string, before: Census, after: Census): void {
  const heaps = [...after].map(
    ([host, { heapBytes }]): Grown => ({ host, before: before.get(host)!.heapBytes, after: heapBytes })
  )
  const { share, tooMuch, beyond } = growth(heaps)
  check.that(
    `heaps are not more than ${MEMORY_SLACK * 100} % larger ${when} than before`,
    !tooMuch,
    `${percent(share)}, one by ${percent(Math.max(...heaps.map(each => each.after / each.before)) - 1)}${beyond.map(each => `; ${each.host}: ${mib(each.before)} to ${mib(each.after)}`).join('')}`
  )
}

const percent = (share: number): string => `${share < 0 ? '' : '+'}${(share * 100).toFixed(1)} %`

const countOf = ({ results }: Played) => ({
  successes: results.filter(({ directMs }) => directMs !== null).length,
  runs: results.length
})

function told(played: Played): string {
  const { successes, runs } = countOf(played)
  return `${successes} of ${runs}`
}

function roundRow(by: string, played: Played): Record<string, unknown> {
  const { name, results, tookMs, mostPunches } = played
  const times = results.flatMap(({ directMs }) => directMs ?? [])
  const wonBy = (transport: string): number => results.filter(each => each.by === transport).length
  return {
    round: name,
    by,
    direct: told(played),
    wonByTcp: wonBy('tcp'),
    wonByQuic: wonBy('quic'),
    p50Ms: quantile(times, 0.5),
    p95Ms: quantile(times, 0.95),
    firstAttempt: results.filter(({ directMs, attempts }) => directMs !== null && attempts !== null && attempts <= 1)
      .length,
    mostPunches,
    tookMs,
    failures: causesOf(results)
  }
}

/** What all processes hold together. */
function censusRow(when: string, census: Census): Record<string, unknown> {
  const all = [...census.values()]
  const sum = (of: (each: Held) => number): number => all.reduce((total, each) => total + of(each), 0)
  return {
    when,
    processes: all.length,
    connections: sum(each => each.connections),
    sockets: sum(({ sockets }) => socketCount(sockets)),
    heapMiB: Math.round(sum(each => each.heapBytes) / MIB),
    rssMiB: Math.round(sum(each => each.rssBytes) / MIB)
  }
}

function pairRows({ name, results }: Played): Array<Record<string, unknown>> {
  return results.map(({ pair, directMs, by, attempts, failures, problem }) => ({
    a: pair.a,
    b: pair.b,
    kinds: pair.kinds.join(' × '),
    round: name,
    directMs,
    by,
    attempts,
    failures: failures.join(', '),
    problem: problem ?? ''
  }))
}

/** Named causes of failed punches, and how often. */
function causesOf(results: readonly PairResult[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const cause of results.flatMap(({ failures, problem }) => [
    ...failures,
    ...(problem === undefined ? [] : [problem])
  ]))
    counts[cause] = (counts[cause] ?? 0) + 1
  return counts
}

const heldText = ({ sockets, connections }: Held): string =>
  `${Object.entries(sockets)
    .map(([kind, count]) => `${count} ${kind}`)
    .join(' ')} of ${connections} connections`

const mib = (bytes: number): string => `${(bytes / MIB).toFixed(1)} MiB`
