/** The folder that all of a host's gateways write to. */
import { access, constants, mkdir } from 'node:fs/promises'
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
