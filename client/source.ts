/** Where the bytes of a put come from. */
import { open } from 'node:fs/promises'
import { SourceUnreadableError } from './errors.ts'

/**
 * The file's bytes, or those of stdin for `-`. It is opened, and known to be a file, before anybody is asked for anything.
 * @throws SourceUnreadableError, also while it is read
 */
export async function openSource(file: string, stdin: AsyncIterable<Uint8Array>): Promise<AsyncIterable<Uint8Array>> {
  if (file === '-') return stdin
  const handle = await open(file).catch((cause: Error) => {
    throw new SourceUnreadableError(file, cause.message, { cause })
  })
  if ((await handle.stat()).isDirectory()) {
    await handle.close()
    throw new SourceUnreadableError(file, 'it is a folder')
  }
  return handle.createReadStream()
}
