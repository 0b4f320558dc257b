/** A plan that stands in network namespaces, links included: what the netns runtime holds while a testnet runs. */
import { type DaemonDiedError, type Daemons, startDaemons } from './daemons.ts'
import { type Run, run as runCommand } from './exec.ts'
import { type LabChanges, labChanges } from './lab-changes.ts'
import { layOut, leftovers, tearDown } from './namespaces.ts'
import type { Plan } from './plan.types.ts'
import type { ShapingMeans } from './shape.ts'
import { type Shaper, type ShaperDiedError, startShaper } from './shaper.ts'
import type { LinkStats } from './shaper-queue.ts'

export interface LabOptions {
  /** What shapes links; see `capabilities`. Not used when the plan impairs nothing. */
  means: ShapingMeans
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
  const close = async () => {
    await daemons?.stop()
    await shaper?.stop()
    await tearDown(plan, { run })
    return leftovers(plan, { run })
  }
  try {
    const laidOut = await layOut(plan, { means, run, ...(signal === undefined ? {} : { signal }) })
    if (laidOut.queues.length > 0) shaper = await startShaper(laidOut.queues, { onDeath: onShaperDeath })
    daemons = await startDaemons(laidOut.daemons, { onDeath: onDaemonDeath })
    signal?.throwIfAborted()
  } catch (error) {
    await close()
    throw error
  }
  return {
    plan,
    ...labChanges(plan, run),
    linkStats: () => shaper?.stats() ?? {},
    tearDown: close
  }
}
