/** What the supervisor holds of the network: the plan laid out by netem, and why it can no longer be believed. */

import { mkdir } from 'node:fs/promises'
import { isShaped, type LabChanges, namespaceFile, openLab, type Plan, type ShapingMeans } from '../../netem/index.ts'
import { ShapingMissingError } from './errors.ts'
import { restrictFiles } from './netns-mounts.ts'

export interface Lab {
  namespaceOf: (host: string) => string
  changes: LabChanges
  /** Reasons; empty while all is well. */
  readonly broken: string[]
}

/**
 * Lay the plan out in this process's namespaces, which must be its own: files but
 * those under `writable` get read-only.
 * @param means null where this machine can shape nothing
 * @throws ShapingMissingError when the plan asks for impairments all the same
 */
export async function layOutLab(
  plan: Plan,
  means: ShapingMeans | null,
  writable: string[],
  onBroken: (why: string) => void
): Promise<Lab> {
  const isImpaired = [...plan.routers, ...plan.hosts].some(({ link }) => isShaped(link))
  if (means === null && isImpaired) throw new ShapingMissingError()
  await restrictFiles(writable)
  await mkdir('/run/netns')
  const broken: string[] = []
  const isBroken = ({ message }: Error): void => {
    broken.push(message)
    onBroken(message)
  }
  const lab = await openLab(plan, {
    means,
    onShaperDeath: isBroken,
    onDaemonDeath: isBroken
  })
  return { namespaceOf: namespaceFile, changes: lab, broken }
}
