/** The `netns` runtime: a plan in Linux namespaces, no engine, no root where user namespaces are allowed. */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync } from 'node:fs'
import { access, constants, mkdir, readFile, writeFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { roleProcess } from '../../compose/index.ts'
import {
  CAPTURE_TOOLS,
  CONTROL_PORT_BASE,
  NAT64_PROGRAM,
  type Plan,
  PORT_MAPPER,
  PORTS_PER_SLOT,
  type Role
} from '../../netem/index.ts'
import { InterruptedError, KeeperError, RuntimeMissingError } from './errors.ts'
import { keeperSocketPath, readKeeperRecord } from './netns-client.ts'
import { removeNetns } from './netns-down.ts'
import { probeNetns, toolEnvironment, whyNoCaptures } from './netns-probe.ts'
import type { HarnessMessage, KeeperMessage, Launch, Program } from './netns-protocol.ts'
import { netnsTestnet } from './netns-testnet.ts'
import { ROOT } from './paths.ts'
import { listeningPorts } from './processes.ts'
import { findProgram, installCommand } from './programs.ts'
import type { Capability, Missing, Progress, Runtime, UpOptions } from './runtime.ts'

/** Hosts that others wait for come first. */
const START_ORDER: Role[] = ['chain', 'relay', 'gateway', 'node', 'client']
/** Starting a product is work for a core; more at once only makes each of them late. */
const STARTS_PER_CORE = 2
/** Its supervisor gets 3 s to end before it is killed. */
const KEEPER_END_TIMEOUT_MS = 10_000
const CAPABILITIES: Capability[] = [
  'nat',
  'delay',
  'loss',
  'rate',
  'cut',
  'kill',
  'pause',
  'exec',
  'router-change',
  'unplug',
  'move',
  'partition',
  'impair'
]

const TUN_DEVICE = '/dev/net/tun'

/** Why a network with IPv6 only cannot reach IPv4 here, and the one command that mends it; null when it can. */
async function whyNoNat64(): Promise<{ why: string; fix: string } | null> {
  if ((await findProgram(NAT64_PROGRAM)) === null)
    return { why: `${NAT64_PROGRAM}, which translates, is not here`, fix: installCommand([NAT64_PROGRAM]) }
  const hasTun = await access(TUN_DEVICE, constants.R_OK | constants.W_OK).then(
    () => true,
    () => false
  )
  return hasTun ? null : { why: `${TUN_DEVICE} cannot be opened`, fix: 'modprobe tun (as root)' }
}

export const netnsRuntime: Runtime = {
  name: 'netns',

  async probe() {
    const { missing } = await probeNetns({ afresh: true })
    if (missing.length > 0) return { can: [], missing }
    const mapsPorts = (await findProgram(PORT_MAPPER.program)) !== null
    const translates = (await whyNoNat64()) === null
    const can: Capability[] = [...CAPABILITIES, ...(mapsPorts ? ['port-mapping' as const] : [])]
    return { can: translates ? [...can, 'nat64'] : can, missing }
  },

  async lacks(plan, { capture }) {
    const missing: Missing[] = []
    const need = async (program: string, name: string, why: string): Promise<void> => {
      if ((await findProgram(program)) === null) missing.push({ what: program, why, fix: installCommand([name]) })
    }
    const mapping = plan.routers.filter(({ portMapping }) => portMapping !== undefined).map(({ name }) => name)
    if (mapping.length > 0) {
      const why = `${mapping.join(', ')} ${mapping.length === 1 ? 'maps' : 'map'} ports, and the program that does it is not here`
      await need(PORT_MAPPER.program, PORT_MAPPER.package, why)
    }
    if (plan.routers.some(({ ipv6 }) => ipv6?.nat64 != null)) {
      const nat64 = await whyNoNat64()
      if (nat64 !== null) missing.push({ what: 'NAT64', ...nat64 })
    }
    const why = capture ? await whyNoCaptures() : null
    if (why !== null) {
      const isInstallable = CAPTURE_TOOLS.some(tool => why.startsWith(`${tool} is not`))
      const fix = isInstallable
        ? installCommand([...CAPTURE_TOOLS])
        : 'run it as root (sudo make …), or use RUNTIME=docker'
      missing.push({ what: 'captures', why, fix })
    }
    return missing
  },

  async slotFree(slot) {
    // Everything but the control ports is inside namespaces of its own.
    const listening = await listeningPorts()
    const first = CONTROL_PORT_BASE + PORTS_PER_SLOT * slot
    return Array.from({ length: PORTS_PER_SLOT }, (_, n) => first + n).every(port => !listening.has(port))
  },

  async up(plan, options) {
    const { missing, means } = await probeNetns()
    if (missing.length > 0) throw new RuntimeMissingError('netns', missing)
    const { folder, run, signal, capture } = options
    const socket = keeperSocketPath(folder, run)
    const programs = await preparePrograms(plan, folder)
    const keeper = startKeeper(folder, socket)
    try {
      const concurrency = availableParallelism() * STARTS_PER_CORE
      await bringUp(keeper, { run, folder, plan, means, programs, capture, concurrency }, options)
      // A bound testnet keeps the channel, whose loss ends it.
      if (options.bound) keeper.channel?.unref()
      else {
        keeper.send({ type: 'release' } satisfies HarnessMessage)
        keeper.disconnect()
      }
      keeper.unref()
    } catch (error) {
      // Losing the channel before the release tells the keeper to end everything.
      if (keeper.connected) keeper.disconnect()
      await ended(keeper)
      await removeNetns(folder, plan)
      throw signal.aborted ? new InterruptedError() : error
    }
    return netnsTestnet(plan, { folder, socket })
  },

  async attach(plan, { folder, run }) {
    const record = await readKeeperRecord(folder)
    return netnsTestnet(plan, { folder, socket: record?.socket ?? keeperSocketPath(folder, run) })
  }
}

/** Wait until the keeper is gone, and end it when it cannot end itself. */
async function ended(keeper: ChildProcess): Promise<void> {
  if (keeper.exitCode !== null || keeper.signalCode !== null || keeper.pid === undefined) return
  const { promise, resolve } = Promise.withResolvers<void>()
  keeper.once('exit', () => resolve())
  const timer = setTimeout(() => keeper.kill('SIGKILL'), KEEPER_END_TIMEOUT_MS)
  await promise
  clearTimeout(timer)
}

async function preparePrograms(plan: Plan, folder: string): Promise<Program[]> {
  await mkdir(join(folder, 'logs'), { recursive: true, mode: 0o700 })
  const programs = plan.hosts.map(async planned => {
    const { name: host, controlPort, volume } = planned
    const places = { root: ROOT, data: join(folder, 'data', volume), files: join(folder, 'secrets', host) }
    const { args, env, files } = roleProcess(plan, planned, places, 'socket')
    await mkdir(places.data, { recursive: true, mode: 0o700 })
    await mkdir(places.files, { recursive: true, mode: 0o700 })
    await Promise.all(files.map(({ name, content }) => writeFile(join(places.files, name), content, { mode: 0o600 })))
    const logFile = join(folder, 'logs', `${host}.log`)
    return { rank: START_ORDER.indexOf(planned.role), program: { host, args, env, controlPort, logFile } }
  })
  return (await Promise.all(programs)).sort((a, b) => a.rank - b.rank).map(({ program }) => program)
}

function startKeeper(folder: string, socket: string): ChildProcess {
  mkdirSync(folder, { recursive: true })
  const log = openSync(join(folder, 'logs', 'keeper.log'), 'a', 0o600)
  try {
    const program = join(import.meta.dirname, 'netns-keeper.ts')
    // Detached: a session of its own, so that Ctrl-C on the terminal reaches the harness alone.
    return spawn(process.execPath, ['--disable-warning=ExperimentalWarning', program, folder, socket], {
      cwd: ROOT,
      detached: true,
      env: toolEnvironment(),
      stdio: ['ignore', log, log, 'ipc']
    })
  } finally {
    closeSync(log)
  }
}

/** Resolves when every host has said that it is ready. */
async function bringUp(keeper: ChildProcess, launch: Launch, { progress, signal }: UpOptions): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const interrupted = (): void => reject(new InterruptedError())
  if (signal.aborted) interrupted()
  signal.addEventListener('abort', interrupted, { once: true })
  const ends = new Map<number, (detail?: string) => void>()
  keeper.on('message', (message: KeeperMessage) => {
    if (message.type === 'up') resolve()
    else if (message.type === 'failed')
      reject(Object.assign(new KeeperError(message.error.message), { code: message.error.code }))
    else relayProgress(message, ends, progress)
  })
  keeper.once('error', error => reject(new KeeperError(`the keeper cannot be started: ${error.message}`)))
  keeper.once('exit', () => {
    const log = join(launch.folder, 'logs', 'keeper.log')
    readFile(log, 'utf8').then(
      text => reject(new KeeperError(`the keeper ended; ${log}:\n${text.trimEnd()}`)),
      () => reject(new KeeperError('the keeper ended'))
    )
  })
  keeper.send({ type: 'launch', launch } satisfies HarnessMessage, error => {
    if (error !== null) reject(new KeeperError(`the keeper does not listen: ${error.message}`))
  })
  try {
    await promise
  } finally {
    signal.removeEventListener('abort', interrupted)
    keeper.removeAllListeners('exit').removeAllListeners('message')
  }
}

function relayProgress(
  message: KeeperMessage & { type: 'stage' | 'stage-end' | 'note' },
  ends: Map<number, (detail?: string) => void>,
  progress: Progress
): void {
  if (message.type === 'note') progress.note(message.text)
  else if (message.type === 'stage') ends.set(message.id, progress.stage(message.title))
  else ends.get(message.id)?.(message.detail)
}
