/** Statements this node made, kept as `proofs/<cid>-<hour>.json` (hour: Unix seconds at which it began), the last of each hour. */
import { randomUUID } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { FILE_MODE, FOLDER_MODE } from '../blobs/durable.ts'
import type { Log } from '../log.ts'
import { type ProofStatement, proofStatement } from './statement.ts'

/** Most statements kept of one blob, and of all; the oldest go first. */
export const SAVED_PER_BLOB_MAX = 24
export const SAVED_MAX = 1000

const HOUR_MS = 3600_000
/** Names of files that are being written begin with it. */
const TEMPORARY = '.'
const NAME = /^([a-z0-9]{1,128})-(\d{1,12})\.json$/

export interface SavedProofs {
  /** Never fails: a disk that refuses costs the record, not the proof. */
  add: (statement: ProofStatement) => Promise<void>
  /** Of one blob, newest first. */
  of: (cid: string) => Promise<ProofStatement[]>
  counts: () => Promise<{ saved: number; blobs: number }>
}

/** @param caps only tests ask for others */
export function createSavedProofs(
  { dataDir, log }: { dataDir: string; log: Log },
  caps: { perBlob: number; all: number } = { perBlob: SAVED_PER_BLOB_MAX, all: SAVED_MAX }
): SavedProofs {
  const folder = join(dataDir, 'proofs')
  /** Names of files by age, oldest first, and the same for each blob. Read at the first use. */
  let names: Promise<Set<string>> | null = null
  const known = (): Promise<Set<string>> => {
    names ??= scan()
    return names
  }
  const ofBlob = (all: Set<string>, cid: string) => [...all].filter(name => NAME.exec(name)?.[1] === cid)

  async function scan(): Promise<Set<string>> {
    const found = await readdir(folder).catch(() => [])
    // Of a process that ended: nothing is saved here before this is over.
    for (const name of found) {
      if (name.startsWith(TEMPORARY)) await rm(join(folder, name), { force: true }).catch(() => {})
    }
    const dated = found.flatMap(name => {
      const [, , hour] = NAME.exec(name) ?? []
      return hour === undefined ? [] : [{ name, hour: Number(hour) }]
    })
    const all = new Set(dated.sort((a, b) => a.hour - b.hour).map(({ name }) => name))
    await forget(all, [...all].slice(0, Math.max(0, all.size - caps.all)))
    return all
  }

  async function forget(all: Set<string>, old: readonly string[]): Promise<void> {
    for (const name of old) {
      all.delete(name)
      await rm(join(folder, name), { force: true })
    }
  }

  async function save(statement: ProofStatement): Promise<void> {
    const all = await known()
    const { cid, timestamp } = statement
    const name = `${cid}-${(Math.floor(timestamp / HOUR_MS) * HOUR_MS) / 1000}.json`
    const temporary = join(folder, `${TEMPORARY}${randomUUID()}`)
    await mkdir(folder, { recursive: true, mode: FOLDER_MODE })
    try {
      await writeFile(temporary, `${JSON.stringify(statement)}\n`, { mode: FILE_MODE })
      await rename(temporary, join(folder, name))
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => {})
      throw error
    }
    all.delete(name)
    all.add(name)
    const mine = ofBlob(all, cid)
    await forget(all, mine.slice(0, Math.max(0, mine.length - caps.perBlob)))
    await forget(all, [...all].slice(0, Math.max(0, all.size - caps.all)))
  }

  async function read(name: string): Promise<ProofStatement | null> {
    try {
      return proofStatement.parse(JSON.parse(await readFile(join(folder, name), 'utf8')))
    } catch {
      return null
    }
  }

  return {
    add: statement => save(statement).catch(error => log.debug({ cid: statement.cid, err: error }, 'proof not saved')),
    async of(cid) {
      const statements = await Promise.all(ofBlob(await known(), cid).map(read))
      return statements.filter(statement => statement !== null).sort((a, b) => b.timestamp - a.timestamp)
    },
    async counts() {
      const all = await known()
      return { saved: all.size, blobs: new Set([...all].map(name => NAME.exec(name)?.[1])).size }
    }
  }
}
