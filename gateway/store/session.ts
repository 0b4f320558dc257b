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
   * BEGIN IMMEDIATE, so that what is looked at is still so when it is written; COMMIT, or ROLLBACK of everything when the
   * work throws. The work waits for nothing but the session: everybody else's writes wait for it.
   */
  transaction: <T>(work: (session: Session) => Promise<T>) => Promise<T>
}

export function createSessions(knex: Knex, client: DbClient): Sessions {
  const prepared = new WeakMap<Sqlite.Database, Session>()

  function sessionOn(connection: unknown): Session {
    if (client !== 'better-sqlite3') return throughKnex(knex, connection)
    const raw = connection as Sqlite.Database
    const known = prepared.get(raw) ?? preparedOn(raw)
    prepared.set(raw, known)
    return known
  }

  return {
    async transaction(work) {
      const connection: unknown = await knex.client.acquireConnection()
      try {
        const session = sessionOn(connection)
        await session.run('BEGIN IMMEDIATE')
        try {
          const result = await work(session)
          await session.run('COMMIT')
          return result
        } catch (error) {
          // SQLite itself has rolled back already after some errors; then there is nothing left to end.
          await session.run('ROLLBACK').catch(() => undefined)
          throw error
        }
      } finally {
        await knex.client.releaseConnection(connection)
      }
    }
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
