/** What the blob service needs of the network, and what it offers to it. The network room implements the first. */
import type { ShardRange } from './shards.ts'

/** An active registered node, this one included. */
export interface BlobMember {
  nodeId: string
  peerId: string
  shards: readonly ShardRange[]
  shardCount: number
  failureGroup: string
  /** Whether it was heard of lately; false is a hint to ask others first. */
  reachable: boolean
}

/** Bytes on their way in, with what their sender said about them. */
export interface RemoteRead {
  /** Size of the whole blob. */
  sizeBytes: number
  mimeType: string
  /** The asked range. */
  bytes: AsyncIterable<Uint8Array>
  /** The same bytes, where all of them are in memory and right; whoever takes these leaves `bytes` alone. */
  pieces?: readonly Uint8Array[]
}

/** The part of the network that blobs use. Every call may be ended by its signal. */
export interface BlobNetwork {
  /** Own peer id. */
  readonly self: string
  members: () => BlobMember[]
  /** Put a replica on a peer; resolves when it is on the peer's disk. `open` may be called again, to resume. */
  replicate: (
    peerId: string,
    blob: { cid: string; sizeBytes: number; mimeType: string; open: (offset: number) => AsyncIterable<Uint8Array> },
    options: { signal: AbortSignal }
  ) => Promise<{ alreadyStored: boolean }>
  /** Hand a blob to a peer as a client would. */
  store: (
    peerId: string,
    blob: { sizeBytes: number; mimeType: string; open: () => AsyncIterable<Uint8Array> },
    options: { signal: AbortSignal }
  ) => Promise<{ cid: string; sizeBytes: number }>
  /** `length: 0` asks only whether the peer has it, and how large it is. */
  retrieve: (
    peerId: string,
    cid: string,
    options: { offset?: number; length?: number; signal: AbortSignal }
  ) => Promise<RemoteRead>
  /** Announce in the DHT that this node has it. */
  provide: (cid: string) => Promise<void>
  /** Peer ids that announced it. */
  findProviders: (cid: string, options: { signal: AbortSignal }) => AsyncIterable<string>
}

/** What the `/bytecave/*` protocols call. `from` is the asking peer: a member is answered from this disk alone. */
export interface BlobHandlers {
  put: (
    source: AsyncIterable<Uint8Array>,
    options: { mimeType?: string; sizeHint?: number; signal?: AbortSignal; from?: string }
  ) => Promise<{ cid: string; sizeBytes: number; replicas?: readonly string[] }>
  putReplica: (
    cid: string,
    mimeType: string,
    source: AsyncIterable<Uint8Array>,
    options: { sizeHint?: number; signal?: AbortSignal; from?: string }
  ) => Promise<{ alreadyStored: boolean }>
  get: (
    cid: string,
    options: { offset?: number; length?: number; signal?: AbortSignal; from?: string }
  ) => Promise<RemoteRead>
}
