/** Reading small text files that somebody else may have tampered with. */
import { closeSync, openSync, readSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { SealBrokenError } from './seal.ts'

/** Most bytes of a metadata file; ours have about 500. */
export const META_MAX_BYTES = 16 * 1024

/** The text of a small file. @throws SealBrokenError when it is far too large */
export async function readText(path: string): Promise<string> {
  const file = await open(path, 'r')
  try {
    if ((await file.stat()).size > META_MAX_BYTES) throw new SealBrokenError('meta.json is too large')
    return await file.readFile('utf8')
  } finally {
    await file.close()
  }
}

/** Whether a small file that is in the page cache has just this text; read at once, without leaving the thread. */
export function hasText(path: string, text: Buffer): boolean {
  const file = openSync(path, 'r')
  try {
    // One byte more shows a file that goes on. What comes in parts is read the other way.
    const found = Buffer.allocUnsafe(text.length + 1)
    return readSync(file, found, 0, found.length, 0) === text.length && found.subarray(0, text.length).equals(text)
  } finally {
    closeSync(file)
  }
}
