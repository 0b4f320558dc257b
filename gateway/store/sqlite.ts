/**
 * SQLite under the hot path. Reads have a connection of their own, which no writer holds up; writes take turns with
 * knex on its one connection: two connections that write in one process would wait for each other in its event loop.
 */
import type { Knex } from 'knex'
import type { DbClient } from '../config.ts'
import { DATABASE_BUSY_TIMEOUT_MS } from '../constants.ts'
import type { Driver, Parameter } from './statements.ts'

/** A connection of better-sqlite3, as far as it is used. */
interface PreparedConnection {
  prepare: (sql: string) => PreparedStatement
}

interface PreparedStatement {
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
  const reading = preparedOn(reader)
  const writing = new WeakMap<PreparedConnection, (sql: string) => PreparedStatement>()
  return {
    all: (sql, parameters) => reading(sql).all(...parameters),
    async writer() {
      const connection: PreparedConnection = await knex.client.acquireConnection()
      const statement = writing.get(connection) ?? preparedOn(connection)
      writing.set(connection, statement)
      return {
        run: (sql, parameters) => statement(sql).run(...parameters).changes,
        release: () => knex.client.releaseConnection(connection)
      }
    },
    close: () => knex.client.destroyRawConnection(reader)
  }
}

function preparedOn(connection: PreparedConnection): (sql: string) => PreparedStatement {
  const statements = new Map<string, PreparedStatement>()
  return sql => {
    const known = statements.get(sql)
    if (known !== undefined) return known
    const statement = connection.prepare(sql)
    statements.set(sql, statement)
    return statement
  }
}

/** For the other driver: slower, and the same. */
export function createKnexDriver(knex: Knex): Driver {
  const bound = (parameters: readonly Parameter[]) => parameters as readonly Knex.RawBinding[]
  return {
    all: async (sql, parameters) => await knex.raw(sql, bound(parameters)),
    async writer() {
      const connection = await knex.client.acquireConnection()
      return {
        async run(sql, parameters) {
          await knex.raw(sql, bound(parameters)).connection(connection)
          const [row] = await knex.raw('SELECT changes() AS changes').connection(connection)
          return row.changes
        },
        release: () => knex.client.releaseConnection(connection)
      }
    },
    close: async () => {}
  }
}
