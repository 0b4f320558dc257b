/** From a topology to a testnet that works, the same for both runtimes. */
import { createHash, randomBytes } from 'node:crypto'
import { type Plan, plan as planOf, type Topology, warningsOf } from '../../netem/index.ts'
import { removeRun, sweep } from './down.ts'
import { type Endpoints, endpointsOf, writeEndpoints } from './endpoints.ts'
import { InterruptedError, LeftBehindError, TestnetNeedsError, TestnetRunningError, UpUnderWayError } from './errors.ts'
import { TESTNET_FOLDER } from './paths.ts'
import { prepareBundles } from './prepare.ts'
import { waitReady } from './ready.ts'
import { createRun, listRecords, pointCurrent, type RunRecord, runFolder, writeRecord } from './run-record.ts'
import type { Progress, RuntimeName, Testnet } from './runtime.ts'
import { chooseRuntime } from './runtimes.ts'
import { holdFreeSlot, holdName } from './slot.ts'

export interface UpRequest {
  topology: Topology
  seed: string
  runtime: RuntimeName | 'auto'
  /** Held by this process and gone with it (scenarios, suites), instead of standing by itself as `current`. */
  bound: boolean
  /** Record what crosses every interface, from the start. Default: no. */
  capture?: boolean
  progress: Progress
  signal: AbortSignal
}

export interface Standing {
  testnet: Testnet
  record: RunRecord
  endpoints: Endpoints
}

/**
 * Bring a testnet up; resolves when every host is ready. Whatever fails, nothing stays but a folder of logs.
 * @throws TopologyInvalidError before anything is created; TestnetRunningError; RuntimeMissingError; HarnessError of the stage
 */
export async function bringUp(request: UpRequest): Promise<Standing> {
  if (request.bound) return await bringUpAlone(request)
  // Between the look for a standing testnet and its record lie seconds: nobody else may look meanwhile.
  const release = await holdName(`up-${createHash('sha256').update(TESTNET_FOLDER).digest('hex').slice(0, 32)}`)
  if (release === null) throw new UpUnderWayError()
  try {
    return await bringUpAlone(request)
  } finally {
    release()
  }
}

async function bringUpAlone(request: UpRequest): Promise<Standing> {
  const { topology, seed, progress, signal, bound, capture = false } = request
  const preview = planOf(topology, seed)
  for (const { path, message } of warningsOf(topology)) progress.note(`warning: ${path}: ${message}`)
  await sweep(progress)
  const records = (await listRecords()).filter(({ state }) => state !== 'down')
  const standing = records.find(record => !record.bound)
  if (!bound && standing !== undefined) throw new TestnetRunningError(standing.run)
  const { runtime, why } = await chooseRuntime(request.runtime, progress)
  const missing = await runtime.lacks(preview, { capture })
  if (missing.length > 0) throw new TestnetNeedsError(topology.name, missing)
  progress.note(why)
  await prepareBundles(progress)
  const held = await holdFreeSlot(runtime, new Set(records.map(({ slot }) => slot)))
  try {
    if (held.slot > 0) progress.note(`taken (ports in use): slot ${held.passed.join(', ')}; this is slot ${held.slot}`)
    if (signal.aborted) throw new InterruptedError()
    const plan = planOf(topology, seed, held.slot)
    const run = runName(plan)
    const record = await createRun(plan, { run, runtime: runtime.name, bound })
    try {
      const folder = runFolder(run)
      const testnet = await runtime.up(plan, { folder, run, progress, signal, bound, capture })
      await waitReady(testnet, { progress, signal })
      const endpoints = endpointsOf(plan, run, runtime.name)
      await writeEndpoints(folder, endpoints)
      await writeRecord({ ...record, state: 'up' })
      if (!bound) await pointCurrent(run)
      return { testnet, record: { ...record, state: 'up' }, endpoints }
    } catch (error) {
      progress.note('removing what was built')
      const left = await removeRun(record).catch((why: Error) => [why.message])
      const cause = signal.aborted ? new InterruptedError() : (error as Error)
      if (left.length > 0) throw new LeftBehindError(cause, left)
      throw cause
    }
  } finally {
    held.release()
  }
}

/** `<topology>-<time>-<random>`: sorts by time, and two in one second differ. */
function runName(plan: Plan): string {
  const time = new Date()
    .toISOString()
    .replaceAll(/[-:]|\.\d+Z/g, '')
    .replace('T', '-')
  return `${plan.topology}-${time}-${randomBytes(2).toString('hex')}`
}
