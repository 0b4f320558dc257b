/**
 * `node node/faults/kill.ts --kills 1000`: kill -9 at random moments of writes, deletions, pins and starts. After each,
 * the store is opened again and read: every acknowledged blob is there with its bytes, what was deleted stays so, every pin
 * holds, nothing torn is served, nothing stays in `tmp/`. Counts go to `reports/faults/kill.json`; exit 1 when anything was lost. With `--packed`
 * small blobs are in packs, which are compacted meanwhile (`reports/faults/kill-packed.json`).
 */
import { spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { restart, writeReport } from './testing.ts'
import { openPinsFile } from './writer.ts'

/** One in so many kills comes while the writer starts: the sweep is killed too. */
const START_KILLS_ONE_IN = 10
const START_MS_MAX = 250
/** A kill comes this long after the writer began, at most. */
const WRITE_MS_MAX = 250
const READY_TIMEOUT_MS = 30_000

export interface KillReport {
  kills: number
  /** Acknowledged in all; and those of them that were deleted again. */
  acknowledged: number
  deleted: number
  pinned: number
  lost: number
  /** Pins that a restart did not have. */
  lostPins: number
  /** Blobs whose deletion was acknowledged and that a restart had again. */
  cameBack: number
  wrong: number
  torn: number
  sweptFolders: number
  leftFolders: number
  /** Blobs that were whole on disk although the kill came before their acknowledgement. */
  unacknowledged: number
  seconds: number
}

/** Kill a writer again and again. `atOnce` stores are worked on side by side. */
export async function killWriters(options: { kills: number; atOnce?: number; packed?: boolean }): Promise<KillReport> {
  const { kills, atOnce = 2, packed = false } = options
  const startedMs = performance.now()
  const report: KillReport = {
    kills: 0,
    acknowledged: 0,
    deleted: 0,
    pinned: 0,
    lost: 0,
    lostPins: 0,
    cameBack: 0,
    wrong: 0,
    torn: 0,
    sweptFolders: 0,
    leftFolders: 0,
    unacknowledged: 0,
    seconds: 0
  }
  let left = kills
  const lane = async (): Promise<void> => {
    const dataDir = await mkdtemp(join(tmpdir(), 'warren-kill-'))
    const ledger: Ledger = {
      acknowledged: new Set(),
      pinned: new Set(),
      everAcknowledged: new Set(),
      deleted: new Set(),
      others: new Set()
    }
    try {
      while (left > 0) {
        left -= 1
        await killOnce({ dataDir, packed, ledger, report })
      }
      report.unacknowledged += ledger.others.size
    } finally {
      await rm(dataDir, { recursive: true, force: true })
    }
  }
  await Promise.all(Array.from({ length: atOnce }, lane))
  report.seconds = Math.round((performance.now() - startedMs) / 1000)
  return report
}

/** What one store's writers have said. */
interface Ledger {
  /** And not said that they begin to delete it. */
  acknowledged: Set<string>
  everAcknowledged: Set<string>
  /** Said to be deleted, and not stored again. */
  deleted: Set<string>
  pinned: Set<string>
  /** On disk without ever being acknowledged. */
  others: Set<string>
}

async function killOnce(init: { dataDir: string; packed: boolean; ledger: Ledger; report: KillReport }): Promise<void> {
  const { dataDir, packed, ledger, report } = init
  const { acknowledged, everAcknowledged, deleted, pinned, others } = ledger
  const program = fileURLToPath(new URL('./writer.ts', import.meta.url))
  const child = spawn(process.execPath, [program, dataDir, ...(packed ? ['--packed'] : [])], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  const exited = new Promise<NodeJS.Signals | null>(resolve => child.once('exit', (_code, signal) => resolve(signal)))
  const ready = Promise.withResolvers<void>()
  const heard = (async () => {
    for await (const line of createInterface({ input: child.stdout })) {
      const [what, cid = ''] = line.split(' ')
      if (what === 'ready') ready.resolve()
      if (what === '+') {
        report.acknowledged += 1
        acknowledged.add(cid)
        everAcknowledged.add(cid)
        deleted.delete(cid)
      }
      if (what === 'p') pinned.add(cid)
      // From here on it may be there or not; what is there must be right all the same.
      if (what === '?') acknowledged.delete(cid)
      if (what === '-') {
        report.deleted += 1
        deleted.add(cid)
      }
    }
  })()
  if (randomInt(START_KILLS_ONE_IN) === 0) {
    await delay(randomInt(START_MS_MAX))
  } else {
    const limit = new AbortController()
    const late = delay(READY_TIMEOUT_MS, undefined, { signal: limit.signal }).then(
      () => Promise.reject(new Error('the writer does not start')),
      () => {}
    )
    await Promise.race([ready.promise, late, exited]).finally(() => limit.abort())
    await delay(randomInt(WRITE_MS_MAX))
  }
  child.kill('SIGKILL')
  if ((await exited) !== 'SIGKILL') throw new Error('the writer ended by itself')
  await heard
  report.kills += 1

  const found = await restart(dataDir, acknowledged, { packed })
  const pins = await openPinsFile(dataDir)
  report.pinned = Math.max(report.pinned, pinned.size)
  report.lost += found.lost.length
  report.lostPins += [...pinned].filter(cid => !pins.has(cid)).length
  report.cameBack += found.stored.filter(cid => deleted.has(cid)).length
  report.wrong += found.wrong.length
  report.torn += found.torn
  report.sweptFolders += found.sweptFolders
  report.leftFolders += found.leftFolders
  for (const cid of found.stored) if (!everAcknowledged.has(cid)) others.add(cid)
}

/** Whether a report shows what is promised. Of no kill, or of nothing acknowledged, it shows nothing. */
export function keptAll(report: KillReport): boolean {
  const { kills, acknowledged, lost, lostPins, cameBack, wrong, torn, leftFolders } = report
  if (kills === 0 || acknowledged === 0) return false
  return [lost, lostPins, cameBack, wrong, torn, leftFolders].every(count => count === 0)
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      kills: { type: 'string', default: '100' },
      'at-once': { type: 'string', default: '2' },
      packed: { type: 'boolean', default: false }
    }
  })
  const { packed } = values
  const report = await killWriters({ kills: Number(values.kills), atOnce: Number(values['at-once']), packed })
  const path = await writeReport(packed ? 'kill-packed' : 'kill', {
    ...report,
    verdict: keptAll(report) ? 'pass' : 'fail'
  })
  process.stdout.write(`${JSON.stringify(report)}\n${path}\n`)
  process.exitCode = keptAll(report) ? 0 : 1
}
