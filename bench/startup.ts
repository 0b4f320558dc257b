/** How long `many` takes on netns until every host is ready and registered, against the same processes on loopback. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { plan, topologyNamed } from '../netem/index.ts'
import { labMs, SEED, seconds } from './lab.ts'
import { loopbackStartMs } from './loopback.ts'
import type { Bench } from './main.ts'
import { wallMs } from './processes.ts'
import { median, type Row, row } from './report.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
/** Repetitions by number of nodes: the biggest says enough once. */
const SIZES: Array<[nodes: number, repetitions: number]> = [
  [10, 3],
  [30, 2],
  [100, 1]
]
/** The default testnet, set up before: seconds. */
const TESTNET_AIM_S = 15
/** Slot of the loopback floor's control ports; the lab takes the first free one. */
const FLOOR_SLOT = 15

const bench: Bench = async say => {
  await wallMs([process.execPath, join(ROOT, 'compose/build.ts')])
  const rows: Row[] = []
  for (const [nodes, repetitions] of SIZES) {
    const topology = topologyNamed('many', { nodes })
    const ups: number[] = []
    const downs: number[] = []
    const floors: number[] = []
    for (let i = 0; i < repetitions; i++) {
      const lab = await labMs(topology, 'netns')
      ups.push(lab.upMs)
      downs.push(lab.downMs)
      const folder = await mkdtemp(join(tmpdir(), 'warren-floor-'))
      try {
        floors.push(await loopbackStartMs(plan(topology, SEED, FLOOR_SLOT), folder))
      } finally {
        await rm(folder, { recursive: true, force: true })
      }
      say(
        `${nodes} nodes: netns ${seconds(lab.upMs)} s up, ${seconds(lab.downMs)} s down; loopback ${seconds(floors[i] as number)} s`
      )
    }
    rows.push(
      row({
        what: `${nodes} nodes on netns, ready and registered`,
        value: median(ups) / 1000,
        unit: 's',
        floor: median(floors) / 1000,
        better: 'lower',
        target: 2
      }),
      row({
        what: `${nodes} nodes on netns, down (floor: their up)`,
        value: median(downs) / 1000,
        unit: 's',
        floor: median(ups) / 1000,
        better: 'lower',
        target: 0.5
      })
    )
  }
  const { upMs } = await labMs(topologyNamed('testnet'), 'netns')
  say(`default testnet: ${seconds(upMs)} s up`)
  rows.push(
    row({ what: 'default testnet on netns', value: upMs / 1000, unit: 's', better: 'lower', aim: TESTNET_AIM_S })
  )
  return rows
}

export default bench
