/** What the tests of tenants' SQL share: an engine in a folder of its own, and what a killed process leaves. Not for production code. */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createMetrics, silentLog } from '../../node/index.ts'
import { createEmbeddedSql, type EmbeddedLimits, type EmbeddedSql } from './embedded.ts'
import type { SqlArguments, SqlResult } from './sql.types.ts'

export interface TestEngine extends AsyncDisposable {
  readonly engine: EmbeddedSql
  readonly folder: string
  run: (database: string, sql: string, args?: SqlArguments) => Promise<SqlResult>
  /** The error's code, or OK. */
  codeOf: (database: string, sql: string, args?: SqlArguments) => Promise<string>
}

export interface TestEngineOptions {
  folder?: string
  maxMb?: number
  limits?: Partial<EmbeddedLimits>
}

export async function startEngine(options: TestEngineOptions = {}): Promise<TestEngine> {
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'warren-sql-')))
  const engine = await createEmbeddedSql({ ...options, folder, metrics: createMetrics('gateway'), log: silentLog() })
  const run = (database: string, sql: string, args?: SqlArguments) =>
    engine.query(database, args === undefined ? { sql } : { sql, args })
  return {
    engine,
    folder,
    run,
    codeOf: (database, sql, args) => codeOf(run(database, sql, args)),
    async [Symbol.asyncDispose]() {
      await engine.stop()
      if (options.folder === undefined) await rm(folder, { recursive: true, force: true })
    }
  }
}

export async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work
    return 'OK'
  } catch (error) {
    return String((error as { code?: unknown }).code)
  }
}

/** Counts for ever. */
export const RUNAWAY = 'WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c'

/** Whether a process is there and no zombie. */
export async function lives(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null)
  return stat !== null && !/\) [ZX] /.test(stat)
}
