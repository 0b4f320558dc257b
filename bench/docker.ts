/**
 * `many` on docker until every host is ready and registered, and down again, against `docker compose up --wait` and `down` of as
 * many containers of the same images with the same healthchecks that only listen.
 */
import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { parse, stringify } from 'yaml'
import { LEG_IMAGE, renderCompose, roles } from '../compose/index.ts'
import { type Plan, plan, topologyNamed } from '../netem/index.ts'
import { chooseRuntime } from '../scenarios/index.ts'
import { labMs, SEED, seconds } from './lab.ts'
import type { Bench } from './main.ts'
import { wallMs } from './processes.ts'
import { median, type Row, row } from './report.ts'

const run = promisify(execFile)
const ROOT = fileURLToPath(new URL('..', import.meta.url))
const SIZES: Array<[nodes: number, repetitions: number]> = [
  [10, 3],
  [30, 2]
]
const TESTNET_AIM_S = 60
const COMPOSE_LIMIT_MS = 300_000
const PROJECT = 'warren-bench-floor'

/** What a floor's service keeps of the real one: its image and how it is looked after, not what it does. */
const KEPT = [
  'image',
  'pull_policy',
  'init',
  'read_only',
  'cap_drop',
  'security_opt',
  'tmpfs',
  'mem_limit',
  'pids_limit',
  'user',
  'logging',
  'healthcheck',
  'stop_grace_period'
]

/** As many services as the testnet has, each only listening. Pure. */
export function floorDocument(original: Plan, checkEvery?: string): Record<string, unknown> {
  const document = parse(renderCompose(original), { merge: true }) as {
    services: Record<string, Record<string, unknown>>
  }
  const ports = new Map(Object.values(roles).map(({ image, httpPort }) => [image, httpPort]))
  const services = Object.entries(document.services).map(([name, service]) => {
    const listen = `require('http').createServer((q, s) => s.end('ok')).listen(${ports.get(service.image as string) ?? 1})`
    const leg =
      "require('fs').mkdirSync('/run/leg', { recursive: true }); require('fs').writeFileSync('/run/leg/ready', ''); "
    const ends = "process.on('SIGTERM', () => process.exit(0)); "
    return [
      name,
      {
        ...Object.fromEntries(KEPT.flatMap(key => (service[key] === undefined ? [] : [[key, service[key]]]))),
        // Compose reads a $ as its own, as it does in the real file.
        healthcheck: {
          ...(service.healthcheck as object),
          ...(checkEvery === undefined ? {} : { interval: checkEvery })
        },
        entrypoint: [
          'node',
          '-e',
          ends + (service.image === LEG_IMAGE ? leg + listen.replace('listen(1)', 'listen(1080)') : listen)
        ]
      }
    ]
  })
  return { name: PROJECT, services: Object.fromEntries(services) }
}

const bench: Bench = async say => {
  const runtime = await chooseRuntime('docker').catch((error: unknown) => error as Error)
  if (runtime instanceof Error) return { skip: runtime.message }
  await wallMs([process.execPath, join(ROOT, 'compose/images.ts')])
  const rows: Row[] = []
  for (const [nodes, repetitions] of SIZES) {
    const topology = topologyNamed('many', { nodes })
    const times = { up: [] as number[], down: [] as number[], floorUp: [] as number[], floorDown: [] as number[] }
    for (let i = 0; i < repetitions; i++) {
      const floor = await floorMs(plan(topology, SEED))
      times.floorUp.push(floor.upMs)
      times.floorDown.push(floor.downMs)
      const lab = await labMs(topology, 'docker')
      times.up.push(lab.upMs)
      times.down.push(lab.downMs)
      say(
        `${nodes} nodes: up ${seconds(lab.upMs)} s (floor ${seconds(floor.upMs)}), down ${seconds(lab.downMs)} s (floor ${seconds(floor.downMs)})`
      )
    }
    // `--wait` sees what the health checks see, and ours look every 20 s to stay cheap: this floor looks every second.
    const strict = await floorMs(plan(topology, SEED), '1s')
    say(`${nodes} nodes: floor with a check every second ${seconds(strict.upMs)} s`)
    const of = (list: number[]) => median(list) / 1000
    rows.push(
      row({
        what: `${nodes} nodes on docker, floor checked every second`,
        value: of(times.up),
        unit: 's',
        floor: strict.upMs / 1000,
        better: 'lower'
      }),
      row({
        what: `${nodes} nodes on docker, ready and registered`,
        value: of(times.up),
        unit: 's',
        floor: of(times.floorUp),
        better: 'lower',
        target: 2
      }),
      row({
        what: `${nodes} nodes on docker, down`,
        value: of(times.down),
        unit: 's',
        floor: of(times.floorDown),
        better: 'lower',
        target: 1.5
      })
    )
  }
  const { upMs } = await labMs(topologyNamed('testnet'), 'docker')
  rows.push(
    row({ what: 'default testnet on docker', value: upMs / 1000, unit: 's', better: 'lower', aim: TESTNET_AIM_S })
  )
  return rows
}

async function timed(task: () => Promise<unknown>): Promise<number> {
  const begun = performance.now()
  await task()
  return performance.now() - begun
}

async function floorMs(original: Plan, checkEvery?: string): Promise<{ upMs: number; downMs: number }> {
  const folder = await mkdtemp(join(tmpdir(), 'warren-floor-'))
  const file = join(folder, 'compose.yml')
  const compose = (...args: string[]) => run('docker', ['compose', '-f', file, ...args], { timeout: COMPOSE_LIMIT_MS })
  try {
    await writeFile(file, stringify(floorDocument(original, checkEvery)))
    // Of a benchmark that was interrupted: it would make the floor look fast.
    await compose('down', '--volumes', '--remove-orphans')
    const upMs = await timed(() => compose('up', '--detach', '--wait'))
    return { upMs, downMs: await timed(() => compose('down', '--volumes')) }
  } finally {
    await compose('down', '--volumes').catch(() => undefined)
    await rm(folder, { recursive: true, force: true })
  }
}

export default bench
