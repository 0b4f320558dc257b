/** Writes and reads that go on while something else happens. */
import { setTimeout as delay } from 'node:timers/promises'
import { retrieve, store } from '../harness/http-api.ts'
import type { Host } from '../harness/runtime.ts'
import type { Story } from '../harness/scenario.ts'
import type { Acknowledged } from './blobs.ts'

/** An acknowledged blob is read within this, through whatever node, by who asks again. */
export const READ_AGAIN_FOR_MS = 10_000
const SIZES = [1, 1000, 65_536, 262_145]
/** Between two operations of one writer or reader: load, not a flood. */
const PACE_MS = 150
const READERS = 2

/** What came of it. */
export interface LoadReport {
  writes: number
  /** Writes that were not acknowledged, by what was answered. */
  refused: Record<string, number>
  reads: number
  /** Reads that were answered at the second try or later. */
  readAgain: number
  slowestReadMs: number
  /** Acknowledged, and not read within READ_AGAIN_FOR_MS. */
  unread: string[]
  /** Other bytes came than were written. */
  wrong: string[]
}

export interface Load {
  /** What was acknowledged so far, oldest first. */
  readonly acknowledged: readonly Acknowledged[]
  stop: () => Promise<LoadReport>
}

/**
 * One writer, and readers of what was acknowledged, each time through a node taken at random of those that run.
 * @param before blobs acknowledged earlier, which are read too
 */
export function startLoad(
  { random, history, signal }: Story,
  running: () => readonly Host[],
  before: readonly Acknowledged[]
): Load {
  const stopping = new AbortController()
  const until = AbortSignal.any([signal, stopping.signal])
  const acknowledged = [...before]
  const report: LoadReport = {
    writes: 0,
    refused: {},
    reads: 0,
    readAgain: 0,
    slowestReadMs: 0,
    unread: [],
    wrong: []
  }

  async function loop(act: () => Promise<void>): Promise<void> {
    while (!until.aborted) {
      await act()
      await delay(PACE_MS, undefined, { signal: until }).catch(() => {})
    }
  }

  async function write(chance: Story['random']): Promise<void> {
    const host = chance.one(running())
    const bytes = chance.bytes(chance.one(SIZES))
    const through = host.planned.name
    report.writes += 1
    const answer = await history
      .operation(
        'store',
        { through, bytes: bytes.length },
        async () => await store(host, bytes, signal),
        it => it
      )
      .catch(() => ({ status: 0, cid: undefined }))
    const { status, cid } = answer
    if ((status === 200 || status === 201) && cid !== undefined) acknowledged.push({ cid, bytes, through })
    else report.refused[status] = (report.refused[status] ?? 0) + 1
  }

  async function read(chance: Story['random']): Promise<void> {
    if (acknowledged.length === 0) return
    const { cid, bytes } = chance.one(acknowledged)
    const beganMs = performance.now()
    report.reads += 1
    for (let tries = 1; ; tries++) {
      const from = chance.one(running())
      const fetched = await history
        .operation(
          'retrieve',
          { from: from.planned.name, cid, tries },
          async () => await retrieve(from, cid, signal),
          answer => ({ status: answer.status, bytes: answer.bytes.length })
        )
        .catch(() => null)
      signal.throwIfAborted()
      const tookMs = Math.round(performance.now() - beganMs)
      if (fetched?.status === 200 && fetched.isWhole) {
        if (!fetched.bytes.equals(bytes)) report.wrong.push(cid)
        if (tookMs > READ_AGAIN_FOR_MS) report.unread.push(cid)
        if (tries > 1) report.readAgain += 1
        report.slowestReadMs = Math.max(report.slowestReadMs, tookMs)
        return
      }
      if (tookMs > READ_AGAIN_FOR_MS) {
        report.unread.push(cid)
        return
      }
      await delay(PACE_MS, undefined, { signal })
    }
  }

  const work = (name: string, act: (chance: Story['random']) => Promise<void>): Promise<void> => {
    const chance = random.fork(name)
    return loop(async () => await act(chance))
  }
  const loops = [work('writer', write), ...Array.from({ length: READERS }, (_, n) => work(`reader ${n}`, read))]
  // An end of the story while the load runs is no error of the load's.
  for (const each of loops) each.catch(() => {})
  return {
    acknowledged,
    stop: async () => {
      stopping.abort()
      await Promise.all(loops)
      return report
    }
  }
}
