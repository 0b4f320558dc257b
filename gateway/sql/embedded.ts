/**
 * The engine of this host: one SQLite file for each namespace, opened only by that namespace's child process (`process.ts`);
 * `lanes.ts` says who runs when.
 */
import { createHash } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Log, Metrics } from '../../node/index.ts'
import { GatewayError } from '../errors.ts'
import { openCopyFiles } from './copy-files.ts'
import { SqlQueueFullError, SqlUnavailableError } from './errors.ts'
import { createLanes, type LaneLimits } from './lanes.ts'
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
  SQL_ROWS_MAX
} from './limits.ts'
import { startSqlProcess } from './process.ts'
import type { SqlCopy, SqlEngine, SqlOptions, SqlResult } from './sql.types.ts'
import type { SqlJob } from './wire.types.ts'

export interface EmbeddedLimits extends LaneLimits {
  deadlineMs: number
  maintenanceDeadlineMs: number
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

const PAGE_BYTES = 4096
const BYTES_PER_MB = 1024 * 1024
const COPIES = 'copies'

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
  const maxPages = Math.max(1, Math.floor(maxBytes / PAGE_BYTES))
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const files = await openCopyFiles(join(folder, COPIES))
  const startProcess = (database: string) => startSqlProcess({ path: join(folder, sqlFileName(database)), maxPages })
  const lanes = createLanes({ startProcess, limits, log })
  /** Databases of which a copy is made or read: one each, so that slow readers fill no disk. */
  const copying = new Set<string>()
  const isOld = process.versions.node.localeCompare(SQL_NODE_FLOOR, 'en', { numeric: true }) < 0
  if (isOld) log.warn(`no SQL: it needs Node ${SQL_NODE_FLOOR} or later`)

  const children = 'Processes that have a namespace’s database open'
  metrics.gauge('warren_gateway_sql_children', children, [], () => lanes.pids().length)
  metrics.gauge('warren_gateway_sql_waiting', 'SQL requests that wait for their turn', [], lanes.waiting)
  const outcomes = metrics.counter('warren_gateway_sql_requests_total', 'SQL requests by how they ended', ['code'])

  async function ask(database: string, job: SqlJob, deadlineMs: number, options?: SqlOptions): Promise<SqlResult[]> {
    try {
      if (isOld) throw new SqlUnavailableError(`it needs Node ${SQL_NODE_FLOOR} or later`)
      const results = await lanes.ask(database, job, deadlineMs, options?.signal)
      outcomes.inc({ code: 'OK' })
      return results
    } catch (error) {
      outcomes.inc({ code: error instanceof GatewayError ? error.code : 'INTERNAL_ERROR' })
      throw error
    }
  }

  /** A job on a whole database with a file. It is not given up in between: the child would go on behind our back. */
  async function maintain(database: string, job: SqlJob, options?: SqlOptions): Promise<void> {
    options?.signal?.throwIfAborted()
    await ask(database, job, limits.maintenanceDeadlineMs)
    options?.signal?.throwIfAborted()
  }

  function reserve(database: string): () => void {
    if (copying.has(database)) throw new SqlQueueFullError('a copy of this database is being made or read')
    copying.add(database)
    return () => {
      copying.delete(database)
    }
  }

  async function copy(database: string, jobOf: (path: string) => SqlJob, options?: SqlOptions): Promise<SqlCopy> {
    const release = reserve(database)
    const path = files.path()
    try {
      await maintain(database, jobOf(path), options)
      return await files.take(path, release)
    } catch (error) {
      release()
      // A killed child leaves a part of one.
      await files.remove(path)
      throw error
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
      const release = reserve(database)
      const path = files.path()
      try {
        await files.write(path, file)
        await maintain(database, { do: 'restore', path }, options)
      } finally {
        release()
        await files.remove(path)
      }
    },
    close: lanes.close,
    stop: lanes.stop,
    pids: lanes.pids
  }
}
