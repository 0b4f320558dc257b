/** Remove runs: the one asked for, and those nobody stands behind any more. Never anything that has no record. */
import { access, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { KeeperError } from './errors.ts'
import { CAPTURES_FOLDER } from './paths.ts'
import {
  abandoned,
  currentRecord,
  listRecords,
  type RunRecord,
  readPlan,
  runFolder,
  unpointCurrent,
  writeRecord
} from './run-record.ts'
import type { Progress, RuntimeName, Testnet } from './runtime.ts'
import { runtimeNamed } from './runtimes.ts'

/** Folders of ended runs (logs and plans) that are kept. */
const ENDED_RUNS_KEPT = 10

/** What each runtime's `down` looks for before it answers that nothing is left. */
export const LOOKED_FOR: Record<RuntimeName, string[]> = {
  netns: ['process', 'namespace', 'mount', 'data or key'],
  docker: ['container', 'network', 'volume', 'data or key']
}

/** @returns what is left of the run, in plain words; its record then says `down` */
export async function removeRun(record: RunRecord, progress?: Progress): Promise<string[]> {
  const plan = await readPlan(record.run)
  const left: string[] = []
  if (plan !== null) {
    const runtime = await runtimeNamed(record.runtime)
    const testnet = await runtime.attach(plan, { folder: runFolder(record.run), run: record.run })
    if (record.state === 'up' && !record.bound) await keepTables(testnet)
    left.push(...(await testnet.down(progress === undefined ? {} : { progress })))
  }
  if (left.length === 0) {
    await writeRecord({ ...record, state: 'down' })
    await unpointCurrent(record.run)
  }
  return left
}

/** A testnet that was recorded leaves its routers' tables beside the packets; one that is half gone leaves what it can. */
async function keepTables(testnet: Testnet): Promise<void> {
  const isRecorded = await access(join(testnet.folder, CAPTURES_FOLDER)).then(
    () => true,
    () => false
  )
  if (isRecorded) await testnet.evidence({ lookMs: 0 })
}

/** Remove what dead harnesses left, and old logs. */
export async function sweep(progress: Progress): Promise<void> {
  const records = await listRecords()
  for (const record of records) {
    const why = (await abandoned(record))
      ? 'an interrupted command left behind'
      : (await dead(record))
        ? 'is dead'
        : null
    if (why === null) continue
    progress.note(`removing ${record.run}, which ${why}`)
    const left = await tryRemove(record)
    if (left.length > 0) progress.note(`still there: ${left.join('; ')}`)
  }
  const ended = records.filter(({ state }) => state === 'down')
  await Promise.all(
    ended.slice(0, -ENDED_RUNS_KEPT).map(async ({ run }) => await rm(runFolder(run), { recursive: true, force: true }))
  )
}

/** A runtime that does not answer (no engine just now) holds up neither the other runs nor the command. */
async function tryRemove(record: RunRecord, progress?: Progress): Promise<string[]> {
  try {
    return await removeRun(record, progress)
  } catch (error) {
    return [`all of ${record.run}: ${(error as Error).message}`]
  }
}

/** Whether a testnet that should stand by itself does nothing any more: its keeper was killed, or the machine was restarted. */
async function dead(record: RunRecord): Promise<boolean> {
  const plan = record.state === 'up' && !record.bound ? await readPlan(record.run) : null
  if (plan === null) return false
  try {
    const runtime = await runtimeNamed(record.runtime)
    const testnet = await runtime.attach(plan, { folder: runFolder(record.run), run: record.run })
    const { hosts } = await testnet.status()
    return Object.values(hosts).every(({ state }) => state === 'dead')
  } catch (error) {
    // An engine that does not answer just now proves nothing.
    return error instanceof KeeperError
  }
}

export interface DownReport {
  removed: RunRecord[]
  /** Runs another living command holds; they end with it. */
  held: RunRecord[]
  left: string[]
}

/** Remove every testnet of this tree that stands by itself or is abandoned. */
export async function takeDown(progress: Progress): Promise<DownReport> {
  const report: DownReport = { removed: [], held: [], left: [] }
  for (const record of await listRecords()) {
    if (record.state === 'down') continue
    const standing = record.state === 'up' && !record.bound
    if (standing || (await abandoned(record))) {
      report.left.push(...(await tryRemove(record, progress)))
      report.removed.push(record)
    } else {
      report.held.push(record)
    }
  }
  const current = await currentRecord()
  if (current?.state === 'down') await unpointCurrent(current.run)
  return report
}
