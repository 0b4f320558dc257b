/**
 * Taking bytes in: sealed into a folder of `tmp/` while their CID is worked out, then moved into the store or thrown away.
 * Where packs are switched on, small ones are staged in memory instead (`pack/stage-small.ts`).
 */
import { type KeyObject, randomUUID } from 'node:crypto'
import { type FileHandle, mkdir, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { BlobEmptyError, CidMismatchError, PayloadTooLargeError } from '../errors.ts'
import { CidHasher } from './cid.ts'
import { onDisk } from './disk-errors.ts'
import { FILE_MODE, FOLDER_MODE, writeLastSynced } from './durable.ts'
import { keepLeafDigests } from './leaf-digests.ts'
import { headOf, type SmallBlobs, stageSmall } from './pack/stage-small.ts'
import type { Quota, Reservation } from './quota.ts'
import { metaText, newBlobKey, type SealSecrets, sealMeta } from './seal.ts'
import { readSealed, SealedWriter } from './sealed-file.ts'
import { oneEnd, type StagedBlob } from './staged.ts'
import { abortable } from './streams.ts'

/** What every folder of ours in `tmp/` begins with; the start sweeps those and nothing else. */
export const TEMP_PREFIX = 'blob-'
/** MIME type of bytes nobody named. */
export const DEFAULT_MIME_TYPE = 'application/octet-stream'
/** Longest MIME type kept, characters. */
export const MIME_TYPE_MAX = 256

export interface StageOptions {
  /** Most bytes accepted. */
  maxBytes: number
  /** Bytes announced; reserved at once. The source may still bring fewer or more. */
  sizeHint?: number | undefined
  /** Looked at when all bytes came: a sender may name it behind them. */
  mimeType?: string | undefined
  /** Refuse bytes that turn out to have another CID. */
  expectedCid?: string | undefined
  /** The pieces of the source are given away: nobody looks at them afterwards, and their memory may be freed at once. */
  isGiven?: boolean | undefined
  signal?: AbortSignal | undefined
}

/** What staging needs of the store. */
export interface StageContext {
  tempFolder: string
  secrets: SealSecrets
  quota: Quota
  /** Move the complete folder in; false when the blob is there already. */
  adopt: (cid: string, sizeBytes: number, folder: string) => Promise<boolean>
  /** Where small ones go; null: each has a folder of its own. */
  small: SmallBlobs | null
}

/** Take the bytes of `source` in. @throws see BlobStore.stage */
export async function stageBlob(
  source: AsyncIterable<Uint8Array>,
  options: StageOptions,
  context: StageContext
): Promise<StagedBlob> {
  const { maxBytes, sizeHint = 0, expectedCid, isGiven, signal } = options
  const { small, secrets } = context
  if (sizeHint > maxBytes) throw new PayloadTooLargeError(maxBytes)
  signal?.throwIfAborted()
  const reservation = context.quota.reserve(sizeHint)
  const mimeType = (): string => cleanMimeType(options.mimeType)
  const bytes = metered(abortable(source, signal), maxBytes, reservation)
  const room = small && sizeHint <= small.maxBytes ? small.takeRoom() : null
  try {
    if (!small || !room) return await stageFile(bytes, { expectedCid, isGiven, mimeType, reservation, context })
    const { pieces, isAll } = await headOf(bytes, small.maxBytes)
    const { adopt } = small
    if (isAll) {
      const known = { pieces, expectedCid, mimeType: mimeType(), secrets, reservation }
      return stageSmall({ ...known, adopt, giveBackRoom: room })
    }
    const staged = await stageFile(followed(pieces, bytes), { expectedCid, isGiven, mimeType, reservation, context })
    room()
    return staged
  } catch (error) {
    await bytes.return(undefined).catch(() => {})
    room?.()
    reservation.release()
    throw error
  }
}

/** The bytes of a source, counted and reserved. */
async function* metered(
  source: AsyncIterable<Uint8Array>,
  maxBytes: number,
  reservation: Reservation
): AsyncGenerator<Uint8Array> {
  let sizeBytes = 0
  for await (const bytes of source) {
    sizeBytes += bytes.length
    if (sizeBytes > maxBytes) throw new PayloadTooLargeError(maxBytes)
    reservation.growTo(sizeBytes)
    yield bytes
  }
}

async function* followed(head: Uint8Array[], rest: AsyncGenerator<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* head
  yield* rest
}

/** Seal the bytes into a folder. Nothing is left of it when this throws. */
async function stageFile(
  source: AsyncIterable<Uint8Array>,
  init: {
    expectedCid: string | undefined
    isGiven: boolean | undefined
    mimeType: () => string
    reservation: Reservation
    context: StageContext
  }
): Promise<StagedBlob> {
  const { expectedCid, isGiven = false, mimeType, reservation, context } = init
  const folder = join(context.tempFolder, `${TEMP_PREFIX}${randomUUID()}`)
  const key = newBlobKey()
  let file: FileHandle | null = null
  try {
    await onDisk(() => mkdir(folder, { mode: FOLDER_MODE }))
    const data = await onDisk(() => open(join(folder, 'data'), 'wx', FILE_MODE))
    file = data
    const writer = new SealedWriter(data, key, { isGiven })
    const leaves: Uint8Array[] = []
    const hasher = new CidHasher({ onLeaf: digest => leaves.push(digest) })
    for await (const bytes of source) {
      hasher.update(bytes)
      await onDisk(() => writer.write(bytes))
    }
    const { sizeBytes } = hasher
    if (sizeBytes === 0) throw new BlobEmptyError()
    // Before the last chunk is sealed, with which its bytes may go.
    const cid = hasher.digest()
    await onDisk(() => writer.end())
    if (expectedCid !== undefined && cid !== expectedCid) throw new CidMismatchError(expectedCid, cid)
    const known = { cid, sizeBytes, mimeType: mimeType(), folder, key, leaves }
    return stagedFile({ ...known, file: data, reservation, context })
  } catch (error) {
    await file?.close().catch(() => {})
    await rm(folder, { recursive: true, force: true }).catch(() => {})
    throw error
  }
}

interface Staged {
  cid: string
  sizeBytes: number
  mimeType: string
  folder: string
  key: KeyObject
  /** Digests of the leaves. */
  leaves: readonly Uint8Array[]
  file: FileHandle
  reservation: Reservation
  context: StageContext
}

function stagedFile(staged: Staged): StagedBlob {
  const { cid, sizeBytes, mimeType, folder, key, leaves, file, reservation, context } = staged
  let isIn = false
  return oneEnd({
    cid,
    sizeBytes,
    mimeType,
    read: range => readSealed(join(folder, 'data'), key, sizeBytes, range),
    commit: async () => {
      const meta = sealMeta(context.secrets, key, { cid, sizeBytes, mimeType, createdAtMs: Date.now() })
      isIn = await onDisk(async () => {
        await keepLeafDigests({ folder, sizeBytes, key }, leaves)
        await writeLastSynced(join(folder, 'meta.json'), metaText(meta), file)
        // It is synced, so how closing it ends says nothing.
        const closed = file.close().catch(() => {})
        return await context.adopt(cid, sizeBytes, folder).finally(() => closed)
      })
      if (isIn) reservation.keep(sizeBytes)
      return { existed: !isIn }
    },
    discard: async () => {
      await file.close().catch(() => {})
      if (!isIn) await rm(folder, { recursive: true, force: true }).catch(() => {})
      reservation.release()
    }
  })
}

function cleanMimeType(text: string | undefined): string {
  // Visible ASCII and spaces only: it goes back out as a header.
  return text && text.length <= MIME_TYPE_MAX && /^[\x20-\x7e]+$/.test(text) ? text : DEFAULT_MIME_TYPE
}
