/**
 * Who runs when: a database has a lane, its jobs one after the other, and a child while it has any. There are few children:
 * one that has nothing to do ends for a lane that needs one, the longest idle first, and where all are busy lanes take turns,
 * those first that have had the least lately. Lanes whose jobs are long never have all children.
 */
import type { Log } from '../../node/index.ts'
import { SqlQueueFullError, SqlUnavailableError } from './errors.ts'
import { SQL_CHILDREN_SPARED, SQL_LONG_MS, SQL_TURN_MS } from './limits.ts'
import type { SqlProcess } from './process.ts'
import { createShares } from './shares.ts'
import type { SqlResult } from './sql.types.ts'
import type { SqlJob } from './wire.types.ts'

export interface LaneLimits {
  /** Children alive at once. */
  childrenMax: number
  /** A child without work ends after it. */
  idleMs: number
  /** Jobs that wait for one database. */
  queueMax: number
  /** How long each of them waits. */
  queueTimeoutMs: number
}

export interface LanesInit {
  startProcess: (database: string) => SqlProcess
  limits: LaneLimits
  log: Log
}

export interface Lanes {
  /**
   * The job's results, in its turn. A signal takes back what has not begun; what has is only not waited for.
   * @throws what the process throws; SqlQueueFullError, SqlUnavailableError
   */
  ask: (database: string, job: SqlJob, deadlineMs: number, signal?: AbortSignal) => Promise<SqlResult[]>
  /** Ends the database's child, after its job. */
  close: (database: string) => Promise<void>
  /** Refuses what waits and ends every child; resolves when they are gone. */
  stop: () => Promise<void>
  waiting: () => number
  pids: () => number[]
}

interface Waiting {
  job: SqlJob
  deadlineMs: number
  resolve: (results: SqlResult[]) => void
  reject: (error: unknown) => void
}

interface Lane {
  readonly database: string
  readonly queue: Waiting[]
  process: SqlProcess | null
  busy: boolean
  /** Another lane waits for its child: it gives that up after its turn. */
  yields: boolean
  /** When it got its child. */
  sinceMs: number
  idleTimer: NodeJS.Timeout | undefined
  lastUsedMs: number
}

