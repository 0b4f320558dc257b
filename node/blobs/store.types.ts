/** What the blob store offers. */
import type { Log } from '../log.ts'
import type { Dag } from './dag-shape.ts'
import type { CompactReport } from './pack/compaction.ts'
import type { PackLimits } from './pack/pack-limits.ts'
import type { PackStats } from './pack/packed-blobs.ts'
import type { ReadRange } from './sealed-file.ts'
import type { StageOptions } from './stage.ts'
import type { StagedBlob } from './staged.ts'

export type { ReadRange } from './sealed-file.ts'
export type { StageOptions } from './stage.ts'
export type { StagedBlob } from './staged.ts'

/** Facts of a stored blob. */
export interface BlobStat {
  cid: string
  sizeBytes: number
  mimeType: string
  createdAtMs: number
}

/** What the index knows of a blob without touching the disk. */
export interface StoredBlob {
  cid: string
  sizeBytes: number
  /** When its file came here, milliseconds since 1970; a copy that was replaced is as young as its replacement. */
  storedAtMs: number
}

/** A stored blob, its metadata checked, ready to be read. */
export interface OpenBlob extends BlobStat {
  /** @throws BlobCorruptError when a chunk does not have its tag; the copy is in quarantine by then */
  read: (range?: ReadRange) => AsyncGenerator<Uint8Array>
  /**
   * The bytes from `offset` to before `end`, at least one and at most SPAN_MAX_BYTES, all of them before the first is
   * given out; in few pieces.
   * @throws BlobCorruptError the same
   */
  span: (offset: number, end: number) => Promise<Uint8Array[]>
  /**
   * The tree of its blocks, held against the CID. Cheap for what `leaves` was kept of; else the whole blob is read,
   * one blob at a time.
   * @throws BlobCorruptError
   */
  dag: (options?: { signal?: AbortSignal | undefined }) => Promise<Dag>
}

/** Counters, kept in memory. `totalSizeBytes` and the others count blob bytes, without the seal's own. */
export interface StoreStats {
  storedBlobs: number
  totalSizeBytes: number
  reservedBytes: number
  capacityBytes: number
  /** Copies set aside as damaged since the start. */
  quarantinedBlobs: number
  /** null: small blobs are in folders like the others. */
  packs: PackStats | null
}

export interface BlobStore {
  /**
   * Take bytes in: sealed to a temporary file while their CID is worked out; nothing plain reaches the disk.
   * @throws PayloadTooLargeError, StorageFullError, BlobEmptyError, CidMismatchError, StoreFailedError; nothing is left
   */
  stage: (source: AsyncIterable<Uint8Array>, options: StageOptions) => Promise<StagedBlob>
  has: (cid: string) => boolean
  stat: (cid: string) => Promise<BlobStat | null>
  /**
   * null when it is not here.
   * @param options.mayRecall what is remembered of an earlier read will do: metadata whose text is still the one that was
   * checked, and that a small file read a moment ago comes from memory
   * @throws BlobCorruptError
   */
  open: (cid: string, options?: { mayRecall?: boolean }) => Promise<OpenBlob | null>
  /** @throws BlobNotFoundError, BlobCorruptError */
  read: (cid: string, range?: ReadRange) => AsyncGenerator<Uint8Array>
  /**
   * Whether there was one. `allowed` is asked once more in the blob's turn, in the moment before it goes: false keeps
   * it, and the answer is false.
   */
  delete: (cid: string, allowed?: () => boolean) => Promise<boolean>
  /** Set a copy aside that its reader found wrong. */
  quarantine: (cid: string, why: string) => Promise<void>
  /** CIDs held now. */
  list: () => Iterable<string>
  /** The same with size and age. */
  entries: () => Iterable<StoredBlob>
  /** Set folders aside that are named like a blob and are none that is served; answers how many there were. */
  setAsideOrphans: () => Promise<number>
  /**
   * Move what lives out of packs with much that is deleted, and remove those; a rate and an amount bound it. One at a time:
   * whoever asks meanwhile waits for that one. null: there are no packs.
   * Nothing is lost by what the disk refuses: the report counts packs that stay because of it.
   */
  compact: (options: { signal: AbortSignal }) => Promise<CompactReport | null>
  stats: () => StoreStats
  /** Called after a copy was set aside; one listener. */
  onQuarantine: (listener: (cid: string) => void) => void
  /** Let open files go; nothing may be stored afterwards. */
  close: () => Promise<void>
}

export interface StoreOptions {
  dataDir: string
  capacityBytes: number
  /** A secret of the node (Identity.deriveSecret); the keys at rest are derived from it. */
  secret: Uint8Array
  /** Whether new small blobs go into packs. What is in packs is read in any case. */
  packSmall?: boolean
  /** Instead of the usual ones. */
  packLimits?: Partial<PackLimits>
  log: Log
}
