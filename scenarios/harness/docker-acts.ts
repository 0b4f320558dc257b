/** What was done to a docker testnet and still holds: a later command, in another process, must know. */
import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { DirectedPair, PlannedLink, RouterState } from '../../netem/index.ts'

const ACTS_FILE = 'acts.json'

export interface Acts {
  /** Hosts killed and not started again. */
  killed: string[]
  /** Hosts whose packets are dropped. */
  cut: string[]
  /** Hosts without carrier. */
  unplugged: string[]
  /** Hosts that were moved → the network they are on. */
  moved: Record<string, string>
  /** Routers that were changed → what they are. */
  routers: Record<string, RouterState>
  /** Hosts and routers with another link → that link. */
  links: Record<string, PlannedLink>
  /** Act → the pairs of hosts whose packets it loses. */
  drops: Record<string, readonly DirectedPair[]>
}

export async function readActs(folder: string): Promise<Acts> {
  const none: Acts = { killed: [], cut: [], unplugged: [], moved: {}, routers: {}, links: {}, drops: {} }
  try {
    return { ...none, ...(JSON.parse(await readFile(join(folder, ACTS_FILE), 'utf8')) as Partial<Acts>) }
  } catch {
    return none
  }
}

/** Changes of one process come one after another; two processes acting at once on one host is nobody's business. */
const queues = new Map<string, Promise<void>>()

export async function changeActs(folder: string, change: (acts: Acts) => Partial<Acts>): Promise<void> {
  const write = async (): Promise<void> => {
    const acts = await readActs(folder)
    const file = join(folder, ACTS_FILE)
    await writeFile(`${file}.new`, JSON.stringify({ ...acts, ...change(acts) }), { mode: 0o600 })
    await rename(`${file}.new`, file)
  }
  const next = (queues.get(folder) ?? Promise.resolve()).then(write, write)
  queues.set(folder, next)
  await next
}

export async function note(
  folder: string,
  what: 'killed' | 'cut' | 'unplugged',
  host: string,
  holds: boolean
): Promise<void> {
  await changeActs(folder, acts => {
    const others = acts[what].filter(name => name !== host)
    return { [what]: holds ? [...others, host] : others }
  })
}
