/**
 * The same processes with no network lab: every role of a plan on 127/8, each host on a loopback address of its own. The floor
 * of a testnet's start-up: what the chain, relays, gateways and nodes themselves need on this machine.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { roleProcess } from '../compose/index.ts'
import type { Plan, PlannedHost, Role } from '../netem/index.ts'
import { readiness } from '../scenarios/index.ts'
import { boundToUs, end } from './processes.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '')
/** The order and the starts at one time are the netns runtime's, so that only the lab differs. */
const START_ORDER: Role[] = ['chain', 'relay', 'gateway', 'node', 'client']
const STARTS_PER_CORE = 2
const LOOK_EVERY_MS = 200
const READY_LIMIT_MS = 600_000

/**
 * Every host of a plan on a loopback address of its own, 127.1.0.11 and up. Whoever is behind a NAT in the plan still reserves on
 * the relays and asks the DHT as a client, so that the processes do the same work. Pure.
 */
export function onLoopback(plan: Plan): Plan {
  const hosts = plan.hosts.map((host, index): PlannedHost => {
    const address = `127.1.${Math.floor((index + 10) / 250)}.${((index + 10) % 250) + 1}`
    return { ...host, attachment: { ...host.attachment, address, prefixLength: 8 }, defaultGateway: null }
  })
  const chainHost = hosts.find(host => host.name === plan.chain?.host)
  const chain = plan.chain && {
    ...plan.chain,
    rpcUrl: plan.chain.rpcUrl.replace(/\/\/[^:]+/, `//${chainHost?.attachment.address}`)
  }
  return { ...plan, routers: [], hosts, chain }
}

/** Starts all of it and answers how long it took until every `/ready` said yes, milliseconds; ends it again. */
export async function loopbackStartMs(original: Plan, folder: string): Promise<number> {
  const plan = onLoopback(original)
  const children: ChildProcess[] = []
  const begun = performance.now()
  try {
    const queue = [...plan.hosts].sort((a, b) => START_ORDER.indexOf(a.role) - START_ORDER.indexOf(b.role))
    const starter = async (): Promise<void> => {
      for (let host = queue.shift(); host !== undefined; host = queue.shift())
        children.push(await start(plan, host, folder))
    }
    await Promise.all(Array.from({ length: availableParallelism() * STARTS_PER_CORE }, starter))
    await Promise.all(plan.hosts.map(untilReady))
    return performance.now() - begun
  } finally {
    await Promise.all(children.map(end))
  }
}

async function start(plan: Plan, host: PlannedHost, folder: string): Promise<ChildProcess> {
  const places = { root: ROOT, data: join(folder, 'data', host.volume), files: join(folder, 'files', host.name) }
  const { args, env, files } = roleProcess(plan, host, places, { port: host.controlPort })
  await mkdir(places.data, { recursive: true })
  await mkdir(places.files, { recursive: true })
  for (const { name, content } of files) await writeFile(join(places.files, name), content, { mode: 0o600 })
  const bound = Object.entries(env).map(([name, value]) => [name, value.replaceAll('0.0.0.0', host.attachment.address)])
  const child = boundToUs(
    spawn(process.execPath, args, {
      env: { PATH: process.env.PATH, NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE, ...Object.fromEntries(bound) },
      stdio: ['ignore', 'pipe', 'ignore']
    })
  )
  await new Promise<void>((resolve, reject) => {
    child.stdout?.once('data', () => resolve())
    child.once('exit', code => reject(new Error(`${host.name} ended with ${code} before it was ready`)))
  })
  child.stdout?.resume()
  return child
}

async function untilReady(host: PlannedHost): Promise<void> {
  const deadline = performance.now() + READY_LIMIT_MS
  for (;;) {
    const waiting = await readiness({ control: `http://127.0.0.1:${host.controlPort}` })
    if (waiting === null) return
    if (performance.now() > deadline) throw new Error(`${host.name} is not ready: ${waiting.join(', ')}`)
    await delay(LOOK_EVERY_MS)
  }
}
