/** The collection: asks the owners about each candidate of the plan and deletes the copies that can be spared. */
import { statfs } from 'node:fs/promises'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Leaving } from '../blobs/leaving.ts'
import type { BlobNetwork } from '../blobs/network.types.ts'
import type { BlobService } from '../blobs/service.types.ts'
import type { BlobStore } from '../blobs/store.types.ts'
import { pause } from '../blobs/wait.ts'
import { GcRunningError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Proves } from '../proofs/proves.ts'
import {
  type Candidate,
  type CollectReason,
  ownersBefore,
  planCollection,
  type RetentionPolicy,
  spareCopy
} from './collect-plan.ts'
import type { Pins } from './pins.ts'

/** Most blobs whose owners are asked in one run; the next run goes on behind them. */
export const CHECKS_MAX = 500
/** Blobs asked about at the same time. */
export const ASKS_AT_ONCE = 8
/** Longest run: silent owners take their time to be counted as such. */
export const RUN_MS_MAX = 120_000
/** Candidates looked at between two turns of the event loop. */
const LOOKS_AT_ONCE = 25 * ASKS_AT_ONCE
/** Most rows of a report's lists. */
export const REPORT_ROWS_MAX = 1000

export interface GcConfig extends RetentionPolicy {
  enabled: boolean
  intervalMs: number
  /** False: copies go by age and room alone, needed or not. For caches. */
  verifyReplicas: boolean
  /** Have each holder that counts prove all its bytes. */
  verifyProofs: boolean
}

/** What one run did, or would do. Times in milliseconds since 1970. */
export interface GcReport {
  simulated: boolean
  startedAtMs: number
  tookMs: number
  /** Blobs over age, or asked for room. */
  candidates: number
  /** Candidates whose owners were asked. */
  checked: number
  neededBytes: number
  freedBytes: number
  removedBlobs: number
  keptBlobs: number
  removed: Array<{ cid: string; sizeBytes: number; why: CollectReason }>
  kept: Array<{ cid: string; sizeBytes: number; why: string }>
}

export interface GcStatus {
  enabled: boolean
  running: boolean
  mode: RetentionPolicy['mode']
  limits: Omit<RetentionPolicy, 'mode'>
  intervalMs: number
  verifyReplicas: boolean
  verifyProofs: boolean
  /** Runs that deleted, since the start. */
  runs: number
  removedBlobs: number
  freedBytes: number
  /** Without its lists. */
  lastRun: Omit<GcReport, 'removed' | 'kept'> | null
}

export interface Collector {
  /** @throws GcRunningError */
  run: (options?: { simulate?: boolean }) => Promise<GcReport>
  status: () => GcStatus
  stop: () => Promise<void>
}

export interface CollectorOptions {
  config: GcConfig
  dataDir: string
  store: BlobStore
  blobs: Pick<BlobService, 'replication' | 'confirm'>
  leaving: Leaving
  network: Pick<BlobNetwork, 'self' | 'members'>
  /** Asked with GC_VERIFY_PROOFS. */
  proves: Proves
  pins: Pins
  replicationFactor: number
  /** Whether the owners of shards are known; nothing is collected before. */
  membersKnown: () => boolean
  log: Log
  /** For tests: room on the disk, bytes. */
  freeDiskBytes?: () => Promise<number>
}

