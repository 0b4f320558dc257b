/** What the supervisor holds of the network: the plan laid out by netem, and why it can no longer be believed. */
import { mkdir } from 'node:fs/promises'
import { namespaceFile, openLab, type Plan, type ShapingMeans } from '../../netem/index.ts'
import { restrictFiles } from './netns-mounts.ts'

export interface Lab {
  namespaceOf: (host: string) => string
  cut: (host: string) => Promise<void>
  heal: (host: string) => Promise<void>
  /** Reasons; empty while all is well. */
  readonly broken: string[]
}

/**
 * Lay the plan out in this process's namespaces, which must be its own: files but
 * those under `writable` get read-only.
 * @param means null where nothing is impaired
 */
export async function layOutLab(
  plan: Plan,
  means: ShapingMeans | null,
  writable: string[],
  onBroken: (why: string) => void
): Promise<Lab> {
  await restrictFiles(writable)
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
