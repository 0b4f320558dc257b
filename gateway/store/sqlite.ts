/**
 * SQLite under the hot path. Writes take turns with knex on its one connection: two connections that write in one process
 * would wait for each other in its event loop. Reads are on that connection too, whose cache its own writes keep right;
 * while a transaction of knex is open on it, which they must not see into, they have another.
 */
import type { Knex } from 'knex'
import type { DbClient } from '../config.ts'
import { DATABASE_BUSY_TIMEOUT_MS } from '../constants.ts'
import { preparing } from './prepared.ts'
import type { Driver, Parameter } from './statements.ts'

/** A connection of better-sqlite3, as far as it is used. */
interface PreparedConnection {
  readonly open: boolean
  readonly inTransaction: boolean
  prepare: (sql: string) => PreparedStatement
  exec: (sql: string) => unknown
}

interface PreparedStatement {
  get: (...parameters: readonly Parameter[]) => unknown
  all: (...parameters: readonly Parameter[]) => unknown[]
  run: (...parameters: readonly Parameter[]) => { changes: number }
}

/**
 * @param setUp what every connection is given first
 */
export async function createSqliteDriver(
  knex: Knex,
  client: DbClient,
  setUp: (connection: never) => Promise<void>
): Promise<Driver> {
  return client === 'better-sqlite3' ? await createPreparedDriver(knex, setUp) : createKnexDriver(knex)
}

async function createPreparedDriver(knex: Knex, setUp: (connection: never) => Promise<void>): Promise<Driver> {
  const reader = await knex.client.acquireRawConnection()
  try {
    await setUp(reader as never)
    reader.exec(`PRAGMA query_only = ON; PRAGMA busy_timeout = ${DATABASE_BUSY_TIMEOUT_MS}`)
  } catch (error) {
    await knex.client.destroyRawConnection(reader)
    throw error
  }
  const prepared = new WeakMap<PreparedConnection, (sql: string) => PreparedStatement>()
  const on = (connection: PreparedConnection): ((sql: string) => PreparedStatement) => {
    const known = prepared.get(connection)
    if (known !== undefined) return known
    const statements = preparing(sql => connection.prepare(sql))
    prepared.set(connection, statements)
    return statements
  }
  /** knex's connection, since it was last written on. */
  let own: PreparedConnection | null = null
  const reading = (sql: string) => on(own?.open && !own.inTransaction ? own : reader)(sql)
  return {
    get: (sql, parameters) => reading(sql).get(...parameters),
    all: (sql, parameters) => reading(sql).all(...parameters),
    async writer() {
      const connection: PreparedConnection = await knex.client.acquireConnection()
      own = connection
      const statement = on(connection)
      return {
        run: (sql, parameters) => statement(sql).run(...parameters).changes,
        setDurable: isDurable => {
          connection.exec(durability(isDurable))
        },
        release: () => knex.client.releaseConnection(connection)
      }
    },
    close: () => knex.client.destroyRawConnection(reader)
  }
}

/** In WAL, NORMAL keeps what the process committed when the process ends, and syncs it with the next that is FULL. */
function durability(isDurable: boolean): string {
  return `PRAGMA synchronous = ${isDurable ? 'FULL' : 'NORMAL'}`
}

/** For the other driver: slower, and the same. */
export function createKnexDriver(knex: Knex): Driver {
  const bound = (parameters: readonly Parameter[]) => parameters as readonly Knex.RawBinding[]
  return {
    get: async (sql, parameters) => (await knex.raw(sql, bound(parameters)))[0],
    all: async (sql, parameters) => await knex.raw(sql, bound(parameters)),
    async writer() {
      const connection = await knex.client.acquireConnection()
      return {
        async run(sql, parameters) {
          await knex.raw(sql, bound(parameters)).connection(connection)
          const [row] = await knex.raw('SELECT changes() AS changes').connection(connection)
          return row.changes
        },
        setDurable: async isDurable => {
          await knex.raw(durability(isDurable)).connection(connection)
        },
        release: () => knex.client.releaseConnection(connection)
      }
    },
    close: async () => {}
  }
}
