/** From what a person names on the command line to topology data. */
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type Topology, type TopologyOptions, topologyNamed } from '../../netem/index.ts'
import { HarnessError } from './errors.ts'

/** A path, not a name: what a shell completes, or a TypeScript or JavaScript file. */
function isPath(name: string): boolean {
  return name.includes('/') || /\.[cm]?[jt]s$/.test(name)
}

/**
 * Load a topology by name (`testnet`) or by path (`./my.ts`): a module whose default export is the topology, or a
 * function of the options that returns one. Not yet validated: `plan` does that.
 * @throws HarnessError TOPOLOGY_UNREADABLE; UnknownTopologyError
 */
export async function loadTopology(name: string, options: TopologyOptions = {}): Promise<Topology> {
  if (!isPath(name)) return topologyNamed(name, options)
  let exported: unknown
  try {
    exported = ((await import(pathToFileURL(resolve(name)).href)) as { default?: unknown }).default
  } catch (cause) {
    throw new HarnessError('TOPOLOGY_UNREADABLE', `cannot read topology ${name}: ${(cause as Error).message}`, {
      cause
    })
  }
  const topology =
    typeof exported === 'function' ? (exported as (options: TopologyOptions) => unknown)(options) : exported
  if (typeof topology === 'object' && topology !== null) return topology as Topology
  throw new HarnessError(
    'TOPOLOGY_UNREADABLE',
    `topology ${name} has no default export: write \`export default { name, description, networks, hosts } satisfies Topology\``
  )
}