export function createLanes({ startProcess, limits, log }: LanesInit): Lanes {
  const lanes = new Map<string, Lane>()
  /** Lanes with jobs and no child, in the order in which they came. */
  let turns: Lane[] = []
  /** Every child that lives, also those that are ending. */
  const processes = new Set<SqlProcess>()
  const shares = createShares()
  const longMax = Math.max(1, limits.childrenMax - SQL_CHILDREN_SPARED)
  let stopped = false

  function laneOf(database: string): Lane {
    const known = lanes.get(database)
    if (known !== undefined) return known
    const lane: Lane = {
      database,
      queue: [],
      process: null,
      busy: false,
      yields: false,
      sinceMs: 0,
      idleTimer: undefined,
      lastUsedMs: 0
    }
    lanes.set(database, lane)
    return lane
  }

  /** Lanes exist while they have something: a name that asks once leaves nothing. */
  function forget(lane: Lane): void {
    if (lane.process === null && !lane.busy && lane.queue.length === 0) {
      if (lanes.get(lane.database) === lane) lanes.delete(lane.database)
      turns = turns.filter(other => other !== lane)
    }
  }

  function next(lane: Lane): void {
    clearTimeout(lane.idleTimer)
    if (lane.busy) return
    if (lane.queue.length === 0) {
      if (lane.process !== null) lane.idleTimer = setTimeout(() => void letGo(lane), limits.idleMs).unref()
      else forget(lane)
      return
    }
    if (lane.process?.isAlive() !== true) {
      lane.process = null
      if (!turns.includes(lane)) turns.push(lane)
      takeTurns()
      return
    }
    void work(lane, lane.process, lane.queue.shift() as Waiting)
  }

  const isLong = ({ database }: Lane) => shares.of(database).longMs > SQL_LONG_MS
  const held = () => [...lanes.values()].filter(lane => lane.process !== null)

  /** Who is next: the one that has had the fewest turns. null: those who wait want children that others like them have. */
  function nextTurn(): Lane | null {
    const mayBeLong = held().filter(isLong).length < longMax
    let least: { lane: Lane; had: number } | null = null
    for (const lane of turns) {
      if (!mayBeLong && isLong(lane)) continue
      const had = Math.floor(shares.of(lane.database).allMs / SQL_TURN_MS)
      if (least === null || had < least.had) least = { lane, had }
    }
    return least?.lane ?? null
  }

  /** Gives children to lanes that wait for one, as long as there may be more. */
  function takeTurns(): void {
    while (turns.length > 0 && !stopped) {
      const lane = nextTurn()
      if (lane === null || processes.size >= limits.childrenMax) {
        makeRoom(lane === null ? isLong : () => true)
        return
      }
      turns = turns.filter(other => other !== lane)
      try {
        start(lane)
      } catch (error) {
        // The host has no process left to give; those who wait for one are told.
        log.warn({ err: error }, 'no process for SQL')
        for (const { reject } of lane.queue.splice(0)) reject(new SqlUnavailableError('no process can be started'))
      }
      next(lane)
    }
  }

  /** One child less of these: the longest idle, else that of a lane which has had its turn. */
  function makeRoom(isOne: (lane: Lane) => boolean): void {
    const all = held()
    const candidates = all.filter(isOne)
    // Some are ending already, and each makes room.
    const ending = processes.size - all.length + candidates.filter(lane => lane.yields).length
    for (let missing = turns.length - ending; missing > 0; missing -= 1) {
      const idle = candidates.filter(lane => !lane.busy && lane.queue.length === 0 && lane.process !== null)
      const [longest] = idle.sort((a, b) => a.lastUsedMs - b.lastUsedMs)
      if (longest !== undefined) {
        void letGo(longest)
        continue
      }
      const busy = candidates.filter(lane => lane.process !== null && !lane.yields)
      const [first] = busy.sort((a, b) => a.lastUsedMs - b.lastUsedMs)
      if (first === undefined) return
      first.yields = true
    }
  }

  function start(lane: Lane): void {
    const started = startProcess(lane.database)
    lane.process = started
    lane.yields = false
    lane.sinceMs = performance.now()
    processes.add(started)
    void started.gone.then(() => {
      processes.delete(started)
      if (lane.process === started) lane.process = null
      next(lane)
      takeTurns()
    })
  }

  async function work(lane: Lane, child: SqlProcess, { job, deadlineMs, resolve, reject }: Waiting): Promise<void> {
    lane.busy = true
    lane.lastUsedMs = performance.now()
    // To start a child is nobody's share.
    await child.started
    const begunMs = performance.now()
    try {
      resolve(await child.run(job, deadlineMs))
    } catch (error) {
      reject(error)
    }
    lane.busy = false
    shares.spent(lane.database, performance.now() - begunMs)
    const turnIsOver = lane.queue.length === 0 || performance.now() - lane.sinceMs >= SQL_TURN_MS
    const isOneTooMany = isLong(lane) && held().filter(isLong).length > longMax
    if ((lane.yields && turnIsOver) || isOneTooMany) await letGo(lane)
    next(lane)
  }

  /** Ends the lane's child. */
  async function letGo(lane: Lane): Promise<void> {
    const child = lane.process
    clearTimeout(lane.idleTimer)
    lane.yields = false
    lane.process = null
    await child?.end()
  }

  function ask(database: string, job: SqlJob, deadlineMs: number, signal?: AbortSignal): Promise<SqlResult[]> {
    signal?.throwIfAborted()
    if (stopped) throw new SqlUnavailableError('the gateway is stopping')
    const lane = laneOf(database)
    if (lane.queue.length >= limits.queueMax) {
      throw new SqlQueueFullError(`${limits.queueMax} requests of this namespace wait already`)
    }
    const { promise, resolve, reject } = Promise.withResolvers<SqlResult[]>()
    const waiting: Waiting = { job, deadlineMs, resolve, reject }
    const giveUp = (error: unknown) => {
      const at = lane.queue.indexOf(waiting)
      if (at >= 0) lane.queue.splice(at, 1)
      reject(error)
      forget(lane)
    }
    const late = () => {
      if (!lane.queue.includes(waiting)) return
      giveUp(new SqlQueueFullError(`this request waited ${limits.queueTimeoutMs} ms for those before it`))
    }
    const timer = setTimeout(late, limits.queueTimeoutMs)
    const onAbort = () => giveUp(signal?.reason)
    signal?.addEventListener('abort', onAbort, { once: true })
    lane.queue.push(waiting)
    next(lane)
    return promise.finally(() => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
    })
  }

  return {
    ask: async (database, job, deadlineMs, signal) => ask(database, job, deadlineMs, signal),
    async close(database) {
      const lane = lanes.get(database)
      if (lane === undefined) return
      if (lane.busy) lane.yields = true
      else await letGo(lane)
    },
    async stop() {
      stopped = true
      for (const lane of lanes.values()) {
        clearTimeout(lane.idleTimer)
        for (const { reject } of lane.queue.splice(0)) reject(new SqlUnavailableError('the gateway is stopping'))
      }
      await Promise.all([...processes].map(child => child.end()))
    },
    waiting: () => [...lanes.values()].reduce((sum, lane) => sum + lane.queue.length, 0),
    pids: () => [...processes].map(({ pid }) => pid)
  }
}
