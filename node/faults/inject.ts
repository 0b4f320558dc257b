/**
 * `node node/faults/inject.ts`: system calls of a store fail, one at a time, by strace: each of `CALLS` × EIO, ENOSPC and
 * a kill -9 at the call × the nth one. A put during which a call failed is never acknowledged; afterwards the store is
 * opened again: everything acknowledged is there, and nothing whose deletion was answered. Counts go to `reports/faults/inject.json`. With `--packed` the blobs are
 * in packs (`reports/faults/inject-packed.json`).
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { attach, CALLS, FAULTS, type Fault, type Injected, startWriter, type Writer, whyNot } from './injection.ts'
import { restart, writeReport } from './testing.ts'

/** Puts, each with a deletion of an earlier blob, of one run at most; it ends one round behind the injection. */
const ROUNDS_MAX = 24
const BLOB_BYTES = 3000
/** A blob lives this many rounds. */
const DELETE_BEHIND = 2
/** Tries of one run until a call of the store's is met: of `write`, many are libuv's own, in no fixed order. */
const TRIES_MAX = 10
/** Part of the runs that must have met a call of the store's. */
const HITS_MIN = 0.9
/** Deletions between two compactions, with packs. */
const COMPACT_EVERY = 4
/** Calls of these kinds only clean up or delete: a put does not depend on them. */
const CLEANS_UP = ['unlink']

export interface InjectReport {
  runs: number
  /** Runs in which a call on the store's files failed or was killed. */
  hits: number
  /** Tries that met a call of libuv's instead, or none; they were judged like the others and made again. */
  misses: number
  hitsByCall: Record<string, number>
  acknowledged: number
  /** Puts that were answered with an error. */
  refused: number
  /** Writers that ended by the injection. */
  died: number
  sweptFolders: number
  problems: string[]
  seconds: number
}

/** Do the runs of all calls and faults for these n. */
export async function injectFaults(options: {
  nths: readonly number[]
  calls?: readonly string[]
  faults?: readonly Fault[]
  packed?: boolean
  onRun?: (text: string) => void
}): Promise<InjectReport> {
  const { nths, calls = Object.keys(CALLS), faults = FAULTS, packed = false, onRun } = options
  const startedMs = performance.now()
  const report: InjectReport = {
    runs: 0,
    hits: 0,
    misses: 0,
    hitsByCall: {},
    acknowledged: 0,
    refused: 0,
    died: 0,
    sweptFolders: 0,
    problems: [],
    seconds: 0
  }
  const folder = await mkdtemp(join(tmpdir(), 'warren-inject-'))
  let writer: Writer | null = null
  try {
    for (const call of calls) {
      if (!writer || writer.ended()) writer = await startWriter({ packed })
      const places = call === 'write' ? await ownWrites(writer, join(folder, 'count'), packed) : null
      for (const fault of faults) {
        for (const nth of nths) {
          const before = report.problems.length
          for (let tries = 0, hit = false; !hit && tries < TRIES_MAX; tries += 1) {
            if (!writer || writer.ended()) writer = await startWriter({ packed })
            const dataDir = join(folder, `${call}-${fault}-${nth}-${tries}`)
            // libuv's wake-ups are `write` as well: the nth of the store's own is at another place in the order.
            const when = places ? places[Math.min(nth, places.length) - 1]! : nth
            hit = await injectOnce(writer, { dataDir, call, fault, nth: when, packed }, report)
            await rm(dataDir, { recursive: true, force: true })
            if (!hit) report.misses += 1
          }
          report.runs += 1
          onRun?.(`${call} ${fault} ${nth}: ${report.problems.slice(before).join('; ') || 'right'}`)
        }
      }
    }
  } finally {
    await writer?.end()
    await rm(folder, { recursive: true, force: true })
  }
  report.seconds = Math.round((performance.now() - startedMs) / 1000)
  return report
}

