/** Reading small text files that somebody else may have tampered with. */
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
