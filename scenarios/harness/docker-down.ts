/**
 * Remove a docker testnet in whatever state it is, and look whether anything of it is left. By label, not by Compose
 * file: half of a testnet, or one whose folder was tampered with, goes the same way.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Client, dockerClient, logsOf } from './docker-client.ts'
import { type Project, type Resources, resourcesOf } from './docker-project.ts'
import type { Progress } from './runtime.ts'

export const COMPOSE_FILE = 'compose.yml'
export const KEYS_FOLDER = 'keys'
const LOG_LINES_KEPT = 5000
/** A killed container is gone at once; one that is not by then is removed by force. */
const END_TIMEOUT_MS = 10_000

/** Write what the containers said to `logs/`, where the netns runtime has it too. */
export async function keepLogs(client: Client, { run, folder }: Project): Promise<void> {
  const { containers } = await resourcesOf(client, run)
  await mkdir(join(folder, 'logs'), { recursive: true, mode: 0o700 })
  await Promise.all(
    containers.map(async ({ Id, Labels }) => {
      const service = Labels['com.docker.compose.service']
      if (service === undefined) return
      const text = await logsOf(client.container.getById(Id), LOG_LINES_KEPT).catch(() => '')
      await writeFile(join(folder, 'logs', `${service}.log`), text, { mode: 0o600 })
    })
  )
}

/** @returns what is still there in plain words, empty when nothing is */
export async function removeDocker(project: Project, progress?: Progress): Promise<string[]> {
  let client: Client
  try {
    client = await dockerClient()
    await removeResources(client, project, progress)
  } catch (error) {
    return [`everything of ${project.name}, because ${(error as Error).message}`]
  }
  const removed = progress?.stage('Remove keys')
  await rm(join(project.folder, KEYS_FOLDER), { recursive: true, force: true })
  removed?.()
  const checked = progress?.stage('Look for anything left')
  const left = describe(await resourcesOf(client, project.run))
  checked?.()
  return left
}

async function removeResources(client: Client, project: Project, progress?: Progress): Promise<void> {
  const before = await resourcesOf(client, project.run)
  if (count(before) === 0) return
  const kept = progress?.stage('Keep the logs')
  await keepLogs(client, project)
  kept?.()
  const ended = progress?.stage('Remove containers, networks and volumes')
  await removeAll(client, before)
  // Something that Compose was still making meanwhile.
  const rest = await resourcesOf(client, project.run)
  if (count(rest) > 0) await removeAll(client, rest)
  ended?.()
}

/**
 * Killed, then removed: data goes too, so nobody has anything to put in order. Two steps, because an engine that kills and removes
 * many containers at once has been seen to keep an endpoint of a container that is gone (20.10), and its network with it. What fails
 * is seen later.
 */
async function removeAll(client: Client, { containers, networks, volumes }: Resources): Promise<void> {
  const { dockerode } = client.container
  const gone = () => undefined
  const each = containers.map(({ Id }) => dockerode.getContainer(Id))
  await Promise.all(
    each.map(async container => {
      await container.kill().catch(gone)
      await container.wait({ condition: 'not-running', abortSignal: AbortSignal.timeout(END_TIMEOUT_MS) }).catch(gone)
    })
  )
  await Promise.all(each.map(container => container.remove({ force: true, v: true }).catch(gone)))
  await Promise.all([
    ...networks.map(({ Id }) => dockerode.getNetwork(Id).remove().catch(gone)),
    ...volumes.map(({ Name }) => dockerode.getVolume(Name).remove().catch(gone))
  ])
}

const count = ({ containers, networks, volumes }: Resources): number =>
  containers.length + networks.length + volumes.length

function describe({ containers, networks, volumes }: Resources): string[] {
  return [
    ...containers.map(({ Names, State }) => `container ${Names[0]?.slice(1)} (${State})`),
    ...networks.map(({ Name }) => `network ${Name}`),
    ...volumes.map(({ Name }) => `volume ${Name}`)
  ]
}
