/** Files of secrets that the gateways of a data directory share: whole or not at all, durable, for this user only. */
import { randomUUID } from 'node:crypto'
import { link, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Makes the file unless there is one: of several gateways that start at once exactly one makes it. */
export async function makeOnce(path: string, text: string): Promise<void> {
  const draft = await writeBeside(path, text)
  try {
    await link(draft, path)
  } catch (error) {
    // Another gateway was first: what it made is what all have.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  } finally {
    await rm(draft, { force: true })
  }
  await syncFolder(dirname(path))
}

/** Puts the file in the place of the one that is there. */
export async function replaceWhole(path: string, text: string): Promise<void> {
  const draft = await writeBeside(path, text)
  try {
    await rename(draft, path)
  } catch (error) {
    await rm(draft, { force: true })
    throw error
  }
  await syncFolder(dirname(path))
}

/** On the disk before it has its name: nobody reads half of it, and nothing is sealed with a secret that is lost. */
async function writeBeside(path: string, text: string): Promise<string> {
  const draft = `${path}.${randomUUID()}`
  try {
    const file = await open(draft, 'wx', 0o600)
    try {
      await file.writeFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
  } catch (error) {
    await rm(draft, { force: true })
    throw error
  }
  return draft
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
