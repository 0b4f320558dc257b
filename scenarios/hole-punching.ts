/** Peers behind every pair of NAT kinds get direct connections where reason says that they can, by TCP and by QUIC. */

import { writeFile } from 'node:fs/promises'
import { cpus, loadavg } from 'node:os'
import { join } from 'node:path'
import type { Topology } from '../netem/index.ts'
import { gridPage } from './harness/grid-page.ts'
import { controlPunch } from './harness/punch.ts'
import type { PunchPair } from './harness/punch-programs.ts'
import { type Occasion, type Story, scenario } from './harness/scenario.ts'
import { type Cell, type CellRow, type Control, controlDiffers, gridCellOf, nameOf, rowOf } from './punching/cells.ts'
import type { PunchTransport } from './punching/expected.ts'
import { figureChecks } from './punching/figures.ts'
import { hostAt, punchingTopology, STOCK_RELAY, stockRelay } from './punching/lab.ts'
import { pageTables } from './punching/page.ts'
import { peerClient } from './punching/peer-client.ts'
import { type RunContext, type RunResult, runPair } from './punching/run.ts'
import { playAll } from './punching/schedule.ts'
import { PUNCHING_SETTINGS, type PunchingSettings, readSettings, STOCK_PAIRS } from './punching/settings.ts'

/** From the relayed connection on: hard pairs give up after 10 s, and ordinary attempts may come before them. */
const DIRECT_WITHIN_MS = { warren: 35_000, stock: 12_000 }
const STOCK_RELAY_WITHIN_MS = 10_000
/** Ever more patient where a way was missed: a crowded machine is no NAT, and dials that cross may refuse each other. */
const LATER_PATIENCE = [2, 4]

const topology = (occasion: Occasion): Topology => punchingTopology(readSettings(process.env, occasion))

export default scenario({
  about: 'peers behind every pair of NAT kinds get direct connections where reason says that they can, by TCP and QUIC',
  topology,
  needs: ['nat', 'exec', 'delay'],
  withinMs: 3_600_000,
  settings: PUNCHING_SETTINGS,
  reportFolder: ({ depth }) => (depth === 'full' ? 'hole-punching' : 'hole-punching-short'),

  async story(story) {
    const { testnet, depth, check, step, row, folder, runtime, signal } = story
    const settings = readSettings(process.env, { depth })
    const { runs, transports, linkMs, lossPct, atOnce } = settings
    const began = performance.now()

    step('the control puncher')
    const cells: Cell[] = transports.flatMap(transport =>
      settings.pairs.map(pair => ({ ...pair, transport, stack: 'warren' as const }))
    )
    const controls = await control(story, cells)

    step(`${cells.length} pairs, ${runs} runs each, ${atOnce} at once`)
    const rows = await grid(story, settings, cells, controls)

    step('stock js-libp2p')
    const stockCells: Cell[] = transports.flatMap(transport =>
      STOCK_PAIRS.filter(pair => isThere(story, pair)).map(pair => ({ ...pair, transport, stack: 'stock' as const }))
    )
    const stockRows = await grid(story, { ...settings, runs: Math.min(runs, 2) }, stockCells, controls)

    for (const each of [...rows, ...stockRows]) row({ ...each })
    checkRows(story, 'go as expected', rows)
    if (stockRows.length > 0) checkRows(story, 'of stock js-libp2p fail where upstream says so', stockRows)
    for (const { name, holds, detail } of figureChecks(rows, linkMs)) check.that(name, holds, detail)

    const load = loadavg().map(each => each.toFixed(1))
    const about = [
      `${runtime}, seed ${testnet.plan.seed}; ${runs === 1 ? '1 run' : `${runs} runs`} a pair, ${atOnce} at one time on ${cpus().length} cores (load ${load.join(' ')}),`,
      `links of ${linkMs} ms one way${lossPct === 0 ? '' : ` and ${lossPct} % loss`}, ${Math.round((performance.now() - began) / 1000)} s in all.`,
      'A row is where the peer is that dials through the relay, a column where the one is that is dialled.'
    ]
    const legend =
      'Median milliseconds from the relayed connection to the direct one; successes of runs where not all are; – stays on the relay; yellow is a known failure.'
    const page = gridPage('Hole punching: who is connected directly', about.join(' '), rows.map(gridCellOf), {
      legend,
      tables: pageTables(rows, stockRows)
    })
    await writeFile(join(folder, 'report.html'), page)
    signal.throwIfAborted()
  }
})

