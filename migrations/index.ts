/**
 * The door of the migrations room: the gateway's tables as `NNN_name.sql` files and the runner that applies them.
 * Not an ORM, no way back (a mistake is mended by the next file), and no data changes in TypeScript.
 */
import { fileURLToPath } from 'node:url'

/** Where the gateway's migrations are, both from source and from a bundle in a folder beside `migrations/`. */
export const migrationsFolder = fileURLToPath(new URL('../migrations/', import.meta.url))

export {
  type CallbackConnection,
  databaseOf,
  type MigrationDatabase,
  type SqlValue,
  type SyncConnection
} from './database.ts'
export {
  DuplicateMigrationError,
  MigrationError,
  MigrationFailedError,
  MigrationFolderError,
  MigrationLockError
} from './errors.ts'
export {
  type AppliedMigration,
  LOCK_TIMEOUT_MS,
  type MigrateOptions,
  type MigrationLog,
  type MigrationReport,
  migrate
} from './migrate.ts'
export { type Statement, splitStatements } from './split.ts'
