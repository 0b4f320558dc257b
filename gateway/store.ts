/** The gateway's database: the only file of the room that loads knex. SQLite, shared by the gateways of one host. */
import { chmod, mkdir, open } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import knexFactory, { type Knex } from 'knex'
import {
  type CallbackConnection,
  databaseOf,
  migrate,
  migrationsFolder,
  type SyncConnection
} from '../migrations/index.ts'
import type { Log } from '../node/index.ts'
import type { DbClient, SeededKey } from './config.ts'
import { DATABASE_BUSY_TIMEOUT_MS, SQLITE_FLOOR } from './constants.ts'
import { DatabaseDriverError, DatabaseVersionError } from './errors.ts'
import { type ApiKeys, createApiKeys } from './store/api-keys.ts'
import { type Apps, createApps } from './store/apps.ts'
import { type AuthRows, createAuthRows } from './store/auth.ts'
import { type AuthReader, createAuthReader } from './store/auth-reader.ts'
import { createRequestLog, type RequestLog } from './store/request-log.ts'
import { createSessions } from './store/session.ts'
import { createValues, type Values } from './store/values.ts'

const DATABASE_FILE = 'gateway.sqlite'
const BYTES_PER_MB = 1024 * 1024
const PAGE_BYTES = 4096
/** Longest wait for the other gateways of the host while a connection is set up: one of them may be migrating. */
const OPEN_TIMEOUT_MS = 15_000
/** Between two tries to set a connection up. */
const OPEN_RETRY_MS = 20

export interface StoreOptions {
  dataDir: string
  client: DbClient
  /** The file may grow to here, MiB; a write beyond is answered 507. */
  maxMb: number
  /** Keys of the configuration; see `ApiKeys.seed`. */
  apiKeys: readonly SeededKey[]
  /** Namespaces that exist although no key names them. */
  namespaces: readonly string[]
  log: Log
}

/** The open database. */
export interface Store {
  readonly values: Values
  readonly apiKeys: ApiKeys
  readonly requests: RequestLog
  /** What logins write. */
  readonly auth: AuthRows
  readonly apps: Apps
  /** What every request asks about its credential. */
  readonly authReader: AuthReader
  /** Rejects when the database does not answer. */
  ping: () => Promise<void>
  sizeBytes: () => Promise<number>
  /** Writes what waits and closes the file. */
  close: () => Promise<void>
}

/**
 * Opens `DATA_DIR/gateway.sqlite`, migrated. Several processes may do so at once.
 * @throws DatabaseDriverError, DatabaseVersionError, and what a migration throws
 */
export async function openStore(options: StoreOptions): Promise<Store> {
  await mkdir(options.dataDir, { recursive: true, mode: 0o700 })
  await makePrivate(join(options.dataDir, DATABASE_FILE))
  const knex = connect(options)
  try {
    await checkVersion(knex)
    await migrateAll(knex, options.log)
    const apiKeys = createApiKeys(knex)
    await apiKeys.seed(options.apiKeys, options.namespaces)
    await knex.raw(`PRAGMA busy_timeout = ${DATABASE_BUSY_TIMEOUT_MS}`)
    const authReader = createAuthReader(knex, { client: options.client, file: join(options.dataDir, DATABASE_FILE) })
    const sessions = createSessions(knex, options.client)
    const requests = createRequestLog(knex, {
      onError: error => options.log.warn({ err: error }, 'rows of the request log were lost')
    })
    return {
      values: createValues(knex),
      apiKeys,
      requests,
      auth: createAuthRows(sessions),
      apps: createApps(sessions),
      authReader,
      ping: async () => {
        await knex.raw('SELECT 1 FROM schema_migrations LIMIT 1')
      },
      sizeBytes: async () => (await pragma(knex, 'page_count')) * (await pragma(knex, 'page_size')),
      close: async () => {
        await requests.close()
        authReader.close()
        await knex.destroy()
      }
    }
  } catch (error) {
    await knex.destroy()
    throw error
  }
}

