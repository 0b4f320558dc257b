/** A docker testnet seen from the harness: every act is a call to the engine. */
import { setTimeout as delay } from 'node:timers/promises'
import { LEG_IMAGE, legName, roles } from '../../compose/index.ts'
import { cutRuleset, healRuleset, type Plan, type PlannedHost } from '../../netem/index.ts'
import { note, readActs } from './docker-acts.ts'
import { recordAgain, takeEvidence } from './docker-captures.ts'
import { type DockerChanges, dockerChanges, networkOwner } from './docker-changes.ts'
import { dockerClient, execIn, logsOf, runBeside } from './docker-client.ts'
import { removeDocker } from './docker-down.ts'
import { EngineError } from './docker-errors.ts'
import { containerFinder, containersOf, type Project, runLabels } from './docker-project.ts'
import { HostDiedError, UnknownHostError, UnknownRouterError } from './errors.ts'
import type { Host, HostState, HostStatus, Testnet, TestnetStatus, Undo } from './runtime.ts'
import { once } from './undo.ts'

/** Tools of the network are in the leg image only; from there they look into the same network. */
const NETWORK_TOOLS = new Set(['ip', 'ss', 'tc', 'nft', 'iptables'])
const PRODUCT_USER = '1000:1000'
/** SIGTERM to SIGKILL at a restart: roles drain within 10 s. */
const STOP_SECONDS = 12
const LISTEN_WITHIN_MS = 60_000
const LOOK_EVERY_MS = 100
const LOOKS_AT_ONCE = 4
const LOOKS_PER_INSPECTION = 10
const ANSWER_TIMEOUT_MS = 2000
const LOG_TAIL = 12

type Finder = ReturnType<typeof containerFinder>

const ignoring =
  (...codes: number[]) =>
  (error: { statusCode?: number }) => {
    if (!codes.includes(error.statusCode ?? 0)) throw new EngineError(error)
  }

export function dockerTestnet(plan: Plan, project: Project): Testnet {
  const find = containerFinder(project.run)
  const changes = dockerChanges(plan, project, find)
  const hosts = new Map(plan.hosts.map(planned => [planned.name, dockerHost(plan, planned, project, find, changes)]))
  const routers = new Map(plan.routers.map(planned => [planned.name, changes.router(planned)]))
  return {
    plan,
    runtime: 'docker',
    folder: project.folder,
    host(name) {
      const host = hosts.get(name)
      if (host === undefined) throw new UnknownHostError(name, [...hosts.keys()])
      return host
    },
    hosts: () => [...hosts.values()],
    router(name) {
      const router = routers.get(name)
      if (router === undefined) throw new UnknownRouterError(name, [...routers.keys()])
      return router
    },
    routers: () => [...routers.values()],
    dropBetween: changes.dropBetween,
    impair: changes.impair,
    status: async () => await statusOf(plan, project, find),
    evidence: async ({ lookMs }) => await takeEvidence(plan, project, lookMs),
    down: async (how = {}) => await removeDocker(project, how.progress)
  }
}

function dockerHost(plan: Plan, planned: PlannedHost, project: Project, find: Finder, changes: DockerChanges): Host {
  const { folder, run } = project
  const { name } = planned
  const control = `http://127.0.0.1:${planned.controlPort}`

  const inNetwork = async (argv: string[], admin: boolean, signal?: AbortSignal) => {
    const { client, container } = await find(networkOwner(planned))
    if (planned.leg) return await execIn(container, argv, signal)
    const user = admin ? {} : { user: PRODUCT_USER }
    return await runBeside(client, container.id, LEG_IMAGE, argv, {
      capabilities: admin ? ['NET_ADMIN'] : [],
      labels: runLabels(run),
      ...user
    })
  }
  const loadRules = async (ruleset: string): Promise<void> => {
    const { code, stderr } = await inNetwork(['nft', ruleset], true)
    if (code !== 0) throw new EngineError(`nft in ${name}: ${stderr}`)
  }
  const cutOff = async (): Promise<void> => await loadRules(cutRuleset(await changes.controlOf(planned)))
  /** A network that came back with its container knows nothing of what was done to it. */
  const started = async (): Promise<void> => {
    const { cut, unplugged } = await readActs(folder)
    if (!planned.leg && cut.includes(name)) await cutOff()
    if (!planned.leg) await changes.again(planned)
    if (!planned.leg) await recordAgain(plan, project, name)
    // Nobody can ask it before it is plugged in again.
    if (!unplugged.includes(name)) await listen([planned], find)
  }
  const start = async (): Promise<void> => {
    const { container } = await find(name)
    await container.start().catch(ignoring(304))
    await note(folder, 'killed', name, false)
    await started()
  }

  return {
    planned,
    control,
    async exec(argv, options) {
      if (NETWORK_TOOLS.has(argv[0] ?? '')) return await inNetwork(argv, false, options?.signal)
      return await execIn((await find(name)).container, argv, options?.signal)
    },
    logs: async () => await logsOf((await find(name)).container),
    async kill(): Promise<Undo> {
      const { container } = await find(name)
      await note(folder, 'killed', name, true)
      await container.kill({ signal: 'SIGKILL' }).catch(ignoring(409))
      await container.wait()
      return once(start)
    },
    async pause(): Promise<Undo> {
      const { container } = await find(name)
      await container.pause().catch(ignoring(409))
      return once(async () => await container.unpause().catch(ignoring(409, 500)))
    },
    async restart() {
      const { container } = await find(name)
      await container.restart({ t: STOP_SECONDS }).catch(ignoring())
      await note(folder, 'killed', name, false)
      await started()
    },
    async cut(): Promise<Undo> {
      await note(folder, 'cut', name, true)
      await cutOff()
      return once(async () => {
        await note(folder, 'cut', name, false)
        // A network that is gone took its rules along.
        const { container } = await find(networkOwner(planned))
        if ((await container.inspect()).State.Running) await loadRules(healRuleset())
      })
    },
    unplug: async () => await changes.unplug(planned),
    async move(network) {
      const move = await changes.move(planned, network)
      const isCut = async (): Promise<boolean> => (await readActs(folder)).cut.includes(name)
      // Control comes from another address now.
      if (await isCut()) await cutOff()
      return once(async () => {
        await move()
        if (await isCut()) await cutOff()
      })
    }
  }
}

