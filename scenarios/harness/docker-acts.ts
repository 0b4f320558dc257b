/** What was done to hosts of a docker testnet and still holds: a later command, in another process, must know. */
import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

const ACTS_FILE = 'acts.json'

export interface Acts {
  /** Hosts killed and not started again. */
  killed: string[]
  /** Hosts whose packets are dropped. */
  cut: string[]
}

export async function readActs(folder: string): Promise<Acts> {
  try {
    return JSON.parse(await readFile(join(folder, ACTS_FILE), 'utf8')) as Acts
  } catch {
    return { killed: [], cut: [] }
  }
}

/** Changes of one process come one after another; two processes acting at once on one host is nobody's business. */
const queues = new Map<string, Promise<void>>()

export async function note(folder: string, what: keyof Acts, host: string, holds: boolean): Promise<void> {
  const change = async (): Promise<void> => {
    const acts = await readActs(folder)
    const others = acts[what].filter(name => name !== host)
    const file = join(folder, ACTS_FILE)
    await writeFile(`${file}.new`, JSON.stringify({ ...acts, [what]: holds ? [...others, host] : others }), {
      mode: 0o600
    })
    await rename(`${file}.new`, file)
  }
  const next = (queues.get(folder) ?? Promise.resolve()).then(change, change)
  queues.set(folder, next)
  await next
}
