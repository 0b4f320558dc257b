/** The `docker` runtime: a plan as a Compose project, brought up through testcontainers. */
import { writeFile } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { ensureImages, projectName, renderCompose, writeHostFiles } from '../../compose/index.ts'
import { CONTROL_PORT_BASE, type Plan, PORTS_PER_SLOT, prefixesOf } from '../../netem/index.ts'
import { startCaptures } from './docker-captures.ts'
import { composeEnvironment, dockerClient, logsOf } from './docker-client.ts'
import { COMPOSE_FILE, KEYS_FOLDER, keepLogs, removeDocker } from './docker-down.ts'
import { EngineError } from './docker-errors.ts'
import { probeDocker } from './docker-probe.ts'
import { containerFinder, type Project } from './docker-project.ts'
import { dockerTestnet, legReady, legServices, listen } from './docker-testnet.ts'
import { HostDiedError, InterruptedError } from './errors.ts'
import { listeningPorts } from './processes.ts'
import type { Capability, Runtime, UpOptions } from './runtime.ts'

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
  'port-mapping',
  'nat64',
  'impair'
]
/** A small testnet's share of the time to listen, and each host's. */
const BASE_TIMEOUT_MS = 90_000
const HOST_TIMEOUT_MS = 3000
const LEG_WITHIN_MS = 60_000
const LOOK_EVERY_MS = 250

const projectOf = (plan: Plan, folder: string, runName: string): Project => ({
  run: runName,
  folder,
  name: projectName(plan, runName)
})

export const dockerRuntime: Runtime = {
  name: 'docker',

  async probe() {
    const { versions, missing } = await probeDocker()
    return { can: missing.length === 0 ? CAPABILITIES : [], versions, missing }
  },

  // The leg image has every tool.
  lacks: async () => [],

  async slotFree(slot) {
    const listening = await listeningPorts()
    const first = CONTROL_PORT_BASE + PORTS_PER_SLOT * slot
    if (Array.from({ length: PORTS_PER_SLOT }, (_, n) => first + n).some(port => listening.has(port))) return false
    const own = prefixesOf(slot)
    const interfaces = Object.values(networkInterfaces()).flatMap(list => list ?? [])
    if (interfaces.some(({ address }) => own.some(prefix => address.startsWith(prefix)))) return false
    const client = await dockerClient()
    const networks = await client.container.dockerode.listNetworks()
    const isTaken = networks.some(({ Options, IPAM }) => {
      const bridge = Options?.['com.docker.network.bridge.name'] ?? ''
      const subnets = IPAM?.Config?.map(({ Subnet }) => Subnet ?? '') ?? []
      return bridge.startsWith(`wn${slot}-`) || subnets.some(subnet => own.some(prefix => subnet.startsWith(prefix)))
    })
    return !isTaken
  },

  async up(plan, options) {
    const { folder, run: runName, progress, signal } = options
    const project = projectOf(plan, folder, runName)
    // Before anything is created, so that a machine without an engine hears of that first.
    await dockerClient()
    await ensureImages(progress)
    if (signal.aborted) throw new InterruptedError()
    try {
      await bringUp(plan, project, options)
      return dockerTestnet(plan, project)
    } catch (error) {
      await dockerClient()
        .then(client => keepLogs(client, project))
        .catch(() => undefined)
      const left = await removeDocker(project)
      if (left.length > 0) progress.note(`still there: ${left.join('; ')}`)
      throw signal.aborted ? new InterruptedError() : error
    }
  },

  async attach(plan, { folder, run: runName }) {
    await dockerClient()
    return dockerTestnet(plan, projectOf(plan, folder, runName))
  }
}

async function bringUp(plan: Plan, project: Project, { progress, signal, capture }: UpOptions): Promise<void> {
  await writeHostFiles(plan, join(project.folder, KEYS_FOLDER))
  const document = renderCompose(plan, { run: project.run, keys: `./${KEYS_FOLDER}` })
  await writeFile(join(project.folder, COMPOSE_FILE), document, { mode: 0o600 })
  const containers = plan.hosts.length + legServices(plan).length
  const created = progress.stage(`Create ${plan.networks.length} networks and ${containers} containers`)
  const environment = await composeEnvironment(project.folder, COMPOSE_FILE, project.name)
  // Compose is let finish even when interrupted: what it is just creating could not be removed.
  await environment.up().catch(error => {
    throw new EngineError(error)
  })
  signal.throwIfAborted()
  created()
  if (capture) {
    const recording = progress.stage('Start to record every interface')
    await startCaptures(plan, project)
    recording()
  }
  const find = containerFinder(project.run)
  const listening = progress.stage('Wait until routers route and every host listens')
  const failed = new AbortController()
  const either = AbortSignal.any([signal, failed.signal])
  const withinMs = BASE_TIMEOUT_MS + plan.hosts.length * HOST_TIMEOUT_MS
  try {
    await Promise.all([
      ...legServices(plan).map(service => legStands(find, service, either)),
      listen(plan.hosts, find, { signal: either, withinMs })
    ])
  } catch (error) {
    failed.abort()
    throw error
  }
  listening()
}

async function legStands(
  find: ReturnType<typeof containerFinder>,
  service: string,
  signal: AbortSignal
): Promise<void> {
  const deadline = performance.now() + LEG_WITHIN_MS
  for (;;) {
    signal.throwIfAborted()
    const { container } = await find(service)
    const { State } = await container.inspect()
    if (State.Running && (await legReady(find, service).catch(() => false))) return
    const isDead = State.Status === 'exited' || State.Status === 'dead'
    if (isDead || performance.now() > deadline) {
      const how = isDead ? `exit code ${State.ExitCode}` : `not ready after ${LEG_WITHIN_MS / 1000} s`
      throw new HostDiedError(service, how, `logs/${service}.log`, (await logsOf(container)).trimEnd())
    }
    await delay(LOOK_EVERY_MS, undefined, { signal })
  }
}