/**
 * Tenants' values and hashes of keys are in it: for this user only. SQLite gives the -wal and -shm the file's mode.
 * The folder may be another's (a volume), so its mode is left as it is.
 */
async function makePrivate(path: string): Promise<void> {
  try {
    // Only where there is none: closing a file drops the locks this process holds on it (fcntl).
    await (await open(path, 'wx', 0o600)).close()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  for (const file of [path, `${path}-wal`, `${path}-shm`]) {
    try {
      await chmod(file, 0o600)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      // ENOENT: not there yet. EPERM: made by another user, who shares it with us.
      if (code !== 'ENOENT' && code !== 'EPERM') throw error
    }
  }
}

/** One knex configuration for both drivers. */
function connect({ dataDir, client, maxMb, log }: StoreOptions): Knex {
  const settings = [
    `PRAGMA busy_timeout = ${OPEN_TIMEOUT_MS}`,
    'PRAGMA journal_mode = WAL',
    // An acknowledged write is on the disk; WAL's default would only be safe from a crash of the process.
    'PRAGMA synchronous = FULL',
    'PRAGMA foreign_keys = ON',
    'PRAGMA trusted_schema = OFF',
    `PRAGMA max_page_count = ${Math.ceil((maxMb * BYTES_PER_MB) / PAGE_BYTES)}`
  ].join(';\n')
  try {
    return knexFactory({
      client,
      connection: { filename: join(dataDir, DATABASE_FILE) },
      useNullAsDefault: true,
      // knex would write to stdout, where nothing but the ready line belongs.
      log: {
        warn: message => log.warn(String(message)),
        error: message => log.error(String(message)),
        deprecate: message => log.debug(String(message)),
        debug: message => log.debug(String(message))
      },
      pool: {
        afterCreate: (connection: RawConnection, done: (error: Error | null, connection: RawConnection) => void) => {
          setUp(connection, client, settings).then(
            () => done(null, connection),
            (error: Error) => done(error, connection)
          )
        }
      }
    })
  } catch (error) {
    throw new DatabaseDriverError(client, error)
  }
}

/** What both drivers' connections have in common; `sqlite3` answers by callback. */
interface RawConnection {
  exec: (sql: string, done?: (error: Error | null) => void) => void
}

/**
 * Applies the settings to a new connection. Two gateways that switch a new file to WAL at one time would wait for each other, so
 * SQLite refuses one of them at once, whatever its busy timeout: that one tries again.
 */
async function setUp(connection: RawConnection, client: DbClient, settings: string): Promise<void> {
  const deadline = performance.now() + OPEN_TIMEOUT_MS
  for (;;) {
    try {
      if (client !== 'sqlite3') return connection.exec(settings)
      return await new Promise<void>((resolve, reject) => {
        connection.exec(settings, error => (error === null ? resolve() : reject(error)))
      })
    } catch (error) {
      const { code } = error as { code?: string }
      if (code !== 'SQLITE_BUSY' || performance.now() > deadline) throw error
    }
    await delay(OPEN_RETRY_MS)
  }
}

async function migrateAll(knex: Knex, log: Log): Promise<void> {
  const connection: SyncConnection | CallbackConnection = await knex.client.acquireConnection()
  try {
    await migrate(databaseOf(connection), { folder: migrationsFolder, log })
  } finally {
    await knex.client.releaseConnection(connection)
  }
}

async function checkVersion(knex: Knex): Promise<void> {
  const [row] = await knex.raw('SELECT sqlite_version() AS version')
  const found = String(row.version)
  if (found.localeCompare(SQLITE_FLOOR, 'en', { numeric: true }) < 0)
    throw new DatabaseVersionError(found, SQLITE_FLOOR)
}

async function pragma(knex: Knex, name: 'page_count' | 'page_size'): Promise<number> {
  const [row] = await knex.raw(`PRAGMA ${name}`)
  return Number(row[name])
}
