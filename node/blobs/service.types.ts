/** What the blob service offers to HTTP and to the network. */

import type { Log } from '../log.ts'
import type { Proves } from '../proofs/proves.ts'
import type { Leaving } from './leaving.ts'
import type { BlobHandlers, BlobNetwork, RemoteRead } from './network.types.ts'
import type { ShardRange } from './shards.ts'
import type { BlobStat, BlobStore } from './store.types.ts'

export interface BlobServiceOptions {
  store: BlobStore
  network: BlobNetwork
  /** Shards this node owns now. What is here of others is handed over to their owners, and goes. */
  shards: () => readonly ShardRange[]
  /** Whether `shards` are known yet. */
  shardsAssigned: () => boolean
  shardCount: number
  /** Replicas wanted of every blob, this node's included. */
  replicationFactor: number
  /** Replicas on disk before a store is acknowledged, this node's included; at most the owners there are. */
  quorum: number
  /** Base time of one replication attempt, milliseconds; 10 s for every MiB come on top. */
  timeoutMs: number
  maxBlobBytes: number
  /** Whether the owners of shards are known, this node's own included; nothing is stored or handed over before. */
  membersKnown: () => boolean
  /** CIDs this node neither stores nor reads. Default: none. */
  isBlocked?: (cid: string) => boolean
  /** Kept here whoever owns its shard. Default: nothing is. */
  isPinned?: (cid: string) => boolean
  /** The copies that are about to go, shared with whoever else deletes. Default: nobody else does. */
  leaving?: Leaving
  /** Asked of the owners before a copy is handed over. Default: their word is enough. */
  proves?: Proves | undefined
  log: Log
}

export interface PutOptions {
  /** Asked for when all bytes are here; may be a getter. */
  mimeType?: string | undefined
  /** Bytes announced, reserved at once. */
  sizeHint?: number | undefined
  /** The pieces of the source are given away: nobody looks at them afterwards. */
  isGiven?: boolean | undefined
  signal?: AbortSignal | undefined
  /** Peer that asks; a member does not have it forwarded again. */
  from?: string | undefined
  /** Refuse a foreign shard instead of forwarding it. */
  localOnly?: boolean | undefined
  /** Asked when all bytes are here, before anything is kept or sent on; what it throws refuses them. */
  accept?: ((read: () => AsyncIterable<Uint8Array>) => Promise<void>) | undefined
}

export interface PutResult {
  cid: string
  sizeBytes: number
  /** It was here before. */
  existed: boolean
  /** Peer ids known to hold it at this moment, this node's first if it does. */
  replicas: string[]
}

export interface GetOptions {
  /** Bytes to skip. */
  offset?: number | undefined
  /** Most bytes wanted; undefined: to the end. */
  length?: number | undefined
  signal?: AbortSignal | undefined
  /** Peer that asks; a member, and whoever asks for no bytes, is answered from this disk alone. */
  from?: string | undefined
  localOnly?: boolean | undefined
  /**
   * Up to so many bytes, at most SPAN_MAX_BYTES, may be held in memory at once; a copy here then answers `pieces`, and is
   * opened with what is remembered of it. Default: none.
   */
  holdBytes?: number | undefined
  /** Work out the CID of all the bytes before the first one leaves. */
  verify?: boolean | undefined
}

/** Where a blob's replicas are. */
export interface ReplicationStatus {
  cid: string
  /** Replicas wanted: REPLICATION_FACTOR, or all owners if there are fewer. */
  target: number
  /** Replicas that answered just now. */
  confirmed: number
  complete: boolean
  /** Peer ids of those. */
  nodes: string[]
}

export interface BlobService extends BlobHandlers {
  /**
   * Store bytes. Acknowledged when `quorum` replicas are on disk; the rest of the replicas follow in the background.
   * @throws PayloadTooLargeError, StorageFullError, BlobEmptyError, ReplicationFailedError, ShardMismatchError,
   * ShardOwnerUnavailableError
   */
  put: (source: AsyncIterable<Uint8Array>, options: PutOptions) => Promise<PutResult>
  /** Keep a replica. @throws ShardMismatchError, CidMismatchError and those of the store */
  putReplica: (
    cid: string,
    /** A function is asked when all bytes are here. */
    mimeType: string | (() => string | undefined),
    source: AsyncIterable<Uint8Array>,
    options: { sizeHint?: number; signal?: AbortSignal; from?: string }
  ) => Promise<{ alreadyStored: boolean }>
  /** Read a blob from here, else from whoever has it. @throws BlobNotFoundError, BlobCorruptError */
  get: (cid: string, options: GetOptions) => Promise<RemoteRead>
  /** Size and type, from here, else from whoever has it. @throws BlobNotFoundError */
  stat: (cid: string, options: GetOptions) => Promise<Omit<BlobStat, 'createdAtMs'>>
  /**
   * Have a copy on this disk: at once when it is here, else from whoever has it, verified.
   * @throws BlobNotFoundError, ShardMismatchError, ContentBlockedError and those of the store
   */
  fetch: (cid: string, signal?: AbortSignal) => Promise<void>
  /** Ask the owners now. */
  replication: (cid: string, signal?: AbortSignal) => Promise<ReplicationStatus>
  /** Which of these peers say now that they have it; a peer that is about to drop its copy does not. */
  confirm: (cid: string, peerIds: readonly string[], signal?: AbortSignal) => Promise<string[]>
  /** A pin went: what only it kept here is looked at again. */
  unpinned: (cid: string) => void
  /** Blobs waiting for more replicas. */
  readonly underReplicated: number
  /** Damaged copies that were set aside here and for which no good copy has come yet. */
  readonly unhealed: number
  /** The ranges of this node changed: what is foreign now is handed over. */
  shardsChanged: () => void
  stop: () => Promise<void>
}
