/** Many peers behind several NATs punch to each other all at once, and nothing of it stays behind. */
import { cpus, loadavg } from 'node:os'
import type { Topology } from '../netem/index.ts'
import { type Occasion, type Story, scenario } from './harness/scenario.ts'
import { playTransfer, type TransferCase, transferFaults } from './punching/moved-transfer.ts'
import type { Held } from './punching/peer.types.ts'
import { readSettings } from './punching/settings.ts'
import { quantile } from './punching/statistics.ts'
import {
  type Grown,
  grown,
  isLower,
  MEMORY_SLACK,
  type PairResult,
  RELAY_BYTES,
  SMALL_RELAY_BYTES,
  SWARM_SIZES,
  swarmHost,
  swarmHosts,
  swarmPairs,
  swarmTopology,
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
  socketCount,
  takeCensus
} from './punching/swarm-round.ts'

const MIB = 1024 * 1024
const TRANSFER_BYTES = 64 * MIB
/** Of the peer that all others dial at once. */
const CAP = 1

const sizeOf = ({ depth }: Pick<Occasion, 'depth'>) => SWARM_SIZES[depth]

export default scenario({
  about:
    'many peers behind several NATs punch to each other at once as well as one at a time, and leave nothing behind',
  topology(occasion: Occasion): Topology {
    const { linkMs, lossPct } = readSettings(process.env, occasion)
    return swarmTopology(sizeOf(occasion), linkMs, lossPct)
  },
  needs: ['nat', 'exec', 'delay', 'partition'],
  withinMs: 1_200_000,
  settings: ['TRANSPORTS', 'LINK', 'LOSS'],
  reportFolder: ({ depth }) => (depth === 'full' ? 'punch-swarm' : 'punch-swarm-short'),

  async story(story) {
    const { testnet, host, depth, check, step, row, signal } = story
    const { transports } = readSettings(process.env, { depth })
    const context: SwarmContext = { plan: testnet.plan, host, transports, signal }
    const size = sizeOf({ depth })
    const hosts = swarmHosts(size)
    const pairs = swarmPairs(size)

    step(`${hosts.length} peers behind ${size.nats} NATs`)
    const blank = await takeCensus(context, hosts, null)

    // Every peer takes part, so that nothing it makes once is taken for a leak afterwards.
    const sample = pairs.slice(0, hosts.length)
    step(`${sample.length} pairs one at a time`)
    const alone = await playRound(story, context, hosts, 'alone', async round => {
      const results: PairResult[] = []
      for (const pair of sample) results.push(await meetPair(round, pair, signal))
      return results
    })

    step(`${pairs.length} pairs at once`)
    const swarm = await playRound(story, context, hosts, 'swarm', async round => {
      return await Promise.all(pairs.map(async pair => await meetPair(round, pair, signal)))
    })

    step('everybody dials one peer')
    await crowd(story, context, hosts)
    const end = await takeCensus(context, hosts, blank)

    for (const each of [alone, swarm]) row(rowOf(each))
    for (const each of [alone, swarm]) for (const pair of pairRows(each)) row(pair)

    const { lower, least } = isLower(countOf(swarm), countOf(alone))
    check.that(
      'at once not fewer pairs are direct than one at a time leaves to chance',
      !lower,
      `${told(swarm)} at once, ${told(alone)} one at a time: at least ${(least * 100).toFixed(1)} %`
    )
    const nameless = unnamed([...alone.results, ...swarm.results])
    check.that(
      'every pair that stays on the relay says why',
      nameless.length === 0,
      nameless
        .map(({ pair, failures, problem }) => `${pair.a} × ${pair.b}: ${problem ?? (failures.join(', ') || 'nothing')}`)
        .join('; ')
    )
    const restarted = hosts.filter(name => blank.get(name)!.pid !== end.get(name)!.pid)
    check.that(`all ${hosts.length} processes lived through it`, restarted.length === 0, restarted.join(', '))

    checkLeaks(story, 'after connections ended', swarm.idle, swarm.parted)
    // What a process makes once, at its first peer, it has made after the first round.
    checkLeaks(story, 'after peers were closed', alone.closed, swarm.closed)
    checkSockets(story, 'in the end', blank, end)

    step('transfers that begin on a relay')
    await transfers(story, context)
    story.row({
      machine: `${cpus().length} cores`,
      load: loadavg()
        .map(each => each.toFixed(1))
        .join(' ')
    })
  }
})

interface Played {
  name: string
  results: PairResult[]
  tookMs: number
  mostPunches: number
  /** Opened and connected to relays; with connections among them ended; all peers closed. */
  idle: Census
  during: Census
  parted: Census
  closed: Census
}

async function playRound(
  { history }: Story,
  context: SwarmContext,
  hosts: readonly string[],
  name: string,
  meet: (round: Round) => Promise<PairResult[]>
): Promise<Played> {
  const round = await openRound(context, hosts, name)
  const idle = await takeCensus(context, hosts, null)
  const began = performance.now()
  const results = await history.operation(
    'punch',
    { round: name },
    async () => await meet(round),
    each => each
  )
  const tookMs = Math.round(performance.now() - began)
  const most = await Promise.all(
    [...round.peers.values()].map(async ({ client }) => await client.mostPunches({ id: name }))
  )
  const during = await takeCensus(context, hosts, null)
  await partRound(round)
  const parted = await takeCensus(context, hosts, idle)
  await closeRound(round)
  const closed = await takeCensus(context, hosts, null)
  const mostPunches = Math.max(...most.map(each => each.most))
  return { name, results, tookMs, mostPunches, idle, during, parted, closed }
}

