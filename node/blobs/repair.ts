/**
 * Keeping replica counts true: blobs that fell short are tried again with growing pauses, and when nodes come or go,
 * every blob here is looked at once: those of own shards first, for what is to be handed over has its copies. Each holder
 * works out the same targets, so that two holders repairing at the same time put the same replicas.
 */
import type { Log } from '../log.ts'
import { pause } from './wait.ts'

/** How often the loop looks for work. */
export const REPAIR_TICK_MS = 2000
/** Wait after a change among the members: a node that restarts is not lost. */
export const REPAIR_SETTLE_MS = 15_000
/** Longest such wait, however often members change. */
export const REPAIR_SETTLE_MAX_MS = 60_000
/** Most blobs waiting for another try; beyond it a full pass finds them again. */
export const REPAIR_QUEUE_MAX = 4096
/** Pauses between tries of one blob: doubled from the first to the last. */
export const REPAIR_BACKOFF_MIN_MS = 4000
export const REPAIR_BACKOFF_MAX_MS = 5 * 60_000

export interface RepairOptions {
  /** Make one blob whole; false: it still falls short. */
  mend: (cid: string) => Promise<boolean>
  /** CIDs held here. */
  list: () => Iterable<string>
  /** Whether its shard is this node's: those come before what is only to be handed over. */
  isOwn: (cid: string) => boolean
  /** A text that changes when members come, go, or become unreachable. */
  membership: () => string
  /** For tests, milliseconds in place of the constants. */
  waits?: { tickMs: number; settleMs: number; settleMaxMs: number }
  log: Log
  signal: AbortSignal
}

export interface Repair {
  /** This blob falls short: look at it again soon. */
  enqueue: (cid: string) => void
  /** Blobs known to fall short. */
  readonly waiting: number
  isWaiting: (cid: string) => boolean
  /** Resolves when the loop has ended after its signal aborted. */
  readonly ended: Promise<void>
}

const WAITS = { tickMs: REPAIR_TICK_MS, settleMs: REPAIR_SETTLE_MS, settleMaxMs: REPAIR_SETTLE_MAX_MS }

interface Waiting {
  tries: number
  notBeforeMs: number
}

/** Start the loop. */
export function startRepair({ mend, list, isOwn, membership, waits = WAITS, log, signal }: RepairOptions): Repair {
  const waiting = new Map<string, Waiting>()
  /** Those of them that were foreign when they came: looking for one among all would cost a hash for each. */
  const foreign = new Set<string>()
  let members = membership()
  let fullPassAtMs = Number.POSITIVE_INFINITY
  let isForeignPassDue = false
  /** When the first change came that no full pass has followed yet. */
  let unsettledMs: number | null = null

  const backoffMs = (tries: number) => Math.min(REPAIR_BACKOFF_MAX_MS, REPAIR_BACKOFF_MIN_MS * 2 ** tries)
  const drop = (cid: string): void => {
    waiting.delete(cid)
    foreign.delete(cid)
  }
  const enqueue = (cid: string, tries = 0): void => {
    const known = waiting.get(cid)
    if (known && known.tries > tries) return
    if (!known && waiting.size >= REPAIR_QUEUE_MAX) {
      fullPassAtMs = Math.min(fullPassAtMs, performance.now() + REPAIR_BACKOFF_MAX_MS)
      // A blob that has too few copies takes the place of one that only lies where it should not.
      const [less] = foreign
      if (less === undefined || !isOwn(cid)) return
      drop(less)
    }
    if (!known && !isOwn(cid)) foreign.add(cid)
    waiting.set(cid, { tries, notBeforeMs: performance.now() + backoffMs(tries) })
  }
  const isDue = (cid: string): boolean =>
    (waiting.get(cid)?.notBeforeMs ?? Number.POSITIVE_INFINITY) <= performance.now()
  const tryOnce = async (cid: string): Promise<void> => {
    const tries = waiting.get(cid)?.tries ?? 0
    try {
      if (await mend(cid)) {
        drop(cid)
        return
      }
    } catch (error) {
      log.debug({ cid, err: error }, 'repair failed')
    }
    drop(cid)
    enqueue(cid, tries + 1)
  }
  /** Own blobs of the queue that are due. */
  const tryOwn = async (): Promise<void> => {
    for (const cid of [...waiting.keys()]) {
      if (signal.aborted) return
      if (isDue(cid) && isOwn(cid)) await tryOnce(cid)
    }
  }
  /** Some of all that is here, but for what waits. Ends early when `between` says so. */
  const pass = async (isMeant: (cid: string) => boolean, between: () => Promise<boolean>): Promise<void> => {
    for (const cid of list()) {
      if (signal.aborted) return
      if (waiting.has(cid) || !isMeant(cid)) continue
      await tryOnce(cid)
      if (!(await between())) return
    }
  }
  const noticeMembers = (): void => {
    const now = membership()
    if (now !== members) {
      members = now
      const settledMs = performance.now() + waits.settleMs
      unsettledMs ??= performance.now()
      fullPassAtMs = Math.min(settledMs, unsettledMs + waits.settleMaxMs)
      // Somebody may have come who can take what nobody could: it does not wait for longer than the rest.
      for (const entry of waiting.values()) {
        entry.tries = 0
        entry.notBeforeMs = Math.min(entry.notBeforeMs, settledMs)
      }
    }
  }
  const tick = async (): Promise<void> => {
    noticeMembers()
    // Seen now: what waits for the members to settle is then due as well.
    const isPassDue = performance.now() >= fullPassAtMs
    if (isPassDue) {
      fullPassAtMs = Number.POSITIVE_INFINITY
      unsettledMs = null
      isForeignPassDue = true
    }
    await tryOwn()
    // A change among the members schedules another pass and does not end this one: otherwise one node that comes and
    // goes would keep the blobs at the end from ever being looked at.
    if (isPassDue) await pass(isOwn, async () => true)
    for (const cid of [...waiting.keys()]) {
      if (signal.aborted) return
      if (!isDue(cid) || isOwn(cid)) continue
      await tryOnce(cid)
      if (!(await mayGoOn())) return
    }
    if (!isForeignPassDue) return
    isForeignPassDue = false
    await pass(cid => !isOwn(cid), mayGoOn)
  }
  /** Between two that are handed over: own blobs come first, and when all of them are to be looked at the rest waits. */
  const mayGoOn = async (): Promise<boolean> => {
    await tryOwn()
    noticeMembers()
    return performance.now() < fullPassAtMs
  }
  const loop = async (): Promise<void> => {
    while (!signal.aborted) {
      await pause(waits.tickMs, signal)
      if (signal.aborted) return
      // One failed round is not the end of repair.
      await tick().catch(error => log.error({ err: error }, 'repair round failed'))
    }
  }
  return {
    enqueue: cid => enqueue(cid),
    get waiting() {
      return waiting.size
    },
    isWaiting: cid => waiting.has(cid),
    ended: loop()
  }
}
