/** The containers of one testnet, found by label, so that any process can. */
import type Dockerode from 'dockerode'
import { LABEL_PREFIX } from '../../compose/index.ts'
import { type Client, type Container, dockerClient } from './docker-client.ts'
import { EngineError } from './docker-errors.ts'

const SERVICE_LABEL = 'com.docker.compose.service'

/** Compose's project of a run. */
export interface Project {
  run: string
  folder: string
  /** Name that Compose knows it by. */
  name: string
}

export const runLabels = (run: string): Record<string, string> => ({ [`${LABEL_PREFIX}run`]: run })

const byRun = (run: string) => ({ filters: { label: [`${LABEL_PREFIX}run=${run}`] } })

/** Everything of a run that the engine has. */
export interface Resources {
  containers: Dockerode.ContainerInfo[]
  networks: Dockerode.NetworkInspectInfo[]
  volumes: Dockerode.VolumeInspectInfo[]
}

/** @throws EngineError */
export async function resourcesOf(client: Client, run: string): Promise<Resources> {
  const { dockerode } = client.container
  try {
    const [containers, networks, { Volumes }] = await Promise.all([
      dockerode.listContainers({ all: true, ...byRun(run) }),
      dockerode.listNetworks(byRun(run)),
      dockerode.listVolumes(byRun(run))
    ])
    return { containers, networks, volumes: Volumes ?? [] }
  } catch (cause) {
    throw new EngineError(cause)
  }
}

/** Service → container of a run. */
export async function containersOf(client: Client, run: string): Promise<Map<string, Dockerode.ContainerInfo>> {
  const containers = await client.container.dockerode.listContainers({ all: true, ...byRun(run) }).catch(cause => {
    throw new EngineError(cause)
  })
  return new Map(
    containers.flatMap(container => {
      const service = container.Labels[SERVICE_LABEL]
      return service === undefined ? [] : [[service, container] as const]
    })
  )
}

/**
 * The container of one service; looked up once a process, since it lives as long as the testnet.
 * @throws EngineError when there is none
 */
export function containerFinder(run: string): (service: string) => Promise<{ client: Client; container: Container }> {
  const known = new Map<string, string>()
  return async service => {
    const client = await dockerClient()
    if (!known.has(service)) {
      for (const [name, { Id }] of await containersOf(client, run)) known.set(name, Id)
    }
    const id = known.get(service)
    if (id === undefined) throw new EngineError(`there is no container of ${service} in run ${run}`)
    return { client, container: client.container.getById(id) }
  }
}
