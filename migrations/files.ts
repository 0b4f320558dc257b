import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DuplicateMigrationError, MigrationFolderError } from './errors.ts'

export interface MigrationFile {
  /** The number its name starts with. */
  version: number
  /** File name, for example `001_initial_schema.sql`. */
  name: string
  sql: string
  /** SHA-256 of the text with unix line ends, hex. */
  checksum: string
}

/** The number a file name starts with, or null when it is no migration (`abc.sql`, `001.txt`). */
export function versionOf(name: string): number | null {
  const digits = /^(\d+).*\.sql$/i.exec(name)?.[1]
  return digits === undefined ? null : Number(digits)
}

/**
 * Reads a folder's migrations in the order of their numbers; other files and sub-folders are ignored.
 * @throws MigrationFolderError, DuplicateMigrationError
 */
export async function readMigrations(folder: string): Promise<MigrationFile[]> {
  const names = await fileNames(folder)
  const byVersion = Map.groupBy(names, name => versionOf(name) as number)
  const duplicates = [...byVersion.values()].filter(group => group.length > 1)
  if (duplicates.length > 0) throw new DuplicateMigrationError(duplicates)
  const files: MigrationFile[] = []
  for (const [version, [name]] of [...byVersion].sort(([a], [b]) => a - b)) {
    if (!Number.isSafeInteger(version))
      throw new MigrationFolderError(`${name}: its number is too large; use three digits`)
    const sql = await readFile(join(folder, name as string), 'utf8')
    files.push({ version, name: name as string, sql, checksum: checksumOf(sql) })
  }
  return files
}

async function fileNames(folder: string): Promise<string[]> {
  try {
    const entries = await readdir(folder, { withFileTypes: true })
    return entries
      .filter(entry => !entry.isDirectory() && versionOf(entry.name) !== null)
      .map(entry => entry.name)
      .sort()
  } catch (cause) {
    throw new MigrationFolderError(
      `The migrations in ${folder} cannot be read; the folder must be shipped with the program`,
      { cause }
    )
  }
}

function checksumOf(sql: string): string {
  return createHash('sha256').update(sql.replaceAll('\r\n', '\n')).digest('hex')
}
