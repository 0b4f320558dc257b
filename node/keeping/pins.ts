/** Pins: blobs that this node keeps whatever the collection thinks. `pins.txt` below DATA_DIR. */
import { join } from 'node:path'
import { parseCid } from '../blobs/cid.ts'
import type { BlobService } from '../blobs/service.types.ts'
import type { BlobStore } from '../blobs/store.types.ts'
import { BlobNotFoundError, PinLimitError } from '../errors.ts'
import { openCidList } from './cid-list.ts'

/** Most pins a node keeps; the file is rewritten at each change. */
export const PINS_MAX = 10_000

/** One pin. `sizeBytes` is null while the blob is not here, as after damage until a good copy came. */
export interface Pin {
  cid: string
  /** ISO 8601. */
  pinnedAt: string
  sizeBytes: number | null
}

export interface Pins {
  has: (cid: string) => boolean
  readonly count: number
  /** In the order they came. */
  list: () => Pin[]
  /**
   * Pin a blob, and fetch it first when it is not here. Durable when this resolves; whether the pin is new.
   * @throws BlobNotFoundError, ShardMismatchError, PinLimitError
   */
  add: (cid: string, signal?: AbortSignal) => Promise<boolean>
  /** Durable when this resolves; whether there was one. */
  remove: (cid: string) => Promise<boolean>
}

export async function openPins(options: {
  dataDir: string
  store: BlobStore
  blobs: Pick<BlobService, 'fetch' | 'unpinned'>
}): Promise<Pins> {
  const { dataDir, store, blobs } = options
  const list = await openCidList({
    path: join(dataDir, 'pins.txt'),
    title: 'Pinned blobs. Written by the node; change it by /pin.',
    max: PINS_MAX,
    full: max => new PinLimitError(max),
    checked: true
  })
  const sizes = () => new Map([...store.entries()].map(({ cid, sizeBytes }) => [cid, sizeBytes]))

  return {
    has: list.has,
    get count() {
      return list.size
    },
    list: () => {
      const known = sizes()
      return [...list.entries()].map(([cid, pinnedAt]) => ({ cid, pinnedAt, sizeBytes: known.get(cid) ?? null }))
    },
    add: async (cidText, signal) => {
      const cid = parseCid(cidText)
      await blobs.fetch(cid, signal)
      // From here on the collection sees the pin, and asks for it in the blob's own turn before it deletes.
      const isNew = await list.add(cid, new Date().toISOString())
      if (store.has(cid)) return isNew
      // It went between the two: a pin of nothing would be a promise nobody keeps.
      if (isNew) await list.remove(cid)
      throw new BlobNotFoundError(cid)
    },
    remove: async cidText => {
      const cid = parseCid(cidText)
      const wasPinned = await list.remove(cid)
      if (wasPinned) blobs.unpinned(cid)
      return wasPinned
    }
  }
}
