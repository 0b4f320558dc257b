/** Where what is fetched or built on demand is kept: `.tools/<name>/<hash of what it is made of>/`, one for each name. */
import { createHash } from 'node:crypto'
import { access, mkdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { CommandFailedError } from '../../netem/index.ts'

const TOOLS = join(import.meta.dirname, '..', '..', '.tools')
const HASH_CHARACTERS = 16

/** Its folder, or why this machine cannot have it. */
export type Tool = { home: string } | { missing: string }

export interface ToolInit {
  name: string
  /** Files it is made of. */
  sources: string[]
  /** Anything else it depends on: a version, an architecture. */
  words: string[]
  /** Fills a new folder. */
  make: (folder: string) => Promise<void>
  /** Default: `.tools` of the project. */
  tools?: string
}

/**
 * Makes it where it is not there yet. A command that fails is a reason, not an error: there are machines without a
 * registry, a compiler or memory enough, and the rest of the benchmark is worth having on them.
 */
export async function ensureTool({ name, sources, words, make, tools = TOOLS }: ToolInit): Promise<Tool> {
  const hash = createHash('sha256').update(words.join('\0'))
  for (const path of sources) hash.update('\0').update(await readFile(path))
  const home = join(tools, name, hash.digest('hex').slice(0, HASH_CHARACTERS))
  const isThere = await access(home).then(
    () => true,
    () => false
  )
  if (isThere) return { home }
  // One made from other things is of no use any more.
  await rm(join(tools, name), { recursive: true, force: true })
  const unfinished = `${home}.unfinished`
  await mkdir(unfinished, { recursive: true })
  try {
    await make(unfinished)
  } catch (error) {
    await rm(unfinished, { recursive: true })
    return { missing: why(error) }
  }
  await rename(unfinished, home)
  return { home }
}

/** The last line that a command said. */
function why(error: unknown): string {
  if (!(error instanceof CommandFailedError)) throw error
  const said = error.stderr.trim().split('\n').at(-1)
  return said ? `${error.argv.slice(0, 2).join(' ')}: ${said}` : error.message
}
