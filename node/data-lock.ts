/**
 * One process at a time for a data directory: a second one would sweep the first one's uploads away. The lock is a
 * listening socket of Linux's abstract namespace, named after the directory's inode: it ends with its process, however
 * that ends, and leaves nothing on disk. It does not reach into other containers; on other systems there is none.
 */
import { once } from 'node:events'
import { mkdir, stat } from 'node:fs/promises'
import { createServer } from 'node:net'
import { DataDirTakenError } from './errors.ts'

const FOLDER_MODE = 0o700

/** Take the directory; answers how to let it go. @throws DataDirTakenError */
export async function lockDataDir(dataDir: string): Promise<() => Promise<void>> {
  await mkdir(dataDir, { recursive: true, mode: FOLDER_MODE })
  if (process.platform !== 'linux') return async () => undefined
  const { dev, ino } = await stat(dataDir)
  const server = createServer(socket => socket.destroy())
  server.listen({ path: `\0warren-data-${dev}-${ino}` })
  await once(server, 'listening').catch((error: NodeJS.ErrnoException) => {
    throw error.code === 'EADDRINUSE' ? new DataDirTakenError(dataDir) : error
  })
  server.unref()
  return async () => {
    if (!server.listening) return
    server.close()
    await once(server, 'close')
  }
}
