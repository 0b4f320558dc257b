/**
 * SQL of the hot path: constant texts, prepared once, and a group commit. Writes that come in one turn of the event loop
 * are one transaction, and each is acknowledged when that is on the disk. Nothing here is SQLite's alone but the driver
 * (`sqlite.ts`), so that an engine over HTTP can take its place.
 */
import { COMMIT_MAX_BYTES, COMMIT_MAX_STATEMENTS } from '../constants.ts'

export type Parameter = string | number | null | Uint8Array

export interface Statement {
  /** A constant of the program: it is prepared and kept. */
  sql: string
  parameters: readonly Parameter[]
}

export interface Statements {
  get: <Row>(sql: string, parameters: readonly Parameter[]) => Promise<Row | null>
  all: <Row>(sql: string, parameters: readonly Parameter[]) => Promise<Row[]>
  /** Rows changed; durable when it resolves. */
  run: (sql: string, parameters: readonly Parameter[]) => Promise<number>
  /** Several as one: all of them or none. Rows changed by each. */
  batch: (statements: readonly Statement[], options?: BatchOptions) => Promise<number[]>
  /** Writes what waits and ends. */
  close: () => Promise<void>
}

export interface BatchOptions {
  /**
   * Default true. false: for what a power cut may take (the end of a process may not), and nobody waits for: a commit of such
   * only does not wait for the disk.
   */
  isDurable?: boolean
}

/** What a database must be able to do. */
export interface Driver {
  /** The first row, as it is committed. */
  get: (sql: string, parameters: readonly Parameter[]) => unknown
  /** Rows as they are committed. */
  all: (sql: string, parameters: readonly Parameter[]) => unknown[] | Promise<unknown[]>
  /** The connection that writes, for nobody else meanwhile. */
  writer: () => Promise<Writer>
  close: () => Promise<void>
}

export interface Writer {
  /** Rows changed. */
  run: (sql: string, parameters: readonly Parameter[]) => number | Promise<number>
  /** Whether the next commits wait for the disk; they do until this says otherwise. */
  setDurable: (isDurable: boolean) => void | Promise<void>
  release: () => void | Promise<void>
}

/** A batch that waits for its commit. */
interface Waiting {
  statements: readonly Statement[]
  sizeBytes: number
  isDurable: boolean
  resolve: (changes: number[]) => void
  reject: (error: unknown) => void
}

export function createStatements(driver: Driver): Statements {
  const queue: Waiting[] = []
  /** The run that empties the queue; null when nothing waits. */
  let committing: Promise<void> | null = null

  async function commitAll(): Promise<void> {
    while (queue.length > 0) {
      // The whole turn first: what it brings goes into this commit.
      await new Promise<void>(resolve => setImmediate(resolve))
      const group = take(queue)
      try {
        await onWriter(group)
      } catch (error) {
        for (const { reject } of group) reject(error)
      }
    }
    committing = null
  }

  async function onWriter(group: readonly Waiting[]): Promise<void> {
    const writer = await driver.writer()
    try {
      if (group.some(waiting => waiting.isDurable)) return await commit(writer, group)
      await writer.setDurable(false)
      try {
        await commit(writer, group)
      } finally {
        // The connection is knex's too.
        await writer.setDurable(true)
      }
    } finally {
      await writer.release()
    }
  }

  function batch(statements: readonly Statement[], { isDurable = true }: BatchOptions = {}): Promise<number[]> {
    return new Promise((resolve, reject) => {
      queue.push({ statements, sizeBytes: sizeOf(statements), isDurable, resolve, reject })
      committing ??= commitAll()
    })
  }

  return {
    get: async <Row>(sql: string, parameters: readonly Parameter[]) =>
      ((await driver.get(sql, parameters)) as Row | undefined) ?? null,
    all: async <Row>(sql: string, parameters: readonly Parameter[]) => (await driver.all(sql, parameters)) as Row[],
    run: async (sql, parameters) => (await batch([{ sql, parameters }]))[0] as number,
    batch,
    async close() {
      await committing
      await driver.close()
    }
  }
}

function take(queue: Waiting[]): Waiting[] {
  let count = 0
  let statements = 0
  let sizeBytes = 0
  for (const waiting of queue) {
    statements += waiting.statements.length
    sizeBytes += waiting.sizeBytes
    if (count > 0 && (statements > COMMIT_MAX_STATEMENTS || sizeBytes > COMMIT_MAX_BYTES)) break
    count += 1
  }
  return queue.splice(0, count)
}

function sizeOf(statements: readonly Statement[]): number {
  let sizeBytes = 0
  for (const { parameters } of statements) {
    for (const parameter of parameters) if (parameter instanceof Uint8Array) sizeBytes += parameter.byteLength
  }
  return sizeBytes
}

/**
 * One transaction for all. When one of them fails, none of it is kept and each has a transaction of its own, so that
 * what one asks is no other's failure. A commit that fails is not tried again (it may have happened), unless the
 * database was full.
 */
async function commit(writer: Writer, group: readonly Waiting[]): Promise<void> {
  const outcome = await transaction(writer, group)
  if (outcome.changes !== null) {
    for (const [index, { resolve }] of group.entries()) resolve(outcome.changes[index] as number[])
    return
  }
  for (const waiting of group) {
    const alone = outcome.mayTryAlone && group.length > 1 ? await transaction(writer, [waiting]) : outcome
    if (alone.changes === null) waiting.reject(alone.error)
    else waiting.resolve(alone.changes[0] as number[])
  }
}

type Outcome = { changes: number[][] } | { changes: null; error: unknown; mayTryAlone: boolean }

async function transaction(writer: Writer, group: readonly Waiting[]): Promise<Outcome> {
  let begun = false
  let done = false
  try {
    await writer.run('BEGIN IMMEDIATE', [])
    begun = true
    const changes: number[][] = []
    for (const { statements } of group) {
      const own: number[] = []
      for (const { sql, parameters } of statements) {
        const changed = writer.run(sql, parameters)
        // Awaited only where there is something to wait for: a turn of microtasks a row is most of its cost.
        own.push(typeof changed === 'number' ? changed : await changed)
      }
      changes.push(own)
    }
    done = true
    await writer.run('COMMIT', [])
    return { changes }
  } catch (error) {
    if (begun) await rollBack(writer)
    return { changes: null, error, mayTryAlone: begun && (!done || codeOf(error) === 'SQLITE_FULL') }
  }
}

async function rollBack(writer: Writer): Promise<void> {
  try {
    await writer.run('ROLLBACK', [])
  } catch {
    // SQLite has rolled back by itself after some errors; then there is nothing left to end.
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error ? (error as { code?: unknown }).code : undefined
}