/** One writer, one fault. Whether it met a call on the store's files. */
async function injectOnce(
  writer: Writer,
  { dataDir, call, fault, nth, packed }: { dataDir: string; call: string; fault: Fault; nth: number; packed: boolean },
  report: InjectReport
): Promise<boolean> {
  const acknowledged = new Map<string, { beganMs: number; endedMs: number }>()
  const deleted: string[] = []
  const live: string[] = []
  const problem = (text: string) => report.problems.push(`${call} ${fault} ${nth}: ${text}`)
  await writer.ask(`open ${dataDir}`)
  const tracer = await attach(writer, { call, fault, nth, log: `${dataDir}.strace` })
  let roundsAfter = 0
  for (let round = 0; round < ROUNDS_MAX && roundsAfter < 1 && !writer.ended(); round += 1) {
    if ((await tracer.injected()).length > 0) roundsAfter += 1
    const put = await writer.ask(`put ${round} ${BLOB_BYTES + round}`)
    if (put?.ok) {
      acknowledged.set(put.cid, put)
      live.push(put.cid)
    } else if (put) {
      report.refused += 1
      if (!['STORE_FAILED', 'STORAGE_FULL'].includes(put.code)) problem(`a put was answered ${put.code}`)
    }
    if (live.length <= DELETE_BEHIND || writer.ended()) continue
    const cid = live.shift()!
    // From here on it may be there or not.
    acknowledged.delete(cid)
    if ((await writer.ask(`delete ${cid}`))?.ok) deleted.push(cid)
    if (packed && round % COMPACT_EVERY === 0 && !writer.ended()) await writer.ask('compact')
  }
  await tracer.detach()
  const injected = await tracer.injected()
  const own = injected.filter(({ path }) => path?.startsWith(dataDir))
  if (own.length > 0) {
    report.hits += 1
    report.hitsByCall[call] = (report.hitsByCall[call] ?? 0) + 1
  }
  if (writer.ended()) report.died += 1
  report.acknowledged += acknowledged.size
  for (const { atMs, text } of own.filter(isPartOfPut)) {
    const during = [...acknowledged.values()].find(put => put.beganMs <= atMs && atMs <= put.endedMs)
    if (during) problem(`acknowledged although this failed: ${text}`)
  }
  const found = await restart(dataDir, acknowledged.keys(), { packed })
  report.sweptFolders += found.sweptFolders
  for (const cid of found.lost) problem(`acknowledged and lost: ${cid}`)
  for (const cid of deleted) if (found.stored.includes(cid)) problem(`deleted and there again: ${cid}`)
  for (const cid of found.wrong) problem(`served wrong: ${cid}`)
  if (found.leftFolders > 0) problem(`${found.leftFolders} folders left in tmp/`)
  return own.length > 0

  function isPartOfPut(one: Injected): boolean {
    // An index is written after the answer, and a start does without it; the reserve is only for deletions.
    const isAside = one.path?.includes('.idx') || one.path?.endsWith('/reserve')
    return !CLEANS_UP.includes(call) && one.fault !== 'kill' && !isAside
  }
}

/** The places of the store's own calls among all `write` of its thread, counted in a run without faults. */
async function ownWrites(writer: Writer, dataDir: string, packed: boolean): Promise<number[]> {
  await writer.ask(`open ${dataDir}`)
  const tracer = await attach(writer, { call: 'write', fault: null, nth: 0, log: `${dataDir}.strace` })
  const live: string[] = []
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const put = await writer.ask(`put ${round} ${BLOB_BYTES + round}`)
    if (put?.ok) live.push(put.cid)
    if (live.length <= DELETE_BEHIND) continue
    await writer.ask(`delete ${live.shift()}`)
    if (packed && round % COMPACT_EVERY === 0) await writer.ask('compact')
  }
  await tracer.detach()
  const calls = await tracer.calls()
  return calls.flatMap((path, index) => (path?.startsWith(dataDir) ? [index + 1] : []))
}

/** Whether a report shows what is promised. Of no run, or of nothing acknowledged, it shows nothing. */
export function heldAll({ problems, hits, runs, acknowledged }: InjectReport): boolean {
  return runs > 0 && acknowledged > 0 && problems.length === 0 && hits >= runs * HITS_MIN
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      nth: { type: 'string', default: '20' },
      packed: { type: 'boolean', default: false },
      verbose: { type: 'boolean', default: false }
    }
  })
  const { packed } = values
  const name = packed ? 'inject-packed' : 'inject'
  const why = await whyNot()
  if (why !== null) {
    process.stdout.write(`1 pending: system calls are not made to fail, ${why}\n`)
    await writeReport(name, { verdict: 'skip', why })
    process.exitCode = 3
  } else {
    const nths = Array.from({ length: Number(values.nth) }, (_, i) => i + 1)
    const onRun = values.verbose ? (text: string) => process.stdout.write(`${text}\n`) : undefined
    const report = await injectFaults({ nths, packed, ...(onRun ? { onRun } : {}) })
    const path = await writeReport(name, { ...report, verdict: heldAll(report) ? 'pass' : 'fail' })
    process.stdout.write(`${JSON.stringify(report, null, 2)}\n${path}\n`)
    process.exitCode = heldAll(report) ? 0 : 1
  }
}