/** One peer that punches with one other at a time, and is dialled by everybody who is behind another NAT. */
async function crowd({ check, row, signal }: Story, context: SwarmContext, hosts: readonly string[]): Promise<void> {
  const hub = swarmHost(0, 0)
  const home = hub.slice(0, hub.lastIndexOf('-') + 1)
  const others = hosts.filter(name => !name.startsWith(home))
  const id = 'crowd'
  const round = await openRound(context, [hub, ...others], id, { punchesAtOnce: { host: hub, most: CAP } })
  const kinds: PairResult['pair']['kinds'] = ['full-cone', 'full-cone']
  const results = await Promise.all(others.map(async a => await meetPair(round, { a, b: hub, kinds }, signal)))
  const { most } = await round.peers.get(hub)!.client.mostPunches({ id })
  await closeRound(round)
  const direct = results.filter(({ directMs }) => directMs !== null).length
  row({ crowd: `${others.length} dial one peer`, cap: CAP, mostPunches: most, direct, failures: causesOf(results) })
  check.that(
    `a peer that ${others.length} dial at once has no more than ${CAP} punch under way, and each of the rest a named end`,
    most === CAP && direct > CAP && unnamed(results).length === 0,
    `${most} at once, ${direct} direct; ${JSON.stringify(causesOf(results))}`
  )
}

async function transfers({ testnet, check, row, history }: Story, context: SwarmContext): Promise<void> {
  const hosts: TransferCase['hosts'] = [swarmHost(2, 0), swarmHost(4, 0)]
  const cases = context.transports.flatMap((transport): TransferCase[] => [
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
  const more = [...after].filter(([name, { sockets }]) => socketCount(sockets) > socketCount(before.get(name)!.sockets))
  check.that(
    `${after.size} processes have no more sockets ${when} than before`,
    more.length === 0,
    more
      .map(([name, { sockets }]) => `${name}: ${kindsOf(sockets)} instead of ${kindsOf(before.get(name)!.sockets)}`)
      .join('; ')
  )
}

function checkLeaks(story: Story, when: string, before: Census, after: Census): void {
  checkSockets(story, when, before, after)
  const heaps = [...after].map(
    ([host, { heapBytes }]): Grown => ({ host, before: before.get(host)!.heapBytes, after: heapBytes })
  )
  const wrong = grown(heaps)
  const most = Math.max(...heaps.map(each => each.after / each.before))
  story.check.that(
    `no heap is more than ${MEMORY_SLACK * 100} % larger ${when} than before`,
    wrong.length === 0,
    `at most ${((most - 1) * 100).toFixed(1)} %${wrong.map(each => `; ${each.host}: ${mib(each.before)} to ${mib(each.after)}`).join('')}`
  )
}

const countOf = ({ results }: Played) => ({
  successes: results.filter(({ directMs }) => directMs !== null).length,
  runs: results.length
})

function told(played: Played): string {
  const { successes, runs } = countOf(played)
  return `${successes} of ${runs}`
}

function rowOf(played: Played): Record<string, unknown> {
  const { name, results, tookMs, mostPunches, idle, during, parted, closed } = played
  const times = results.flatMap(({ directMs }) => directMs ?? [])
  const by = (transport: string): number => results.filter(each => each.by === transport).length
  return {
    round: name,
    direct: told(played),
    byTcp: by('tcp'),
    byQuic: by('quic'),
    p50Ms: quantile(times, 0.5),
    p95Ms: quantile(times, 0.95),
    firstAttempt: results.filter(({ directMs, attempts }) => directMs !== null && attempts !== null && attempts <= 1)
      .length,
    tookMs,
    mostPunches,
    failures: causesOf(results),
    ...Object.fromEntries(
      Object.entries({ idle, during, parted, closed }).flatMap(([when, census]) => {
        const all = [...census.values()]
        const sum = (of: (each: Held) => number): number => all.reduce((total, each) => total + of(each), 0)
        return [
          [`${when}Sockets`, sum(({ sockets }) => socketCount(sockets))],
          [`${when}HeapMiB`, Math.round(sum(each => each.heapBytes) / MIB)],
          [`${when}RssMiB`, Math.round(sum(each => each.rssBytes) / MIB)]
        ]
      })
    )
  }
}

function pairRows({ name, results }: Played): Array<Record<string, unknown>> {
  return results.map(({ pair, directMs, by, attempts, failures, problem }) => ({
    a: pair.a,
    b: pair.b,
    kinds: pair.kinds.join(' × '),
    of: name,
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

const kindsOf = (sockets: Held['sockets']): string =>
  Object.entries(sockets)
    .map(([kind, count]) => `${count} ${kind}`)
    .join(' ')

const mib = (bytes: number): string => `${(bytes / MIB).toFixed(1)} MiB`