function isThere({ testnet }: Story, { a, b }: { a: Cell['a']; b: Cell['b'] }): boolean {
  const names = testnet.plan.hosts.map(({ name }) => name)
  return names.includes(hostAt('a', a)) && names.includes(hostAt('b', b))
}

/** What plain sockets can do between the same hosts; by the key of a cell. */
async function control({ testnet, check, signal }: Story, cells: Cell[]): Promise<Map<string, Control>> {
  const pairOf = ({ a, b, transport }: Cell): PunchPair => ({
    a: hostAt('a', a),
    b: hostAt('b', b),
    protocol: transport === 'tcp' ? 'tcp' : 'udp'
  })
  const controls = new Map<string, Control>()
  const ask = async (asked: Cell[], patience: number): Promise<void> => {
    const results = await controlPunch(testnet, asked.map(pairOf), { signal, patience })
    for (const [index, { tookMs, problem }] of results.entries()) {
      const path = tookMs === null ? 'none' : 'direct'
      controls.set(nameOf(asked[index]!), { path, ...(problem === undefined ? {} : { problem }) })
    }
  }
  const differing = (): Cell[] => cells.filter(cell => controlDiffers(cell, controls.get(nameOf(cell))!) !== null)
  await ask(cells, 1)
  for (const patience of LATER_PATIENCE) {
    // A way where none should be is not asked again: one is enough to show that the lab is not what it claims.
    const missed = differing().filter(cell => controls.get(nameOf(cell))?.path === 'none')
    if (missed.length > 0) await ask(missed, patience)
  }
  const wrong = differing().map(cell => controlDiffers(cell, controls.get(nameOf(cell))!))
  check.that(`the control puncher goes as reason says in ${cells.length} pairs`, wrong.length === 0, wrong.join('; '))
  return controls
}

/** Every run of every cell, in an order that the seed shuffles. */
async function grid(
  story: Story,
  { runs, atOnce }: PunchingSettings,
  cells: Cell[],
  controls: Map<string, Control>
): Promise<CellRow[]> {
  if (cells.length === 0) return []
  const { testnet, host, random, history, signal } = story
  const isStock = cells.some(({ stack }) => stack === 'stock')
  const stockRelays = isStock ? await openStockRelays(story, cells) : {}
  const directWithinMs = DIRECT_WITHIN_MS[isStock ? 'stock' : 'warren']
  const context: RunContext = { plan: testnet.plan, host, signal, directWithinMs, stockRelays }
  const results = new Map(cells.map(cell => [cell, [] as RunResult[]]))
  const all = cells.flatMap(cell => Array.from({ length: runs }, () => cell))
  const jobs = random.pick(all, all.length).map((cell, number) => ({
    hosts: [hostAt('a', cell.a), hostAt('b', cell.b)] as [string, string],
    async play() {
      const result = await history.operation(
        'meet',
        { ...cell },
        async () => await runPair(context, cell, number),
        each => each
      )
      results.get(cell)!.push(result)
    }
  }))
  await playAll(jobs, atOnce)
  return cells.map(cell => rowOf(cell, controls.get(nameOf({ ...cell, stack: 'warren' })) ?? null, results.get(cell)!))
}

async function openStockRelays({ testnet, host, signal }: Story, cells: Cell[]): Promise<RunContext['stockRelays']> {
  const relay = peerClient(host(STOCK_RELAY), signal)
  const opened = await Promise.all(
    [...new Set(cells.map(({ transport }) => transport))].map(async (transport): Promise<[PunchTransport, string]> => {
      const { address, port, multiaddr } = stockRelay(testnet.plan, transport)
      const { peerId } = await relay.open({
        id: `relay-${transport}`,
        stack: 'stock',
        transports: [transport],
        family: 4,
        role: 'relay',
        relays: [],
        publicAddress: address,
        port,
        withinMs: STOCK_RELAY_WITHIN_MS
      })
      return [transport, `${multiaddr}/p2p/${peerId}`]
    })
  )
  return Object.fromEntries(opened)
}

function checkRows({ check }: Story, what: string, rows: CellRow[]): void {
  const wrong = rows.filter(({ wrong }) => wrong !== null).map(each => `${nameOf(each)}: ${each.wrong}`)
  check.that(`${rows.length} pairs ${what}`, wrong.length === 0, wrong.join('; '))
}
