/** Good copies in the place of damaged ones: fetched from other nodes, verified whole, then kept. */
import type { Log } from '../log.ts'
import type { RemoteBlobs } from './sources.ts'
import type { BlobStore } from './store.types.ts'

/** Most damaged blobs remembered for another try. */
export const UNHEALED_MAX = 4096

export interface Healer {
  /** Have a copy here; one fetch at a time for each CID. @throws BlobNotFoundError and those of the store */
  heal: (cid: string) => Promise<void>
  /** The copy here was lost; it is remembered until a good one came. */
  lost: (cid: string) => void
  isLost: (cid: string) => boolean
  /** How many are lost. */
  readonly count: number
}

export function createHealer(options: {
  store: BlobStore
  remote: RemoteBlobs
  maxBlobBytes: number
  log: Log
  /** Ends everything. */
  signal: AbortSignal
}): Healer {
  const { store, remote, maxBlobBytes, log, signal } = options
  const running = new Map<string, Promise<void>>()
  const unhealed = new Set<string>()

  async function fetch(cid: string): Promise<void> {
    if (!store.has(cid)) {
      const { bytes, sizeBytes, mimeType } = await remote.open(cid, { offset: 0, signal })
      const stage = { maxBytes: maxBlobBytes, sizeHint: sizeBytes, mimeType, expectedCid: cid, signal }
      await (await store.stage(bytes, stage)).commit()
      log.info({ cid }, unhealed.has(cid) ? 'damaged blob replaced by a good copy' : 'blob fetched')
    }
    unhealed.delete(cid)
  }

  return {
    heal: cid => {
      const before = running.get(cid)
      if (before) return before
      const work = fetch(cid).finally(() => running.delete(cid))
      running.set(cid, work)
      return work
    },
    lost: cid => {
      if (unhealed.size < UNHEALED_MAX) unhealed.add(cid)
    },
    isLost: cid => unhealed.has(cid),
    get count() {
      return unhealed.size
    }
  }
}
