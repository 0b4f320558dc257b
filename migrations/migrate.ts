import type { MigrationDatabase } from './database.ts'
import { MigrationFailedError, MigrationLockError } from './errors.ts'
import { type MigrationFile, readMigrations } from './files.ts'
import { type Statement, splitStatements } from './split.ts'

/** How long to wait for another process that migrates the same database. */
export const LOCK_TIMEOUT_MS = 30_000

/** The part of a pino logger that is used. */
export interface MigrationLog {
  info(facts: object, message: string): void
  warn(facts: object, message: string): void
}

export interface MigrateOptions {
  /** Folder of `NNN_name.sql` files; the gateway's are `migrationsFolder`. */
  folder: string
  log?: MigrationLog
  /** Only look: report what would run and change nothing. */
  dryRun?: boolean
}

export interface AppliedMigration {
  version: number
  name: string
  statements: number
  durationMs: number
}

export interface MigrationReport {
  /** What this call applied, in order; empty on a dry run. */
  applied: AppliedMigration[]
  /** File names that a dry run would apply, in order; empty otherwise. */
  pending: string[]
  /** What looks wrong and does not stop the start; also logged. */
  warnings: string[]
}

interface RecordedMigration {
  name: string | null
  checksum: string | null
}

const SCHEMA_MIGRATIONS = `CREATE TABLE IF NOT EXISTS schema_migrations (
  version INTEGER PRIMARY KEY,
  applied_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
  name TEXT,
  checksum TEXT
)`

/**
 * Brings a database to the newest schema: runs each file of the folder whose number is not recorded, in order, each
 * with its record in one transaction, behind SQLite's write lock, so that several processes may start at once.
 * @throws MigrationFailedError (nothing of that file remains, earlier files stay), DuplicateMigrationError,
 * MigrationFolderError, MigrationLockError
 */
export async function migrate(database: MigrationDatabase, options: MigrateOptions): Promise<MigrationReport> {
  const files = await readMigrations(options.folder)
  if (options.dryRun === true) {
    const recorded = await readRecorded(database)
    const pending = files.filter(file => !recorded.has(file.version)).map(file => file.name)
    return { applied: [], pending, warnings: warn(files, recorded, options.log) }
  }
  const formerTimeoutMs = await setBusyTimeout(database, LOCK_TIMEOUT_MS)
  try {
    await inTransaction(database, () => prepareBookkeeping(database))
    const warnings = warn(files, await readRecorded(database), options.log)
    const applied: AppliedMigration[] = []
    for (const file of files) {
      const done = await inTransaction(database, () => applyOnce(database, file))
      if (done === null) continue
      options.log?.info(done, `migrated ${file.name}`)
      applied.push(done)
    }
    return { applied, pending: [], warnings }
  } finally {
    await setBusyTimeout(database, formerTimeoutMs)
  }
}

/** Inside the transaction: another process may have run the file while this one waited for the lock. */
async function applyOnce(database: MigrationDatabase, file: MigrationFile): Promise<AppliedMigration | null> {
  const [recorded] = await database.all('SELECT 1 FROM schema_migrations WHERE version = ?', [file.version])
  if (recorded !== undefined) return null
  const startedAtMs = performance.now()
  const statements = splitStatements(file.sql)
  for (const [index, statement] of statements.entries()) {
    if (isBookkeeping(statement)) continue
    try {
      refuseRollback(statement)
      await database.exec(statement.text)
    } catch (error) {
      throw new MigrationFailedError(file.name, index + 1, statement.line, error)
    }
  }
  const record = 'INSERT INTO schema_migrations (version, name, checksum) VALUES (?, ?, ?) RETURNING version'
  await database.all(record, [file.version, file.name, file.checksum])
  const durationMs = Math.round(performance.now() - startedAtMs)
  return { version: file.version, name: file.name, statements: statements.length, durationMs }
}

