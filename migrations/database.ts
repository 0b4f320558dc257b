/** A cell that SQLite can hold. */
export type SqlValue = null | number | bigint | string | Uint8Array

/**
 * What a migration needs of an SQLite connection. One connection, used by nobody else meanwhile: transactions are
 * statements on it.
 */
export interface MigrationDatabase {
  /** Runs one statement without a result. */
  exec(sql: string): Promise<void>
  /** Runs one statement and returns its rows. */
  all(sql: string, params?: readonly SqlValue[]): Promise<Record<string, SqlValue>[]>
}

/** A connection of `better-sqlite3` or of `node:sqlite`. */
export interface SyncConnection {
  exec(sql: string): unknown
  prepare(sql: string): { all(...params: SqlValue[]): unknown[] }
}

/** A connection of `sqlite3`. */
export interface CallbackConnection {
  exec(sql: string, done: (error: Error | null) => void): unknown
  all(sql: string, params: readonly SqlValue[], done: (error: Error | null, rows: unknown[]) => void): unknown
}

/**
 * Wraps a raw connection: better-sqlite3, node:sqlite or sqlite3, such as knex hands out by
 * `await knex.client.acquireConnection()` (give it back with `releaseConnection`).
 */
export function databaseOf(connection: SyncConnection | CallbackConnection): MigrationDatabase {
  return isCallbackConnection(connection) ? fromCallbacks(connection) : fromSync(connection)
}

function isCallbackConnection(connection: SyncConnection | CallbackConnection): connection is CallbackConnection {
  return 'all' in connection && typeof connection.all === 'function'
}

function fromSync(connection: SyncConnection): MigrationDatabase {
  return {
    exec: async sql => {
      connection.exec(sql)
    },
    all: async (sql, params = []) => connection.prepare(sql).all(...params) as Record<string, SqlValue>[]
  }
}

function fromCallbacks(connection: CallbackConnection): MigrationDatabase {
  return {
    exec: sql =>
      new Promise((resolve, reject) => {
        connection.exec(sql, error => (error === null ? resolve() : reject(error)))
      }),
    all: (sql, params = []) =>
      new Promise((resolve, reject) => {
        const done = (error: Error | null, rows: unknown[]) =>
          error === null ? resolve(rows as Record<string, SqlValue>[]) : reject(error)
        connection.all(sql, params, done)
      })
  }
}
