/** Staging a blob that goes into a pack: sealed in memory while it is small, never on disk before it is committed. */
import { BlobEmptyError, CidMismatchError } from '../../errors.ts'
import { CidHasher } from '../cid.ts'
import { onDisk } from '../disk-errors.ts'
import type { Reservation } from '../quota.ts'
import { metaText, newBlobKey, type SealSecrets, sealChunk, sealMeta } from '../seal.ts'
import { readSealedBytes } from '../sealed-file.ts'
import { oneEnd, type StagedBlob } from '../staged.ts'
import type { SealedBlob } from './packed-blobs.ts'

/** What staging needs of the packs. */
export interface SmallBlobs {
  /** Largest blob that goes into a pack, plain bytes. */
  maxBytes: number
  /** Memory for one more, and how to give it back; null when there is none left. */
  takeRoom: () => (() => void) | null
  /** Put it into the log, durable when this resolves; false when the blob is here already. */
  adopt: (cid: string, sizeBytes: number, blob: SealedBlob) => Promise<boolean>
}

/**
 * The first pieces of a source.
 * @returns `isAll` when it ended before there were more than `maxBytes` bytes
 */
export async function headOf(
  source: AsyncGenerator<Uint8Array>,
  maxBytes: number
): Promise<{ pieces: Uint8Array[]; isAll: boolean }> {
  const pieces: Uint8Array[] = []
  for (let bytes = 0; bytes <= maxBytes; ) {
    const next = await source.next()
    if (next.done) return { pieces, isAll: true }
    pieces.push(next.value)
    bytes += next.value.length
  }
  return { pieces, isAll: false }
}

/** Seal all bytes of a small blob. @throws BlobEmptyError, CidMismatchError */
export function stageSmall(init: {
  pieces: readonly Uint8Array[]
  expectedCid: string | undefined
  mimeType: string
  secrets: SealSecrets
  reservation: Reservation
  adopt: SmallBlobs['adopt']
  giveBackRoom: () => void
}): StagedBlob {
  const { pieces, expectedCid, mimeType, secrets, reservation, adopt, giveBackRoom } = init
  const hasher = new CidHasher()
  for (const piece of pieces) hasher.update(piece)
  const { sizeBytes } = hasher
  if (sizeBytes === 0) throw new BlobEmptyError()
  const cid = hasher.digest()
  if (expectedCid !== undefined && cid !== expectedCid) throw new CidMismatchError(expectedCid, cid)
  const key = newBlobKey()
  const data = Buffer.concat(sealChunk(key, 0, true, pieces))

  const discard = async (): Promise<void> => {
    reservation.release()
    giveBackRoom()
  }
  return oneEnd({
    cid,
    sizeBytes,
    mimeType,
    read: (range = {}) => readSealedBytes(data, key, range),
    commit: async () => {
      const meta = Buffer.from(metaText(sealMeta(secrets, key, { cid, sizeBytes, mimeType, createdAtMs: Date.now() })))
      const adopted = await onDisk(() => adopt(cid, sizeBytes, { meta, data }))
      if (adopted) reservation.keep(sizeBytes)
      return { existed: !adopted }
    },
    discard
  })
}
