/**
 * The scrub: reads every blob here, works its CID out from the decrypted bytes and sets aside what is wrong, which starts
 * its repair. In CID order, at a limited rate, and from where it stopped after a restart.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { CidHasher } from '../blobs/cid.ts'
import { replaceFile } from '../blobs/durable.ts'
import type { BlobStore } from '../blobs/store.types.ts'
import { limiter, pause } from '../blobs/wait.ts'
import { BlobCorruptError, BlobNotFoundError, ScrubRunningError } from '../errors.ts'
import type { Log } from '../log.ts'

/** Most CIDs named as failed; the newest are kept. */
export const FAILED_CIDS_MAX = 100
/** The place is written down this often; what lies between is read twice after a crash. */
export const PLACE_EVERY_MS = 10_000
/** What `sample` reads at most. */
export const SAMPLE_BLOBS_MAX = 16
export const SAMPLE_BYTES_MAX = 16 * 1024 * 1024
/** An answer of `sample` is given again for this long. */
export const SAMPLE_KEPT_MS = 60_000

const SECOND_MS = 1000

/** Counters of the pass that runs, else of the last one. */
export interface Integrity {
  checked: number
  passed: number
  failed: number
  /** Folders named like a blob that were none. */
  orphaned: number
  /** Of the failed, those whose metadata was wrong. */
  metadataTampered: number
  failedCids: string[]
}

export interface ScrubProgress extends Integrity {
  running: boolean
  /** Whole passes since the data directory was made. */
  passes: number
  bytesChecked: number
  /** Blobs of this pass, and those still before it. */
  total: number
  remaining: number
  /** Milliseconds since 1970; null: never. */
  startedAtMs: number | null
  finishedAtMs: number | null
}

export interface Scrub {
  /** Counters only. */
  integrity: () => Integrity
  progress: () => ScrubProgress
  /** Begin a pass now. `ended` resolves when it is over, true if it came to the end. @throws ScrubRunningError */
  start: () => { ended: Promise<boolean> }
  /** Check a few blobs taken at random, bounded in number and bytes; one at a time, answers are kept for a minute. */
  sample: () => Promise<{ checked: number; failed: number; atMs: number }>
  stop: () => Promise<void>
}

export interface ScrubOptions {
  dataDir: string
  store: BlobStore
  /** From the end of a pass to the beginning of the next; 0: only when asked. */
  intervalMs: number
  /** Most bytes read in a second; 0: no limit. */
  bytesPerSecond: number
  log: Log
}

const count = z.number().int().min(0)
const savedPlace = z.object({
  place: z.string().max(200).nullable(),
  passes: count,
  bytesChecked: count,
  startedAtMs: z.number().nullable(),
  finishedAtMs: z.number().nullable(),
  checked: count,
  passed: count,
  failed: count,
  orphaned: count,
  metadataTampered: count,
  failedCids: z.array(z.string().max(200)).max(FAILED_CIDS_MAX)
})
/** `place` is the last CID that is done; null: no pass is under way. */
type State = z.infer<typeof savedPlace>

