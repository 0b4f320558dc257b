/** Where damaged copies go: out of the way, kept a while for whoever wants to look, bounded. */
import { lstat, mkdir, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf, FOLDER_MODE } from './durable.ts'

/** Most damaged copies kept; the oldest go first. */
export const QUARANTINE_MAX_ENTRIES = 32

/** Move a folder to `<quarantine>/<name>.<time>`. A folder that is gone already is fine. */
export async function quarantineFolder(from: string, quarantine: string, name: string): Promise<void> {
  await mkdir(quarantine, { recursive: true, mode: FOLDER_MODE })
  for (let attempt = 0; ; attempt += 1) {
    try {
      await rename(from, join(quarantine, `${name}.${Date.now()}-${process.pid}-${attempt}`))
      break
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return
      const taken = errnoOf(error) === 'ENOTEMPTY' || errnoOf(error) === 'EEXIST'
      if (!taken || attempt >= QUARANTINE_MAX_ENTRIES) throw error
    }
  }
  const entries = await readdir(quarantine)
  if (entries.length <= QUARANTINE_MAX_ENTRIES) return
  const dated = await Promise.all(
    entries.map(async entry => ({ entry, at: (await lstat(join(quarantine, entry))).ctimeMs }))
  )
  dated.sort((a, b) => a.at - b.at)
  for (const { entry } of dated.slice(0, dated.length - QUARANTINE_MAX_ENTRIES)) {
    await rm(join(quarantine, entry), { recursive: true, force: true })
  }
}
