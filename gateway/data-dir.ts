/** The folder that all of a host's gateways write to. */
import { access, constants, mkdir } from 'node:fs/promises'
import { resolve } from 'node:path'
import { DataDirUnusableError } from './errors.ts'

/** Makes it, for this user only, unless it is there. @throws DataDirUnusableError where nothing can be made in it */
export async function openDataDir(dataDir: string): Promise<void> {
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o700 })
    await access(dataDir, constants.W_OK | constants.X_OK)
  } catch (error) {
    throw new DataDirUnusableError(dataDir, error)
  }
}

/**
 * Has SQLite put its temporary files there: a rebuild of the database makes one of its size, and elsewhere there may be a
 * small disk in memory, a read-only one, or one that others read. To be called before the first database is opened.
 */
export function keepTemporaryFilesIn(dataDir: string): void {
  process.env.SQLITE_TMPDIR = resolve(dataDir)
}
