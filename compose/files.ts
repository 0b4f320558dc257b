/** The files hosts are given before they start, as they lie on disk for Docker to mount. */
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Plan } from '../netem/index.ts'
import { roleProcess } from './roles.ts'

/** Where the container sees things; the same in every image. */
export const IN_CONTAINER = { root: '/app', data: '/data', files: '/keys' } as const

/** `<host>/<file>` → content, for every host of the plan, in the plan's order. INSECURE: derived from the seed. */
export function hostFiles(plan: Plan): Map<string, string> {
  return new Map(
    plan.hosts.flatMap(host =>
      roleProcess(plan, host, IN_CONTAINER).files.map(file => [`${host.name}/${file.name}`, file.content] as const)
    )
  )
}

/**
 * Writes them under a folder, which holds nothing else afterwards. Readable by everyone: the container's user is
 * not the one who runs this, and the keys are no secret (they follow from the seed; the committed ones are public).
 */
export async function writeHostFiles(plan: Plan, folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true })
  const files = hostFiles(plan)
  // Also of hosts without files: Docker mounts a folder that is there.
  const folders = plan.hosts.map(({ name }) => join(folder, name))
  await Promise.all(folders.map(each => mkdir(each, { recursive: true, mode: 0o755 })))
  await Promise.all([...files].map(([path, content]) => writeFile(join(folder, path), content, { mode: 0o644 })))
}
