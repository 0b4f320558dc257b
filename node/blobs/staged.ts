/** Bytes taken in but not yet in the store, wherever they wait. */
import type { ReadRange } from './sealed-file.ts'

/** Bytes taken in but not yet in the store. Ends by `commit` or `discard`; both may be called again. */
export interface StagedBlob {
  readonly cid: string
  readonly sizeBytes: number
  readonly mimeType: string
  /** The plain bytes, any range, as often as wanted before the end. */
  read: (range?: ReadRange) => AsyncGenerator<Uint8Array>
  /** Durable in the store when this resolves. @throws StorageFullError, StoreFailedError; nothing is left then */
  commit: () => Promise<{ existed: boolean }>
  discard: () => Promise<void>
}

/**
 * Make sure that a staged blob ends once, whoever asks how often.
 * @param init `discard` lets go of everything that is left, and is called after every commit too
 */
export function oneEnd(init: StagedBlob): StagedBlob {
  let ended: Promise<{ existed: boolean }> | null = null
  const end = async (commits: boolean): Promise<{ existed: boolean }> => {
    try {
      return commits ? await init.commit() : { existed: false }
    } finally {
      await init.discard()
    }
  }
  return {
    ...init,
    commit: () => {
      ended ??= end(true)
      return ended
    },
    discard: async () => {
      ended ??= end(false)
      await ended.catch(() => {})
    }
  }
}
