/**
 * Transactions that look and then decide, with statements prepared once. They take turns with knex on its one connection:
 * two connections that write in one process would wait for each other in its event loop.
 */
import type Sqlite from 'better-sqlite3'
import type { Knex } from 'knex'
import type { DbClient } from '../config.ts'
import { preparing } from './prepared.ts'

export type Cell = string | number | null | Uint8Array
export type Row = Record<string, unknown>

/** One transaction. `sql` is a constant of the program: it is prepared and kept. */
export interface Session {
  /** The first row. */
  get: (sql: string, ...cells: Cell[]) => Promise<Row | undefined>
  all: (sql: string, ...cells: Cell[]) => Promise<Row[]>
  /** Rows changed. */
  run: (sql: string, ...cells: Cell[]) => Promise<number>
}

export interface Sessions {
  /**
   * All of the work or, when it throws, nothing of it; on the disk when it resolves. What comes in one turn of the event
   * loop is one commit, one work after the other. The work waits for nothing but the session: everybody else's writes
   * wait for it.
   */
  transaction: <T>(work: (session: Session) => Promise<T>, options?: TransactionOptions) => Promise<T>
}

export interface TransactionOptions {
  /** false: what a crash of the process leaves, and a power cut may take. */
  isDurable?: boolean
}

interface Waiting {
  isDurable: boolean
  /** Runs in its savepoint; how it went is told when everything is committed. */
  run: (session: Session) => Promise<{ settle: () => void }>
  reject: (error: unknown) => void
}

/** Works of one commit. */
const GROUP_MAX = 64

export function createSessions(knex: Knex, client: DbClient): Sessions {
  const prepared = new WeakMap<Sqlite.Database, Session>()
  const queue: Waiting[] = []
  let isRunning = false

  function sessionOn(connection: unknown): Session {
    if (client !== 'better-sqlite3') return throughKnex(knex, connection)
    const raw = connection as Sqlite.Database
    const known = prepared.get(raw) ?? preparedOn(raw)
    prepared.set(raw, known)
    return known
  }

  async function runAll(): Promise<void> {
    isRunning = true
    while (queue.length > 0) {
      // The whole turn first: what it brings goes into this commit.
      await new Promise<void>(resolve => setImmediate(resolve))
      const group = queue.splice(0, GROUP_MAX)
      try {
        const connection: unknown = await knex.client.acquireConnection()
        try {
          const done = await commit(sessionOn(connection), group)
          for (const { settle } of done) settle()
        } finally {
          await knex.client.releaseConnection(connection)
        }
      } catch (error) {
        for (const { reject } of group) reject(error)
      }
    }
    isRunning = false
  }

  return {
    transaction<T>(work: (session: Session) => Promise<T>, { isDurable = true }: TransactionOptions = {}) {
      return new Promise<T>((resolve, reject) => {
        const run = async (session: Session) => {
          const result = await work(session)
          return { settle: () => resolve(result) }
        }
        queue.push({ isDurable, run, reject })
        if (!isRunning) void runAll()
      })
    }
  }
}

/** One transaction, each work in a savepoint. @throws when it is not committed; then nothing of any work is kept */
async function commit(session: Session, group: readonly Waiting[]): Promise<Array<{ settle: () => void }>> {
  const isDurable = group.some(waiting => waiting.isDurable)
  if (!isDurable) await session.run('PRAGMA synchronous = NORMAL')
  try {
    await session.run('BEGIN IMMEDIATE')
    try {
      const done: Array<{ settle: () => void }> = []
      for (const { run, reject } of group) {
        await session.run('SAVEPOINT work')
        try {
          done.push(await run(session))
        } catch (error) {
          // Fails where SQLite has rolled everything back by itself (a full disk): then it is everybody's failure.
          await session.run('ROLLBACK TO work')
          done.push({ settle: () => reject(error) })
        }
        await session.run('RELEASE work')
      }
      await session.run('COMMIT')
      return done
    } catch (error) {
      await session.run('ROLLBACK').catch(() => undefined)
      throw error
    }
  } finally {
    // The connection is knex's too.
    if (!isDurable) await session.run('PRAGMA synchronous = FULL')
  }
}

function preparedOn(connection: Sqlite.Database): Session {
  const statement = preparing(sql => connection.prepare(sql))
  return {
    get: async (sql, ...cells) => statement(sql).get(...cells) as Row | undefined,
    all: async (sql, ...cells) => statement(sql).all(...cells) as Row[],
    run: async (sql, ...cells) => statement(sql).run(...cells).changes
  }
}

function throughKnex(knex: Knex, connection: unknown): Session {
  const ask = async (sql: string, cells: readonly Cell[]) =>
    (await knex.raw(sql, cells as readonly Knex.RawBinding[]).connection(connection)) as Row[]
  return {
    get: async (sql, ...cells) => (await ask(sql, cells))[0],
    all: (sql, ...cells) => ask(sql, cells),
    async run(sql, ...cells) {
      await ask(sql, cells)
      return Number((await ask('SELECT changes() AS changes', []))[0]?.changes)
    }
  }
}
