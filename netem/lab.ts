/** A plan that stands in network namespaces, links included: what the netns runtime holds while a testnet runs. */
import { type DaemonDiedError, type Daemons, startDaemons } from './daemons.ts'
import { type Run, run as runCommand } from './exec.ts'
import { type LabChanges, labChanges } from './lab-changes.ts'
import { argvIn, layOut, leftovers, ROUTER_INTERFACES, tearDown } from './namespaces.ts'
import type { Plan } from './plan.types.ts'
import { type PortMapper, startPortMapper } from './port-mapper.ts'
import type { ShapingMeans, Standing } from './shape.ts'
import { type Shaper, type ShaperDiedError, startShaper } from './shaper.ts'
import type { ShaperQueue } from './shaper.types.ts'
import type { LinkStats } from './shaper-queue.ts'

/** Configuration and leases of port mapping daemons, on the lab's own tmpfs. */
const PORT_MAPPERS_FOLDER = '/run/warren-portmap'

export interface LabOptions {
  /** What shapes links; see `capabilities`. Null: nothing can, and the plan must impair nothing. */
  means: ShapingMeans | null
  /** Told once when the shaper is gone: its links drop everything, and nothing measured from then on is valid. */
  onShaperDeath: (error: ShaperDiedError) => void
  /** Told when a router's program is gone: that router is not what it claims any more. */
  onDaemonDeath: (error: DaemonDiedError) => void
  signal?: AbortSignal
  run?: Run
}

export interface Lab extends LabChanges {
  readonly plan: Plan
  /** Counters of the shaped links by name, `home-1-nat up`; empty with netem. */
  linkStats: () => Record<string, LinkStats>
  /** Process ids of the port mapping daemons by router. */
  portMappers: () => Record<string, number>
  /** Remove everything; answers what is still there, in plain words. Idempotent. */
  tearDown: () => Promise<string[]>
}

/**
 * Lay a plan out and start the shaper it needs. On failure everything is removed before it rejects.
 * @throws CommandFailedError, ShaperDiedError
 */
export async function openLab(plan: Plan, options: LabOptions): Promise<Lab> {
  const { means, onShaperDeath, onDaemonDeath, signal, run = runCommand } = options
  let shaper: Shaper | null = null
  let daemons: Daemons | null = null
  let standings = new Map<string, Standing>()
  const serve = async (queues: ShaperQueue[]): Promise<void> => {
    if (shaper === null) shaper = await startShaper(queues, { onDeath: onShaperDeath })
    else await shaper.serve(queues)
  }
  const mappers = new Map<string, PortMapper>()
  const close = async () => {
    await Promise.all([...mappers.values()].map(mapper => mapper.stop()))
    await daemons?.stop()
    await shaper?.stop()
    await tearDown(plan, { run })
    return leftovers(plan, { run })
  }
  try {
    // Without impairments nothing is shaped, so either means does.
    const laidOut = await layOut(plan, { means: means ?? 'netem', run, ...(signal === undefined ? {} : { signal }) })
    standings = laidOut.standings
    if (laidOut.queues.length > 0) await serve(laidOut.queues)
    daemons = await startDaemons(laidOut.daemons, { onDeath: onDaemonDeath })
    for (const [name, mapper] of await startPortMappers(plan, options)) mappers.set(name, mapper)
    signal?.throwIfAborted()
  } catch (error) {
    await close()
    throw error
  }
  return {
    plan,
    ...labChanges(plan, run, { means, standings, serve }),
    linkStats: () => shaper?.stats() ?? {},
    portMappers: () => Object.fromEntries([...mappers].map(([name, { pid }]) => [name, pid])),
    tearDown: close
  }
}

/** One daemon for each router that maps ports; when one does not come up the others are ended. */
async function startPortMappers(
  plan: Plan,
  { onDaemonDeath: onDeath, run = runCommand }: LabOptions
): Promise<Array<[string, PortMapper]>> {
  const begun = await Promise.allSettled(
    plan.routers.map(async (router): Promise<Array<[string, PortMapper]>> => {
      const { name, portMapping, insideGateway, insideSubnet } = router
      if (portMapping === undefined) return []
      const place = {
        outsideInterface: ROUTER_INTERFACES.outside,
        gateway: insideGateway,
        prefixLength: router.inside.prefixLength,
        insideSubnet
      }
      const folder = `${PORT_MAPPERS_FOLDER}/${name}`
      const inside = (argv: string[]): string[] => argvIn(name, argv)
      return [[name, await startPortMapper({ router: name, portMapping, place, folder, inside, onDeath, run })]]
    })
  )
  const mappers = begun.flatMap(each => (each.status === 'fulfilled' ? each.value : []))
  const failed = begun.find(each => each.status === 'rejected')
  if (failed === undefined) return mappers
  await Promise.all(mappers.map(([, mapper]) => mapper.stop()))
  throw failed.reason
}