/** The runner's own business, which files written for other runners carry: BEGIN, COMMIT and their record. */
function isBookkeeping({ words }: Statement): boolean {
  if (['BEGIN', 'COMMIT', 'END'].includes(words[0] ?? '')) return true
  const into = words.indexOf('INTO')
  const isInsert = words[0] === 'REPLACE' || words[0] === 'INSERT'
  return isInsert && into > 0 && (words[into + 1] === 'SCHEMA_MIGRATIONS' || words[into + 3] === 'SCHEMA_MIGRATIONS')
}

/** These would end the transaction that makes a file all or nothing. */
function refuseRollback({ words }: Statement): void {
  if (['ROLLBACK', 'SAVEPOINT', 'RELEASE'].includes(words[0] ?? '')) {
    throw new Error(`${words[0]} is not allowed: each file is one transaction of the runner`)
  }
}

async function prepareBookkeeping(database: MigrationDatabase): Promise<void> {
  await database.exec(SCHEMA_MIGRATIONS)
  // A database of the first gateway has version and applied_at only.
  const columns = (await database.all('PRAGMA table_info(schema_migrations)')).map(column => column.name)
  for (const column of ['name', 'checksum']) {
    if (!columns.includes(column)) await database.exec(`ALTER TABLE schema_migrations ADD COLUMN ${column} TEXT`)
  }
}

async function readRecorded(database: MigrationDatabase): Promise<Map<number, RecordedMigration>> {
  const columns = (await database.all('PRAGMA table_info(schema_migrations)')).map(column => column.name)
  if (columns.length === 0) return new Map()
  const rows = await database.all('SELECT * FROM schema_migrations')
  return new Map(
    rows.map(row => [
      Number(row.version),
      { name: (row.name ?? null) as string | null, checksum: (row.checksum ?? null) as string | null }
    ])
  )
}

function warn(
  files: readonly MigrationFile[],
  recorded: ReadonlyMap<number, RecordedMigration>,
  log: MigrationLog | undefined
): string[] {
  const warnings: string[] = []
  const newest = Math.max(...recorded.keys())
  for (const file of files) {
    const checksum = recorded.get(file.version)?.checksum ?? null
    if (checksum !== null && checksum !== file.checksum) {
      warnings.push(
        `${file.name} was changed after it had been applied; the change does not run: write a new migration`
      )
    }
    if (!recorded.has(file.version) && file.version < newest) {
      warnings.push(`${file.name} is older than the newest applied migration, ${newest}; it runs now, out of order`)
    }
  }
  const versions = new Set(files.map(file => file.version))
  for (const [version, { name }] of recorded) {
    if (versions.has(version)) continue
    warnings.push(`the database has migration ${name ?? version}, which this program does not know: it may be older`)
  }
  for (const warning of warnings) log?.warn({}, warning)
  return warnings
}

async function inTransaction<T>(database: MigrationDatabase, work: () => Promise<T>): Promise<T> {
  try {
    await database.exec('BEGIN IMMEDIATE')
  } catch (error) {
    if (isBusy(error)) throw new MigrationLockError(LOCK_TIMEOUT_MS, error)
    throw error
  }
  try {
    const result = await work()
    await database.exec('COMMIT')
    return result
  } catch (error) {
    // SQLite itself has rolled back already after some errors; then there is nothing left to end.
    await database.exec('ROLLBACK').catch(() => undefined)
    throw error
  }
}

function isBusy(error: unknown): boolean {
  return (
    error instanceof Error &&
    (('code' in error && error.code === 'SQLITE_BUSY') || /database is locked/.test(error.message))
  )
}

async function setBusyTimeout(database: MigrationDatabase, timeoutMs: number): Promise<number> {
  const [former] = await database.all('PRAGMA busy_timeout')
  await database.all(`PRAGMA busy_timeout = ${timeoutMs}`)
  return Number(former?.timeout ?? 0)
}
