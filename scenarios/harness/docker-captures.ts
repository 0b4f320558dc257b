/**
 * Captures and tables of a docker testnet. Whoever hears every packet is a container of its own beside the one that owns
 * the network: the others never get NET_RAW. Its labels are the run's, so that it goes with the run.
 */
import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { LABEL_PREFIX, LEG_IMAGE } from '../../compose/index.ts'
import {
  CAPTURE_READY,
  type CaptureMode,
  type CaptureOwner,
  captureArgv,
  captureOwners,
  type Plan,
  tableDumps
} from '../../netem/index.ts'
import { networkOwner } from './docker-changes.ts'
import { type Client, dockerClient, execIn, logsOf, runBeside, startBeside } from './docker-client.ts'
import { containerFinder, type Project, runLabels } from './docker-project.ts'
import { CaptureFailedError } from './errors.ts'
import { CAPTURES_FOLDER } from './paths.ts'

/** An engine starts that many containers well at one time. */
const AT_ONCE = 8
const START_WITHIN_MS = 30_000
const LOOK_EVERY_MS = 100
const CAPTURE_LABEL = `${LABEL_PREFIX}capture`
/** Hear every packet; and tcpdump sets its groups, even to those it has, before it writes. */
const RECORDER_CAPABILITIES = ['NET_RAW', 'SETGID']
/** Where a recorder has the folder. */
const INSIDE = '/captures'
/** The recorder is another user without any right over this one's files; the run's folder above lets nobody else in. */
const FOLDER_MODE = 0o777

async function makeFolder({ folder }: Project): Promise<string> {
  const captures = join(folder, CAPTURES_FOLDER)
  await mkdir(captures, { recursive: true })
  await chmod(captures, FOLDER_MODE)
  return captures
}

/** Service whose container owns this one's network. */
function serviceOf(plan: Plan, owner: string): string {
  const host = plan.hosts.find(({ name }) => name === owner)
  return host === undefined ? owner : networkOwner(host)
}

function recorder(owner: CaptureOwner, captures: string, { run }: Project, mode: CaptureMode) {
  return {
    argv: captureArgv(owner, INSIDE, mode),
    options: {
      capabilities: RECORDER_CAPABILITIES,
      user: '0:0',
      labels: { ...runLabels(run), [CAPTURE_LABEL]: owner.owner },
      binds: [`${captures}:${INSIDE}`]
    }
  }
}

/**
 * Record every interface until the testnet is removed. Resolves when no packet is missed any more.
 * @throws CaptureFailedError, EngineError
 */
export async function startCaptures(plan: Plan, project: Project): Promise<void> {
  const captures = await makeFolder(project)
  await each(captureOwners(plan), async owner => await startCapture(plan, project, owner, captures))
}

async function startCapture(plan: Plan, project: Project, owner: CaptureOwner, captures: string): Promise<void> {
  const { client, container } = await containerFinder(project.run)(serviceOf(plan, owner.owner))
  const { argv, options } = recorder(owner, captures, project, 'ring')
  const recording = await startBeside(client, container.id, LEG_IMAGE, argv, options)
  const endMs = performance.now() + START_WITHIN_MS
  for (;;) {
    const said = await logsOf(recording)
    if (said.split(CAPTURE_READY).length > owner.interfaces.length) return
    const { State } = await recording.inspect()
    if (!State.Running || performance.now() > endMs) throw new CaptureFailedError(owner.owner, said.trim())
    await delay(LOOK_EVERY_MS)
  }
}

/** After an owner got a new network: record that, if the old one was. */
export async function recordAgain(plan: Plan, project: Project, name: string): Promise<void> {
  const client = await dockerClient()
  const { dockerode } = client.container
  const label = [...Object.entries(runLabels(project.run)), [CAPTURE_LABEL, name]].map(pair => pair.join('='))
  const before = await dockerode.listContainers({ all: true, filters: { label } })
  if (before.length === 0) return
  await Promise.all(before.map(async ({ Id }) => await dockerode.getContainer(Id).remove({ force: true })))
  const owner = captureOwners(plan).find(each => each.owner === name)!
  await startCapture(plan, project, owner, await makeFolder(project))
}

/** See `Testnet.evidence`. */
export async function takeEvidence(plan: Plan, project: Project, lookMs: number): Promise<string[]> {
  const missing: string[] = []
  const attempt = async (what: string, act: () => Promise<void>): Promise<void> => {
    await act().catch((error: Error) => {
      missing.push(`${what}: ${error.message.trim()}`)
    })
  }
  await attempt('everything', async () => {
    const client = await dockerClient()
    const captures = await makeFolder(project)
    const find = containerFinder(project.run)
    await each(plan.routers, async ({ name }) => {
      for (const { file, argv } of tableDumps(name)) {
        await attempt(file, async () => {
          const { code, stdout, stderr } = await execIn((await find(name)).container, argv)
          if (code !== 0) throw new Error(stderr)
          await writeFile(join(captures, file), stdout, { mode: 0o600 })
        })
      }
    })
    await each(lookMs === 0 ? [] : captureOwners(plan), async owner => {
      await attempt(`packets of ${owner.owner}`, async () => await look(client, plan, project, owner, captures, lookMs))
    })
  })
  return missing
}

async function look(
  client: Client,
  plan: Plan,
  project: Project,
  owner: CaptureOwner,
  captures: string,
  lookMs: number
): Promise<void> {
  const { container } = await containerFinder(project.run)(serviceOf(plan, owner.owner))
  const { argv, options } = recorder(owner, captures, project, { lookMs })
  const { stderr } = await runBeside(client, container.id, LEG_IMAGE, argv, options)
  if (stderr.split(CAPTURE_READY).length <= owner.interfaces.length) throw new Error(stderr)
}

/** All of them, a few at a time; the first failure is told once those under way have ended. */
async function each<T>(items: T[], act: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items]
  const worker = async (): Promise<void> => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await act(item)
  }
  const ended = await Promise.allSettled(Array.from({ length: AT_ONCE }, worker))
  const failed = ended.find(result => result.status === 'rejected')
  if (failed !== undefined) throw failed.reason
}