/** Start the background scrub; goes on with a pass that a restart broke off. */
export async function startScrub(options: ScrubOptions): Promise<Scrub> {
  const { dataDir, store, intervalMs, bytesPerSecond, log } = options
  const path = join(dataDir, 'scrub.json')
  const stopping = new AbortController()
  const { signal } = stopping
  const state: State = await readState(path, log)
  let running: Promise<boolean> | null = null
  let savedAtMs = Number.NEGATIVE_INFINITY
  let total = 0
  let remaining = 0
  let sampling: Promise<{ checked: number; failed: number; atMs: number }> | null = null

  const save = async (): Promise<void> => {
    savedAtMs = performance.now()
    // Losing the place costs a second look at some blobs and nothing else.
    await replaceFile(path, `${JSON.stringify(state)}\n`).catch(error => log.warn({ err: error }, 'place not saved'))
  }

  /** Read one blob. null: right, or not here any more. @param onBytes may wait */
  async function check(cid: string, onBytes: (bytes: number) => Promise<void>): Promise<'data' | 'metadata' | null> {
    let opened = false
    try {
      const blob = await store.open(cid)
      if (!blob) return null
      opened = true
      const hasher = new CidHasher()
      for await (const bytes of blob.read({ signal })) {
        hasher.update(bytes)
        await onBytes(bytes.length)
        if (signal.aborted) return null
      }
      if (hasher.digest() === cid) return null
      await store.quarantine(cid, 'its bytes have another CID')
      return 'data'
    } catch (error) {
      if (error instanceof BlobNotFoundError) return null
      if (error instanceof BlobCorruptError) return opened ? 'data' : 'metadata'
      throw error
    }
  }

  async function pass(): Promise<boolean> {
    if (state.place === null) {
      Object.assign(state, emptyState(), { passes: state.passes, finishedAtMs: state.finishedAtMs })
      Object.assign(state, { place: '', startedAtMs: Date.now() })
    }
    const cids = [...store.list()].filter(cid => cid > state.place!).sort()
    total = state.checked + cids.length
    remaining = cids.length
    const slowly = limiter(bytesPerSecond, signal)
    state.orphaned += await store.setAsideOrphans()
    for (const cid of cids) {
      const wrong = await check(cid, async bytes => {
        state.bytesChecked += bytes
        await slowly(bytes)
      }).catch(error => {
        // The disk may be busy or out of descriptors: neither right nor wrong. The next pass looks again.
        log.warn({ cid, err: error }, 'could not be checked')
        return 'unknown' as const
      })
      if (signal.aborted) {
        await save()
        return false
      }
      state.place = cid
      remaining -= 1
      if (wrong !== 'unknown') {
        state.checked += 1
        if (wrong === null) state.passed += 1
        else note(cid, wrong)
      }
      if (performance.now() - savedAtMs > PLACE_EVERY_MS) await save()
    }
    state.place = null
    state.passes += 1
    state.finishedAtMs = Date.now()
    await save()
    const { checked, failed, orphaned, bytesChecked } = state
    log.info({ checked, failed, orphaned, bytesChecked }, 'scrub pass ended')
    await store.compact({ signal }).catch(error => log.error({ err: error }, 'packs not compacted'))
    return true
  }

  function note(cid: string, wrong: 'data' | 'metadata'): void {
    state.failed += 1
    if (wrong === 'metadata') state.metadataTampered += 1
    state.failedCids = [...state.failedCids, cid].slice(-FAILED_CIDS_MAX)
    log.error({ cid, wrong }, 'scrub found a damaged blob')
  }

  function start(): { ended: Promise<boolean> } {
    if (running) throw new ScrubRunningError()
    const ended = pass().finally(() => {
      running = null
    })
    running = ended
    return { ended }
  }

  async function takeSample() {
    const { storedBlobs } = store.stats()
    const wanted = new Set<number>()
    while (wanted.size < Math.min(SAMPLE_BLOBS_MAX, storedBlobs)) wanted.add(Math.floor(Math.random() * storedBlobs))
    const cids: string[] = []
    let index = 0
    for (const { cid, sizeBytes } of store.entries()) {
      if (wanted.has(index) && sizeBytes <= SAMPLE_BYTES_MAX) cids.push(cid)
      index += 1
    }
    const result = { checked: 0, failed: 0, atMs: Date.now() }
    let readBytes = 0
    for (const cid of cids) {
      if (readBytes >= SAMPLE_BYTES_MAX || signal.aborted) break
      const wrong = await check(cid, async bytes => {
        readBytes += bytes
      })
      result.checked += 1
      if (wrong === null) continue
      result.failed += 1
      note(cid, wrong)
    }
    return result
  }

  const loop = async (): Promise<void> => {
    while (intervalMs > 0 && !signal.aborted) {
      const dueMs = state.place !== null ? 0 : (state.finishedAtMs ?? Date.now()) + intervalMs - Date.now()
      // The clock may have been set back: never wait longer than one interval.
      await pause(Math.min(Math.max(dueMs, SECOND_MS), intervalMs), signal)
      if (signal.aborted) return
      await (running ?? start().ended).catch(error => log.error({ err: error }, 'scrub failed'))
    }
  }
  const ended = loop()

  const integrity = (): Integrity => {
    const { checked, passed, failed, orphaned, metadataTampered, failedCids } = state
    return { checked, passed, failed, orphaned, metadataTampered, failedCids: [...failedCids] }
  }
  return {
    integrity,
    progress: () => {
      const { passes, bytesChecked, startedAtMs, finishedAtMs } = state
      return {
        running: running !== null,
        ...integrity(),
        passes,
        bytesChecked,
        total: running ? total : state.checked,
        remaining: running ? remaining : 0,
        startedAtMs,
        finishedAtMs
      }
    },
    start,
    sample: () => {
      if (!sampling) {
        sampling = takeSample()
        const forget = () => {
          sampling = null
        }
        sampling.then(() => void setTimeout(forget, SAMPLE_KEPT_MS).unref(), forget)
      }
      return sampling
    },
    stop: async () => {
      stopping.abort()
      await Promise.all([ended, running?.catch(() => {}), sampling?.catch(() => {})])
    }
  }
}

function emptyState(): State {
  return {
    place: null,
    passes: 0,
    bytesChecked: 0,
    startedAtMs: null,
    finishedAtMs: null,
    checked: 0,
    passed: 0,
    failed: 0,
    orphaned: 0,
    metadataTampered: 0,
    failedCids: []
  }
}

async function readState(path: string, log: Log): Promise<State> {
  const text = await readFile(path, 'utf8').catch(() => null)
  if (text === null) return emptyState()
  try {
    return savedPlace.parse(JSON.parse(text))
  } catch {
    log.warn({ path }, 'the place of the scrub cannot be read: it begins anew')
    return emptyState()
  }
}
