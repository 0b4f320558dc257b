/**
 * Room kept for what frees room: a deletion is a record too, and on a full disk it could not be written. The file is given up
 * when a deletion meets a full disk, and made again before anything else is written. Random bytes, as a file system that
 * compresses would keep no room for zeros.
 */
import { randomBytes } from 'node:crypto'
import { rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Log } from '../../log.ts'
import { isDiskFull, writeSynced } from '../durable.ts'

export const RESERVE_NAME = 'reserve'

export interface Reserve {
  /** Have it there. @throws the disk's error when there is no room for it; any other is logged, and it is done without */
  make: () => Promise<void>
  /** Give its room away. */
  drop: () => Promise<void>
}

export function createReserve(init: { folder: string; bytes: number; log: Log }): Reserve {
  const { folder, bytes, log } = init
  const path = join(folder, RESERVE_NAME)
  let isThere = false
  let running: Promise<void> = Promise.resolve()

  async function make(): Promise<void> {
    try {
      if ((await stat(path).catch(() => null))?.size !== bytes) {
        await rm(path, { force: true })
        await writeSynced(path, randomBytes(bytes))
      }
      isThere = true
    } catch (error) {
      if (!isDiskFull(error)) {
        log.warn({ err: error }, 'no room kept for deletions on a full disk')
        return
      }
      await rm(path, { force: true }).catch(() => {})
      throw error
    }
  }

  /** One after the other: a file that is being given away is not seen as there. */
  function inTurn(work: () => Promise<void>): Promise<void> {
    const mine = running.then(work)
    running = mine.catch(() => {})
    return mine
  }

  return {
    make: () => inTurn(async () => (isThere ? undefined : await make())),
    drop: () =>
      inTurn(async () => {
        isThere = false
        await rm(path, { force: true }).catch(error => log.warn({ err: error }, 'reserve not removed'))
      })
  }
}