export function createCollector(options: CollectorOptions): Collector {
  const { config, dataDir, store, blobs, network, leaving, proves, pins, replicationFactor, membersKnown, log } =
    options
  const { freeDiskBytes = () => freeBytes(dataDir) } = options
  const stopping = new AbortController()
  const { signal } = stopping
  let running: Promise<GcReport> | null = null
  let goOnBehind: string | null = null
  const totals = { runs: 0, removedBlobs: 0, freedBytes: 0 }
  let lastRun: GcStatus['lastRun'] = null
  let compacting: Promise<unknown> = Promise.resolve()

  /** Why a copy must stay, or those in whose copies it trusts when it goes. Asks the network. */
  async function judge(cid: string, onAsk: () => void): Promise<string | string[]> {
    if (!config.verifyReplicas) return []
    if (!membersKnown()) return 'the owners are not known yet'
    const members = network.members()
    const self = members.find(({ peerId }) => peerId === network.self)
    if (!self) return 'this node is no member of the network'
    const before = ownersBefore(cid, self, members).length
    if (before < replicationFactor) return `it is one of the ${replicationFactor} copies that are needed`
    onAsk()
    const { nodes } = await blobs.replication(cid, signal)
    const confirmed = members.filter(({ peerId }) => peerId !== network.self && nodes.includes(peerId))
    const verdict = spareCopy(cid, self, confirmed, replicationFactor)
    if (!verdict.spare) return verdict.why
    if (!config.verifyProofs) return confirmed.map(({ peerId }) => peerId)
    const proofs = await Promise.all(
      confirmed.map(async holder => ((await proves(holder.peerId, cid, signal)) ? [holder] : []))
    )
    const proven = spareCopy(cid, self, proofs.flat(), replicationFactor)
    return proven.spare ? proofs.flat().map(({ peerId }) => peerId) : `${proven.why}, and proved its bytes`
  }

  /** Delete a copy; answers why it stayed instead, or null. @param trusted whose copies it relies on */
  async function drop(cid: string, trusted: readonly string[]): Promise<string | null> {
    const stays = await leaving.run(cid, async () => {
      if (config.verifyReplicas) {
        // Once more while this copy is not vouched for: one of them may be about to drop its own, trusting in this one.
        const sure = new Set(await blobs.confirm(cid, trusted, signal))
        const members = network.members()
        const self = members.find(({ peerId }) => peerId === network.self)
        const holders = members.filter(({ peerId }) => sure.has(peerId))
        const verdict = self ? spareCopy(cid, self, holders, replicationFactor) : null
        if (!verdict?.spare) return verdict?.why ?? 'this node is no member of the network'
      }
      return (await store.delete(cid, () => !pins.has(cid))) ? '' : 'it was pinned, or went, meanwhile'
    })
    return stays === '' ? null : (stays ?? 'it is being handed over or deleted')
  }

  async function collect(simulated: boolean): Promise<GcReport> {
    const startedAtMs = Date.now()
    const plan = planCollection({
      blobs: store.entries(),
      isPinned: pins.has,
      policy: config,
      nowMs: startedAtMs,
      freeDiskBytes: await freeDiskBytes()
    })
    const { neededBytes } = plan
    const report: GcReport = {
      simulated,
      startedAtMs,
      tookMs: 0,
      candidates: plan.candidates.length,
      checked: 0,
      neededBytes,
      freedBytes: 0,
      removedBlobs: 0,
      keptBlobs: 0,
      removed: [],
      kept: []
    }
    const asked = () => {
      report.checked += 1
    }
    const endMs = performance.now() + RUN_MS_MAX
    const isOver = () => signal.aborted || report.checked >= CHECKS_MAX || performance.now() > endMs
    const isNeeded = ({ why }: Candidate) => why === 'age' || report.freedBytes < neededBytes
    const queue = rotated(plan.candidates, goOnBehind)
    let at = 0
    for (; at < queue.length && !isOver(); at += ASKS_AT_ONCE) {
      if (at % LOOKS_AT_ONCE === 0) await nextTurn()
      const batch = queue.slice(at, at + ASKS_AT_ONCE).filter(isNeeded)
      const verdicts = await Promise.all(
        batch.map(({ cid }) =>
          judge(cid, asked).catch((error: Error) => `its owners could not be asked: ${error.message}`)
        )
      )
      for (const [index, candidate] of batch.entries())
        await act(candidate, verdicts[index]!, simulated, report, isNeeded)
    }
    if (!simulated) goOnBehind = at < queue.length ? (queue[at - 1]?.cid ?? null) : null
    report.tookMs = Date.now() - startedAtMs
    return report
  }

  /** Delete one candidate, or note why it stays. @param verdict why it must stay, or whose copies it relies on */
  async function act(
    candidate: Candidate,
    verdict: string | string[],
    simulated: boolean,
    report: GcReport,
    isNeeded: (candidate: Candidate) => boolean
  ): Promise<void> {
    const { cid, sizeBytes, why } = candidate
    // Those asked about at the same time may have freed enough.
    if (signal.aborted || !isNeeded(candidate)) return
    let because: string | null = null
    if (typeof verdict === 'string') because = verdict
    else if (!simulated) because = await drop(cid, verdict).catch((error: Error) => error.message)
    if (because === null) {
      report.freedBytes += sizeBytes
      report.removedBlobs += 1
      if (report.removed.length < REPORT_ROWS_MAX) report.removed.push({ cid, sizeBytes, why })
      if (!simulated) log.info({ cid, sizeBytes, why }, 'copy collected')
      return
    }
    report.keptBlobs += 1
    if (report.kept.length < REPORT_ROWS_MAX) report.kept.push({ cid, sizeBytes, why: because })
  }

  async function run({ simulate = false }: { simulate?: boolean } = {}): Promise<GcReport> {
    if (running) throw new GcRunningError()
    running = collect(simulate)
    try {
      const report = await running
      const { removed: _removed, kept: _kept, ...summary } = report
      lastRun = summary
      if (!simulate) {
        totals.runs += 1
        totals.removedBlobs += report.removedBlobs
        totals.freedBytes += report.freedBytes
        // What went from a pack leaves room only now. Nobody waits for it.
        compacting = store.compact({ signal }).catch(error => log.error({ err: error }, 'packs not compacted'))
      }
      return report
    } finally {
      running = null
    }
  }

  const loop = async (): Promise<void> => {
    while (config.enabled && !signal.aborted) {
      await pause(config.intervalMs, signal)
      if (signal.aborted || running) continue
      await run().catch(error => log.error({ err: error }, 'collection failed'))
    }
  }
  const ended = loop()

  return {
    run,
    status: () => {
      const { mode, maxAgeMs, maxBytes, minFreeDiskBytes, reservedForPinnedBytes } = config
      const { enabled, intervalMs, verifyReplicas, verifyProofs } = config
      const limits = { maxAgeMs, maxBytes, minFreeDiskBytes, reservedForPinnedBytes }
      const switches = { enabled, running: running !== null, mode, intervalMs, verifyReplicas, verifyProofs }
      return { ...switches, limits, ...totals, lastRun }
    },
    stop: async () => {
      stopping.abort()
      await Promise.all([ended, running?.catch(() => {})])
      await compacting
    }
  }
}

/** The candidates behind `cid` first; over-age ones stay before the others in both parts. */
function rotated(candidates: readonly Candidate[], cid: string | null): Candidate[] {
  const at = cid === null ? -1 : candidates.findIndex(candidate => candidate.cid === cid)
  return at < 0 ? [...candidates] : [...candidates.slice(at + 1), ...candidates.slice(0, at + 1)]
}

async function freeBytes(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path)
  return bavail * bsize
}
