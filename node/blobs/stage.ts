/** Taking bytes in: sealed into a folder of `tmp/` while their CID is worked out, then moved into the store or thrown away. */
import { randomUUID } from 'node:crypto'
import { type FileHandle, mkdir, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import {
  BlobEmptyError,
  CidMismatchError,
  PayloadTooLargeError,
  StorageFullError,
  StoreFailedError
} from '../errors.ts'
import { CidHasher } from './cid.ts'
import { errnoOf, FILE_MODE, FOLDER_MODE, isDiskFull, syncFolder, writeSynced } from './durable.ts'
import { keepLeafDigests } from './leaf-digests.ts'
import type { Quota, Reservation } from './quota.ts'
import { metaText, newBlobKey, type SealSecrets, sealMeta } from './seal.ts'
import { type ReadRange, readSealed, SealedWriter } from './sealed-file.ts'
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
  mimeType?: string | undefined
  /** Refuse bytes that turn out to have another CID. */
  expectedCid?: string | undefined
  signal?: AbortSignal | undefined
}

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

/** What staging needs of the store. */
export interface StageContext {
  tempFolder: string
  secrets: SealSecrets
  quota: Quota
  /** Move the complete folder in; false when the blob is there already. */
  adopt: (cid: string, sizeBytes: number, folder: string) => Promise<boolean>
}

/** Take the bytes of `source` in. @throws see BlobStore.stage */
export async function stageBlob(
  source: AsyncIterable<Uint8Array>,
  options: StageOptions,
  context: StageContext
): Promise<StagedBlob> {
  const { maxBytes, sizeHint = 0, expectedCid, signal } = options
  if (sizeHint > maxBytes) throw new PayloadTooLargeError(maxBytes)
  signal?.throwIfAborted()
  const reservation = context.quota.reserve(sizeHint)
  const folder = join(context.tempFolder, `${TEMP_PREFIX}${randomUUID()}`)
  const key = newBlobKey()
  let file: FileHandle | null = null
  try {
    await onDisk(() => mkdir(folder, { mode: FOLDER_MODE }))
    const data = await onDisk(() => open(join(folder, 'data'), 'wx', FILE_MODE))
    file = data
    const writer = new SealedWriter(data, key)
    const leaves: Uint8Array[] = []
    const hasher = new CidHasher({ onLeaf: digest => leaves.push(digest) })
    for await (const bytes of abortable(source, signal)) {
      if (hasher.sizeBytes + bytes.length > maxBytes) throw new PayloadTooLargeError(maxBytes)
      reservation.growTo(hasher.sizeBytes + bytes.length)
      hasher.update(bytes)
      await onDisk(() => writer.write(bytes))
    }
    const { sizeBytes } = hasher
    if (sizeBytes === 0) throw new BlobEmptyError()
    await onDisk(() => writer.end())
    const cid = hasher.digest()
    if (expectedCid !== undefined && cid !== expectedCid) throw new CidMismatchError(expectedCid, cid)
    const mimeType = cleanMimeType(options.mimeType)
    return stagedBlob({ cid, sizeBytes, mimeType, folder, key, leaves, file: data, reservation, context })
  } catch (error) {
    await file?.close().catch(() => {})
    await rm(folder, { recursive: true, force: true }).catch(() => {})
    reservation.release()
    throw error
  }
}

interface Staged {
  cid: string
  sizeBytes: number
  mimeType: string
  folder: string
  key: Uint8Array
  /** Digests of the leaves. */
  leaves: readonly Uint8Array[]
  file: FileHandle
  reservation: Reservation
  context: StageContext
}

function stagedBlob(staged: Staged): StagedBlob {
  const { cid, sizeBytes, mimeType, folder, key, leaves, file, reservation, context } = staged
  let ended: Promise<{ existed: boolean }> | null = null

  const discard = async (): Promise<{ existed: boolean }> => {
    await file.close().catch(() => {})
    await rm(folder, { recursive: true, force: true }).catch(() => {})
    reservation.release()
    return { existed: false }
  }

  const commit = async (): Promise<{ existed: boolean }> => {
    try {
      const meta = sealMeta(context.secrets, key, { cid, sizeBytes, mimeType, createdAtMs: Date.now() })
      const adopted = await onDisk(async () => {
        await Promise.all([
          file.datasync(),
          writeSynced(join(folder, 'meta.json'), metaText(meta)),
          keepLeafDigests({ folder, sizeBytes, key }, leaves)
        ])
        await syncFolder(folder)
        return await context.adopt(cid, sizeBytes, folder)
      })
      if (!adopted) {
        await discard()
        return { existed: true }
      }
      reservation.keep(sizeBytes)
      await file.close().catch(() => {})
      return { existed: false }
    } catch (error) {
      await discard()
      throw error
    }
  }

  return {
    cid,
    sizeBytes,
    mimeType,
    read: range => readSealed(join(folder, 'data'), key, sizeBytes, range),
    commit: () => {
      ended ??= commit()
      return ended
    },
    discard: async () => {
      ended ??= discard()
      await ended.catch(() => {})
    }
  }
}

/** Give the disk's errors their names. @throws StorageFullError, StoreFailedError */
export async function onDisk<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (isDiskFull(error)) throw new StorageFullError(`the disk answered ${errnoOf(error)}`, { cause: error })
    if (errnoOf(error)?.startsWith('E')) throw new StoreFailedError(error)
    throw error
  }
}

function cleanMimeType(text: string | undefined): string {
  // Visible ASCII and spaces only: it goes back out as a header.
  return text && text.length <= MIME_TYPE_MAX && /^[\x20-\x7e]+$/.test(text) ? text : DEFAULT_MIME_TYPE
}
