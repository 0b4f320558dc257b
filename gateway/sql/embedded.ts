/**
 * The engine of this host: one SQLite file for each namespace, opened only by that namespace's child process. A
 * database has a lane: its jobs one after the other, and a child while it has any. There are few children: one that has
 * nothing to do ends for a lane that needs one, the longest idle first, and where all are busy lanes take turns.
 */
import { createHash, randomUUID } from 'node:crypto'
import { type FileHandle, mkdir, open, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import type { Log, Metrics } from '../../node/index.ts'
import { GatewayError } from '../errors.ts'
import { SqlQueueFullError, SqlUnavailableError } from './errors.ts'
import {
  SQL_CHILDREN_MAX,
  SQL_DATABASE_MAX_MB_DEFAULT,
  SQL_DEADLINE_MS,
  SQL_EXPORT_FACTOR,
  SQL_IDLE_MS,
  SQL_MAINTENANCE_DEADLINE_MS,
  SQL_NODE_FLOOR,
  SQL_QUEUE_MAX,
  SQL_QUEUE_TIMEOUT_MS,
  SQL_RESULT_MAX_BYTES,
  SQL_ROWS_MAX,
  SQL_TURN_MS
} from './limits.ts'
import { type SqlProcess, startSqlProcess } from './process.ts'
import type { SqlCopy, SqlEngine, SqlOptions, SqlResult } from './sql.types.ts'
import type { SqlJob } from './wire.types.ts'

export interface EmbeddedLimits {
  childrenMax: number
  idleMs: number
  deadlineMs: number
  maintenanceDeadlineMs: number
  queueMax: number
  queueTimeoutMs: number
  maxRows: number
  maxBytes: number
}

export interface EmbeddedSqlOptions {
  /** Made when it is not there. Gateways of a host may share it. */
  folder: string
  /** A database may grow to here, MiB. */
  maxMb?: number
  metrics: Metrics
  log: Log
  limits?: Partial<EmbeddedLimits>
}

export interface EmbeddedSql extends SqlEngine {
  /** The children alive, for tests and the curious. */
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

const PAGE_BYTES = 4096
const BYTES_PER_MB = 1024 * 1024
const COPIES = 'copies'
const COPY_PIECE_BYTES = 256 * 1024
/** A copy that is older was left by a gateway that was killed. */
const COPY_STALE_MS = 60 * 60 * 1000

const DEFAULTS: EmbeddedLimits = {
  childrenMax: SQL_CHILDREN_MAX,
  idleMs: SQL_IDLE_MS,
  deadlineMs: SQL_DEADLINE_MS,
  maintenanceDeadlineMs: SQL_MAINTENANCE_DEADLINE_MS,
  queueMax: SQL_QUEUE_MAX,
  queueTimeoutMs: SQL_QUEUE_TIMEOUT_MS,
  maxRows: SQL_ROWS_MAX,
  maxBytes: SQL_RESULT_MAX_BYTES
}

/** A database's file: of a digest, so that no name leads anywhere. */
export function sqlFileName(database: string): string {
  return `${createHash('sha256').update(database).digest('hex')}.sqlite`
}

export async function createEmbeddedSql(options: EmbeddedSqlOptions): Promise<EmbeddedSql> {
  const { folder, metrics, log } = options
  const limits = { ...DEFAULTS, ...options.limits }
  const maxBytes = (options.maxMb ?? SQL_DATABASE_MAX_MB_DEFAULT) * BYTES_PER_MB
  const copies = join(folder, COPIES)
  await mkdir(copies, { recursive: true, mode: 0o700 })
  await removeStale(copies)

  const lanes = new Map<string, Lane>()
  /** Lanes with jobs and no child, first come first. */
  let turns: Lane[] = []
  /** Every child that lives, also those that are ending. */
  const processes = new Set<SqlProcess>()
  /** Databases of which a copy is made or read. */
  const copying = new Set<string>()
  const isOld = process.versions.node.localeCompare(SQL_NODE_FLOOR, 'en', { numeric: true }) < 0
  if (isOld) log.warn(`no SQL: it needs Node ${SQL_NODE_FLOOR} or later`)
  let stopped = false

  metrics.gauge(
    'warren_gateway_sql_children',
    'Processes that have a namespace’s database open',
    [],
    () => processes.size
  )
  metrics.gauge('warren_gateway_sql_waiting', 'SQL requests that wait for their turn', [], () => {
    let waiting = 0
    for (const lane of lanes.values()) waiting += lane.queue.length
    return waiting
  })
  const outcomes = metrics.counter('warren_gateway_sql_requests_total', 'SQL requests by how they ended', ['code'])

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

  /** Gives children to lanes that wait for one, as long as there may be more. */
  function takeTurns(): void {
    while (turns.length > 0 && !stopped) {
      if (processes.size >= limits.childrenMax) {
        makeRoom()
        return
      }
      const lane = turns.shift() as Lane
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

  /** One child less: the longest idle, else that of a lane which has had its turn. */
  function makeRoom(): void {
    const held = [...lanes.values()].filter(lane => lane.process !== null)
    // Some are ending already, and each makes room.
    const ending = processes.size - held.length + held.filter(lane => lane.yields).length
    for (let missing = turns.length - ending; missing > 0; missing -= 1) {
      const idle = held.filter(lane => !lane.busy && lane.queue.length === 0 && lane.process !== null)
      const [longest] = idle.sort((a, b) => a.lastUsedMs - b.lastUsedMs)
      if (longest !== undefined) {
        void letGo(longest)
        continue
      }
      const busy = held.filter(lane => lane.process !== null && !lane.yields)
      const [first] = busy.sort((a, b) => a.lastUsedMs - b.lastUsedMs)
      if (first === undefined) return
      first.yields = true
    }
  }

  function start(lane: Lane): void {
    const started = startSqlProcess({
      path: join(folder, sqlFileName(lane.database)),
      maxPages: Math.max(1, Math.floor(maxBytes / PAGE_BYTES))
    })
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
    try {
      resolve(await child.run(job, deadlineMs))
    } catch (error) {
      reject(error)
    }
    lane.busy = false
    const turnIsOver = lane.queue.length === 0 || performance.now() - lane.sinceMs >= SQL_TURN_MS
    if (lane.yields && turnIsOver) await letGo(lane)
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

  async function ask(database: string, job: SqlJob, deadlineMs: number, options?: SqlOptions): Promise<SqlResult[]> {
    try {
      const results = await waitFor(database, job, deadlineMs, options?.signal)
      outcomes.inc({ code: 'OK' })
      return results
    } catch (error) {
      outcomes.inc({ code: error instanceof GatewayError ? error.code : 'INTERNAL_ERROR' })
      throw error
    }
  }

  function waitFor(database: string, job: SqlJob, deadlineMs: number, signal?: AbortSignal): Promise<SqlResult[]> {
    signal?.throwIfAborted()
    if (stopped) throw new SqlUnavailableError('the gateway is stopping')
    if (isOld) throw new SqlUnavailableError(`it needs Node ${SQL_NODE_FLOOR} or later`)
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

  /** A copy is a file until its reader is done; one for each database, so that slow readers fill no disk. */
  async function copy(database: string, jobOf: (path: string) => SqlJob, options?: SqlOptions): Promise<SqlCopy> {
    if (copying.has(database)) throw new SqlQueueFullError('a copy of this database is being made or read')
    copying.add(database)
    const path = join(copies, randomUUID())
    try {
      options?.signal?.throwIfAborted()
      // Not given up in between: the child would go on and make its file behind our back.
      await ask(database, jobOf(path), limits.maintenanceDeadlineMs)
      options?.signal?.throwIfAborted()
      const file = await open(path, 'r')
      const { size: sizeBytes } = await file.stat()
      // Free with its last piece: whoever has that may ask for the next copy.
      const bytes = Readable.from(
        piecesOf(file, sizeBytes, () => copying.delete(database)),
        { objectMode: false }
      )
      bytes.once('close', () => {
        copying.delete(database)
        file.close().catch((error: Error) => log.warn({ err: error }, 'a copy was not closed'))
      })
      return { sizeBytes, bytes }
    } catch (error) {
      copying.delete(database)
      throw error
    } finally {
      // An open file stays readable; a killed child leaves a part of one.
      await removeCopy(path)
    }
  }

  const forResults = { maxRows: limits.maxRows, maxBytes: limits.maxBytes }
  return {
    async query(database, statement, options) {
      const [result] = await ask(database, { do: 'query', statement, ...forResults }, limits.deadlineMs, options)
      return result as SqlResult
    },
    transaction: (database, statements, options) =>
      ask(database, { do: 'transaction', statements, ...forResults }, limits.deadlineMs, options),
    backup: (database, options) => copy(database, path => ({ do: 'backup', path }), options),
    export: (database, format, options) =>
      copy(database, path => ({ do: 'export', path, format, maxBytes: maxBytes * SQL_EXPORT_FACTOR }), options),
    async restore(database, file, options) {
      if (copying.has(database)) throw new SqlQueueFullError('a copy of this database is being made or read')
      copying.add(database)
      const path = join(copies, randomUUID())
      try {
        await write(path, file)
        options?.signal?.throwIfAborted()
        await ask(database, { do: 'restore', path }, limits.maintenanceDeadlineMs)
      } finally {
        copying.delete(database)
        await removeCopy(path)
      }
    },
    async close(database) {
      const lane = lanes.get(database)
      if (lane === undefined) return
      if (!lane.busy) await letGo(lane)
      else lane.yields = true
    },
    async stop() {
      stopped = true
      for (const lane of lanes.values()) {
        clearTimeout(lane.idleTimer)
        for (const { reject } of lane.queue.splice(0)) reject(new SqlUnavailableError('the gateway is stopping'))
      }
      const ending = [...processes].map(child => child.end())
      await Promise.all(ending)
      log.debug({ children: ending.length }, 'SQL children ended')
    },
    pids: () => [...processes].map(({ pid }) => pid)
  }
}

async function* piecesOf(file: FileHandle, sizeBytes: number, onLast: () => void): AsyncGenerator<Buffer> {
  for (let left = sizeBytes; left > 0; ) {
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(Math.min(left, COPY_PIECE_BYTES)))
    if (bytesRead === 0) throw new Error('a copy is shorter than it was')
    left -= bytesRead
    if (left === 0) {
      // Its room on the disk is free before the next copy may take some.
      await file.close()
      onLast()
    }
    yield buffer.subarray(0, bytesRead)
  }
}

async function write(path: string, bytes: AsyncIterable<Uint8Array>): Promise<void> {
  const file = await open(path, 'wx', 0o600)
  try {
    for await (const piece of bytes) await file.writeFile(piece)
  } finally {
    await file.close()
  }
}

async function removeCopy(path: string): Promise<void> {
  for (const suffix of ['', '-wal', '-shm', '-journal']) await rm(path + suffix, { force: true })
}

async function removeStale(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name)
    const age = await stat(path).then(
      ({ mtimeMs }) => Date.now() - mtimeMs,
      () => 0
    )
    if (age > COPY_STALE_MS) await rm(path, { force: true })
  }
}
