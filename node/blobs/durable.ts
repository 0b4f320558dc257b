/** The few file operations that make bytes survive a power cut, and the errors a disk answers when it is full. */
import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Owner only: sealed data and its metadata are nobody else's business. */
export const FILE_MODE = 0o600
export const FOLDER_MODE = 0o700

/** fsync a folder: makes renames into it, or new names in it, durable. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

/** Write a new small file and fsync it. The folder is not synced. */
export async function writeSynced(path: string, text: string | Uint8Array): Promise<void> {
  const file = await open(path, 'wx', FILE_MODE)
  try {
    await file.writeFile(text)
    await file.datasync()
  } finally {
    await file.close()
  }
}

/**
 * A small file into a folder that has another, new and not synced: both files and the folder are durable when this
 * resolves. The file is there before any of the three syncs begins, so that one commit of a journal can take all of them.
 */
export async function writeLastSynced(path: string, text: string, other: FileHandle): Promise<void> {
  const file = await open(path, 'wx', FILE_MODE)
  try {
    await file.writeFile(text)
    await Promise.all([other.datasync(), file.datasync(), syncFolder(dirname(path))])
  } finally {
    await file.close()
  }
}

/** Put a small file in the place of another, whole or not at all, durable when this resolves. */
export async function replaceFile(path: string, text: string): Promise<void> {
  const temporary = `${path}.tmp`
  await rm(temporary, { force: true })
  try {
    await writeSynced(temporary, text)
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {})
    throw error
  }
  await syncFolder(dirname(path))
}

/** Append all the buffers. `writev` may write less than asked, for one when the disk fills up. */
export async function writeAll(file: FileHandle, buffers: readonly Uint8Array[]): Promise<void> {
  let rest = buffers.filter(buffer => buffer.length > 0)
  while (rest.length > 0) {
    let { bytesWritten } = await file.writev(rest)
    while (rest.length > 0 && bytesWritten >= rest[0]!.length) {
      bytesWritten -= rest[0]!.length
      rest = rest.slice(1)
    }
    if (bytesWritten > 0) rest = [rest[0]!.subarray(bytesWritten), ...rest.slice(1)]
  }
}

/** The system's code of an error (`ENOENT`), or undefined. */
export function errnoOf(error: unknown): string | undefined {
  const code = (error as NodeJS.ErrnoException | null)?.code
  return typeof code === 'string' ? code : undefined
}

/** Whether the disk or the user's disk quota is full. */
export function isDiskFull(error: unknown): boolean {
  const code = errnoOf(error)
  return code === 'ENOSPC' || code === 'EDQUOT'
}

/**
 * fsync of one folder for many callers: those that wait while one runs share the next. A caller is served only by an
 * fsync that began after it asked.
 */
export function sharedFolderSync(path: string): () => Promise<void> {
  let running: Promise<void> | null = null
  let next: Promise<void> | null = null
  const run = (): Promise<void> => {
    const mine = syncFolder(path).finally(() => {
      if (running === mine) running = null
    })
    running = mine
    return mine
  }
  return () => {
    if (next) return next
    if (!running) return run()
    next = running
      .catch(() => {})
      .then(() => {
        next = null
        return run()
      })
    return next
  }
}
