/** What the supervisor holds of the network: the plan laid out by netem, and why it can no longer be believed. */
import { mkdir } from 'node:fs/promises'
import { namespaceFile, openLab, type Plan, run, type ShapingMeans } from '../../netem/index.ts'

export interface Lab {
  namespaceOf: (host: string) => string
  cut: (host: string) => Promise<void>
  heal: (host: string) => Promise<void>
  /** Reasons; empty while all is well. */
  readonly broken: string[]
}

/**
 * Lay the plan out in this process's namespaces, which must be its own: a tmpfs goes over /run.
 * @param means null where nothing is impaired
 */
export async function layOutLab(plan: Plan, means: ShapingMeans | null, onBroken: (why: string) => void): Promise<Lab> {
  await run(['mount', '-t', 'tmpfs', '-o', 'mode=0755,size=16m', 'tmpfs', '/run'])
  await mkdir('/run/netns')
  const broken: string[] = []
  const lab = await openLab(plan, {
    means: means ?? 'netem',
    onShaperDeath(error) {
      broken.push(error.message)
      onBroken(error.message)
    }
  })
  return { namespaceOf: namespaceFile, cut: lab.cut, heal: lab.heal, broken }
}
