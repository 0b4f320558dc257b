/**
 * Every run leaves a record before it creates anything, so that the next command finds and removes what a dead
 * harness left behind, and nothing else.
 */
import { mkdir, readdir, readFile, readlink, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { Plan } from '../../netem/index.ts'
import { NotYoursError } from './errors.ts'
import { CURRENT_LINK, TESTNET_FOLDER } from './paths.ts'
import { alive, identify, type ProcessIdentity } from './processes.ts'
import type { RuntimeName } from './runtime.ts'

export interface RunRecord {
  run: string
  runtime: RuntimeName
  topology: string
  seed: string
  slot: number
  /** `starting` belongs to its harness; `up` stands by itself; `down` is only a folder. */
  state: 'starting' | 'up' | 'down'
  /** Who brings it up; when that process is gone and the state is `starting`, the run is dead. */
  harness: ProcessIdentity | null
  /** Whether the harness holds it for its own life only (a scenario, a contract suite), even when up. */
  bound: boolean
  startedAt: string
}

const RECORD_FILE = 'run.json'
const PLAN_FILE = 'plan.json'

export function runFolder(run: string): string {
  return join(TESTNET_FOLDER, run)
}

/** Make the folder of a run and write its record and plan. Mode 0700: it holds keys. */
export async function createRun(
  plan: Plan,
  options: { run: string; runtime: RuntimeName; bound: boolean }
): Promise<RunRecord> {
  const folder = runFolder(options.run)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const record: RunRecord = {
    run: options.run,
    runtime: options.runtime,
    topology: plan.topology,
    seed: plan.seed,
    slot: plan.slot,
    state: 'starting',
    harness: await identify(process.pid),
    bound: options.bound,
    startedAt: new Date().toISOString()
  }
  await writeFile(join(folder, PLAN_FILE), `${JSON.stringify(plan, null, 2)}\n`, { mode: 0o600 })
  await writeRecord(record)
  return record
}

/** Replace the record in one step, so that a kill leaves the old or the new one. */
export async function writeRecord(record: RunRecord): Promise<void> {
  const file = join(runFolder(record.run), RECORD_FILE)
  await writeFile(`${file}.new`, `${JSON.stringify(record, null, 2)}\n`, { mode: 0o600 })
  await rename(`${file}.new`, file)
}

export async function readRecord(run: string): Promise<RunRecord | null> {
  return await readJson<RunRecord>(join(runFolder(run), RECORD_FILE))
}

export async function readPlan(run: string): Promise<Plan | null> {
  return await readJson<Plan>(join(runFolder(run), PLAN_FILE))
}

/** Records of this tree, oldest first. Folders without a readable record are not ours. */
export async function listRecords(): Promise<RunRecord[]> {
  const names = await readdir(TESTNET_FOLDER).catch(absentOnly(() => []))
  const records = await Promise.all(names.filter(name => name !== basename(CURRENT_LINK)).map(readRecord))
  return records.filter(record => record !== null).sort((a, b) => a.startedAt.localeCompare(b.startedAt))
}

/** Whether nobody stands behind this run any more, so that it may be removed. */
export async function abandoned(record: RunRecord): Promise<boolean> {
  if (record.state === 'down') return false
  if (record.state === 'up' && !record.bound) return false
  return !(await alive(record.harness))
}

/** Record of the testnet that `current` points to, or null. */
export async function currentRecord(): Promise<RunRecord | null> {
  const target = await readlink(CURRENT_LINK).catch(absentOnly(() => null))
  return target === null ? null : await readRecord(basename(target))
}

export async function pointCurrent(run: string): Promise<void> {
  await rm(CURRENT_LINK, { force: true })
  await symlink(run, CURRENT_LINK)
}

/** Forget `current` if it points to this run. */
export async function unpointCurrent(run: string): Promise<void> {
  const target = await readlink(CURRENT_LINK).catch(() => null)
  if (target !== null && basename(target) === run) await rm(CURRENT_LINK, { force: true })
}

/** What is not there is an answer; what may not be read is not. */
function absentOnly<T>(answer: () => T): (error: NodeJS.ErrnoException) => T {
  return error => {
    if (error.code === 'ENOENT') return answer()
    if (error.code === 'EACCES' || error.code === 'EPERM') throw new NotYoursError(TESTNET_FOLDER)
    throw error
  }
}

async function readJson<T>(file: string): Promise<T | null> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as T
  } catch (error) {
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT') return null
    if ((error as NodeJS.ErrnoException).code === 'ENOTDIR') return null
    throw error
  }
}