/**
 * Resolves when the HTTP servers of all these hosts answer; the proxy of a published port accepts connections before.
 * Few looks at one time: the hosts need the cores more than we do.
 * @throws HostDiedError when a container ended, EngineError when it takes too long
 */
export async function listen(
  hosts: PlannedHost[],
  find: Finder,
  options: { signal?: AbortSignal; withinMs?: number } = {}
): Promise<void> {
  const { signal, withinMs = LISTEN_WITHIN_MS } = options
  const deadline = performance.now() + withinMs
  const queue = hosts.map(planned => ({ planned, looks: 0 }))
  const look = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      signal?.throwIfAborted()
      const { planned } = next
      if (await answers(planned)) continue
      next.looks += 1
      // The engine is asked now and then whether it ever will.
      if (next.looks % LOOKS_PER_INSPECTION === 0) await refuseDead(planned, find)
      if (performance.now() > deadline) {
        throw new EngineError(`the HTTP server of ${planned.name} does not answer after ${withinMs / 1000} s`)
      }
      queue.push(next)
      await delay(LOOK_EVERY_MS, undefined, signal === undefined ? {} : { signal })
    }
  }
  await Promise.all(Array.from({ length: LOOKS_AT_ONCE }, look))
}

async function answers({ controlPort, role }: PlannedHost): Promise<boolean> {
  try {
    const url = `http://127.0.0.1:${controlPort}${roles[role].healthPath}`
    const response = await fetch(url, { signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) })
    await response.body?.cancel()
    return true
  } catch {
    return false
  }
}

async function refuseDead(planned: PlannedHost, find: Finder): Promise<void> {
  const { container } = await find(planned.name)
  const { State } = await container.inspect()
  if (State.Running || State.Status === 'created') return
  const log = await logsOf(container, LOG_TAIL).catch(() => '')
  throw new HostDiedError(planned.name, howEnded(State), `logs/${planned.name}.log`, log.trimEnd())
}

function howEnded(state: { ExitCode: number; OOMKilled: boolean; FinishedAt: string }): string {
  return `exit code ${state.ExitCode}${state.OOMKilled ? ', out of memory' : ''} at ${state.FinishedAt}`
}

const STATES: Record<string, HostState> = {
  created: 'starting',
  restarting: 'starting',
  running: 'running',
  paused: 'paused'
}

async function statusOf(plan: Plan, { run, folder }: Project, find: Finder): Promise<TestnetStatus> {
  const client = await dockerClient()
  const [containers, acts] = await Promise.all([containersOf(client, run), readActs(folder)])
  const hosts = await Promise.all(
    plan.hosts.map(async ({ name, attachment }): Promise<[string, HostStatus]> => {
      const container = containers.get(name)
      const state = STATES[container?.State ?? ''] ?? 'dead'
      const now = {
        state,
        cut: acts.cut.includes(name),
        unplugged: acts.unplugged.includes(name),
        network: acts.moved[name] ?? attachment.network
      }
      if (state !== 'dead' || acts.killed.includes(name)) return [name, { ...now, deaths: [] }]
      if (container === undefined) return [name, { ...now, deaths: ['its container is gone'] }]
      const { State } = await client.container.getById(container.Id).inspect()
      return [name, { ...now, deaths: [howEnded(State)] }]
    })
  )
  return { hosts: Object.fromEntries(hosts), invalid: await brokenLegs(plan, containers, find) }
}

/** Services that own networks: routers, and legs of hosts. */
export const legServices = (plan: Plan): string[] => [
  ...plan.routers.map(({ name }) => name),
  ...plan.hosts.filter(({ leg }) => leg).map(legName)
]

/** Whether a leg has made its network what the plan says. */
export async function legReady(find: Finder, service: string): Promise<boolean> {
  const { container } = await find(service)
  const { code } = await execIn(container, ['test', '-f', '/run/leg/ready'])
  return code === 0
}

async function brokenLegs(plan: Plan, containers: Map<string, { State: string }>, find: Finder): Promise<string[]> {
  const found = await Promise.all(
    legServices(plan).map(async service => {
      const state = containers.get(service)?.State ?? 'gone'
      if (state !== 'running') return `${service} is ${state}`
      return (await legReady(find, service))
        ? null
        : `${service} is no longer what the plan says: its shaper or a daemon is gone (its log says which)`
    })
  )
  return found.filter(why => why !== null)
}
