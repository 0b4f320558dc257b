/** Copies as files of a folder of their own: none outlives the request it was made for. */
import { randomUUID } from 'node:crypto'
import { type FileHandle, mkdir, open, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import type { SqlCopy } from './sql.types.ts'

const PIECE_BYTES = 256 * 1024
/** A copy that is older was left by a gateway that was killed. */
const STALE_MS = 60 * 60 * 1000

export interface CopyFiles {
  /** A path nothing is at. */
  path: () => string
  /** What is there, removed already; `onLast` is called when its last piece is read, or it is given up. */
  take: (path: string, onLast: () => void) => Promise<SqlCopy>
  write: (path: string, bytes: AsyncIterable<Uint8Array>) => Promise<void>
  /** Also what SQLite puts beside it; nothing there is no error. */
  remove: (path: string) => Promise<void>
}

/** Makes the folder, and clears what was left in it. */
export async function openCopyFiles(folder: string): Promise<CopyFiles> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  await removeStale(folder)
  const remove = async (path: string) => {
    for (const suffix of ['', '-wal', '-shm', '-journal']) await rm(path + suffix, { force: true })
  }
  return {
    path: () => join(folder, randomUUID()),
    async take(path, onLast) {
      const file = await open(path, 'r')
      // An open file stays readable.
      await remove(path)
      const { size: sizeBytes } = await file.stat()
      const bytes = Readable.from(piecesOf(file, sizeBytes, onLast), { objectMode: false })
      bytes.once('close', () => {
        onLast()
        file.close().catch(() => {})
      })
      return { sizeBytes, bytes }
    },
    write,
    remove
  }
}

async function* piecesOf(file: FileHandle, sizeBytes: number, onLast: () => void): AsyncGenerator<Buffer> {
  for (let left = sizeBytes; left > 0; ) {
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(Math.min(left, PIECE_BYTES)))
    if (bytesRead === 0) throw new Error('a copy is shorter than it was')
    left -= bytesRead
    if (left === 0) {
      // Its room on the disk is free before the next copy may take some.
      await file.close()
      onLast()
    }
    yield buffer.subarray(0, bytesRead)
  }
}

async function write(path: string, bytes: AsyncIterable<Uint8Array>): Promise<void> {
  const file = await open(path, 'wx', 0o600)
  try {
    for await (const piece of bytes) await file.writeFile(piece)
  } finally {
    await file.close()
  }
}

async function removeStale(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name)
    const age = await stat(path).then(
      ({ mtimeMs }) => Date.now() - mtimeMs,
      () => 0
    )
    if (age > STALE_MS) await rm(path, { force: true })
  }
}
