/**
 * `make compose`: the topologies as Compose files for slot 0, with the keys they mount, to be committed. A test holds
 * that they are fresh.
 */
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { plan, TOPOLOGY_NAMES, topologyNamed } from '../netem/index.ts'
import { hostFiles, writeHostFiles } from './files.ts'
import { renderCompose } from './render.ts'

/** Seed of the committed files: the same as `make testnet-up` has when none is given. */
const SEED = 'warren'
/** Routers whose NAT kind may be chosen when the file is used by hand. */
const NAT_VARIABLES: Record<string, Record<string, string>> = {
  'nat-pair': { 'home-a-nat': 'NAT_A', 'home-b-nat': 'NAT_B' }
}

/** Path relative to `compose/` → content of everything that is generated. */
export function generated(): Map<string, string> {
  const files = new Map<string, string>()
  for (const name of TOPOLOGY_NAMES) {
    const planned = plan(topologyNamed(name), SEED)
    const origin = `from netem/topologies/${name}.ts, seed '${SEED}' — run \`make compose\`, do not edit`
    const natVariables = NAT_VARIABLES[name] ?? {}
    files.set(`${name}.yml`, renderCompose(planned, { origin, natVariables }))
    for (const [path, content] of hostFiles(planned)) files.set(`keys/${name}/${path}`, content)
  }
  return files
}

/** Paths whose committed content is missing or differs, and files under `keys/` that nothing generates. */
export async function stale(folder: string = import.meta.dirname): Promise<string[]> {
  const files = generated()
  const differing = await Promise.all(
    [...files].map(async ([path, content]) => {
      const there = await readFile(join(folder, path), 'utf8').catch(() => null)
      return there === content ? null : path
    })
  )
  const entries = await readdir(join(folder, 'keys'), { recursive: true, withFileTypes: true }).catch(() => [])
  const surplus = entries
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .filter(path => !files.has(path))
  return [...differing.filter(path => path !== null), ...surplus]
}

if (import.meta.main) {
  for (const name of TOPOLOGY_NAMES) {
    await writeHostFiles(plan(topologyNamed(name), SEED), join(import.meta.dirname, 'keys', name))
  }
  for (const [path, content] of generated()) {
    if (path.endsWith('.yml')) await writeFile(join(import.meta.dirname, path), content)
  }
  console.error(`Wrote ${TOPOLOGY_NAMES.map(name => `compose/${name}.yml`).join(', ')} and their keys.`)
}
