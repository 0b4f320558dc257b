/** The gateway's database: the only file of the room that loads knex. SQLite, shared by the gateways of one host. */
import { chmod, open } from 'node:fs/promises'
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
import { DATABASE_BUSY_TIMEOUT_MS, DATABASE_SPARED_PART, SQLITE_FLOOR, SWEEP_EVERY_MS } from './constants.ts'
import { openDataDir } from './data-dir.ts'
import { DatabaseDriverError, DatabaseVersionError } from './errors.ts'
import { type ApiKeys, createApiKeys } from './store/api-keys.ts'
import { type Apps, createApps } from './store/apps.ts'
import { type AuthRows, createAuthRows } from './store/auth.ts'
import { type AuthReader, createAuthReader } from './store/auth-reader.ts'
import { openMasterKey } from './store/master-key.ts'
import { createRequestLog, type RequestLog } from './store/request-log.ts'
import { createSealer, type Sealer } from './store/seal.ts'
import { sealOldValues } from './store/seal-old.ts'
import { createSessions } from './store/session.ts'
import { createSqliteDriver } from './store/sqlite.ts'
import { createStatements } from './store/statements.ts'
import { createSweeper } from './store/sweeper.ts'
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
  /** The clock that values expire by, ms since 1970. */
  nowMs?: () => number
}

/** The open database. */
export interface Store {
  readonly values: Values
  /** Of this data directory's master key. */
  readonly sealer: Sealer
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
 * Opens `DATA_DIR/gateway.sqlite`, migrated, with the master key of the directory. Several processes may do so at once.
 * @throws DataDirUnusableError, DatabaseDriverError, DatabaseVersionError, what a migration throws, and what `openMasterKey` throws
 */
export async function openStore(options: StoreOptions): Promise<Store> {
  await openDataDir(options.dataDir)
  await makePrivate(join(options.dataDir, DATABASE_FILE))
  const { dataDir, client, log, nowMs = Date.now } = options
  const settings = settingsOf(options)
  const knex = connect(options, settings)
  const driver = await opened(() => createSqliteDriver(knex, client, raw => setUp(raw, client, settings)), knex)
  const statements = createStatements(driver)
  try {
    await checkVersion(knex)
    await migrateAll(knex, log)
    const sealer = createSealer(await openMasterKey(dataDir, statements))
    await sealOldValues({ statements, sealer, log, vacuum: () => vacuum(knex) })
    const apiKeys = createApiKeys(knex, statements)
    await apiKeys.seed(options.apiKeys, options.namespaces)
    await knex.raw(`PRAGMA busy_timeout = ${DATABASE_BUSY_TIMEOUT_MS}`)
    const requests = createRequestLog(statements, {
      onError: error => log.warn({ err: error }, 'rows of the request log were lost')
    })
    const values = createValues({
      statements,
      sealer,
      nowMs,
      maxPages: Math.floor(pagesOf(options.maxMb) * (1 - DATABASE_SPARED_PART))
    })
    const sweeper = createSweeper({
      sweep: values.sweep,
      everyMs: SWEEP_EVERY_MS,
      onError: error => log.warn({ err: error }, 'expired values were not removed: tried again')
    })
    const authReader = createAuthReader(knex, { client, file: join(dataDir, DATABASE_FILE) })
    const sessions = createSessions(knex, client)
    return {
      values,
      sealer,
      apiKeys,
      requests,
      auth: createAuthRows(sessions),
      apps: createApps(sessions, statements),
      authReader,
      ping: async () => {
        await statements.get('SELECT 1 FROM schema_migrations LIMIT 1', [])
      },
      sizeBytes: async () => (await pragma(knex, 'page_count')) * (await pragma(knex, 'page_size')),
      close: async () => {
        await sweeper.close()
        await requests.close()
        await statements.close()
        authReader.close()
        await knex.destroy()
      }
    }
  } catch (error) {
    await statements.close()
    await knex.destroy()
    throw error
  }
}

async function opened<T>(open: () => Promise<T>, knex: Knex): Promise<T> {
  try {
    return await open()
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

function pagesOf(mb: number): number {
  return Math.ceil((mb * BYTES_PER_MB) / PAGE_BYTES)
}

/** What every connection is given. */
function settingsOf({ maxMb }: StoreOptions): string {
  return [
    `PRAGMA busy_timeout = ${OPEN_TIMEOUT_MS}`,
    'PRAGMA journal_mode = WAL',
    // An acknowledged write is on the disk; WAL's default would only be safe from a crash of the process.
    'PRAGMA synchronous = FULL',
    'PRAGMA foreign_keys = ON',
    'PRAGMA trusted_schema = OFF',
    `PRAGMA max_page_count = ${pagesOf(maxMb)}`
  ].join(';\n')
}

/** One knex configuration for both drivers. */
function connect({ dataDir, client, log }: StoreOptions, settings: string): Knex {
  try {
    return knexFactory({
      client,
      connection: { filename: join(dataDir, DATABASE_FILE) },
      useNullAsDefault: true,
      // Errors are logged, and what was bound is tenants' own.
      compileSqlOnError: false,
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

/** Nothing that was deleted is left in the file, nor in the journal that the rebuilding went through. */
async function vacuum(knex: Knex): Promise<void> {
  await knex.raw('VACUUM')
  const [{ busy }] = await knex.raw('PRAGMA wal_checkpoint(TRUNCATE)')
  if (busy !== 0) throw new Error('another process reads the database: its journal cannot be emptied')
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
