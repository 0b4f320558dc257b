/**
 * The `/bytecave/*` wire protocols: one request a stream. The asker sends a header (frames.ts) and, for store and
 * replicate, the bytes; the answer is a header and, for retrieve, health and proof, bytes. An error is answered as
 * `{ error: { code, message, status } }`.
 */
import * as z from 'zod'
import { ProtocolViolationError, WarrenError } from '../errors.ts'

/** Protocol ids of the ByteCave document; `blob` is what its code called retrieve, `proof` is ours in the same family. */
export const PROTOCOLS = {
  store: '/bytecave/store/1.0.0',
  retrieve: '/bytecave/retrieve/1.0.0',
  blob: '/bytecave/blob/1.0.0',
  replicate: '/bytecave/replicate/1.0.0',
  health: '/bytecave/health/1.0.0',
  proof: '/bytecave/proof/1.0.0'
} as const

const MAX_CID_CHARS = 128
const MAX_MIME_CHARS = 255
/** Longest health report, bytes of JSON. */
export const MAX_HEALTH_BYTES = 512 * 1024
/** Most bytes of a proof's blocks: sixteen leaves, each with three nodes above it, and some room. */
export const PROOF_BLOCKS_MAX_BYTES = 8 * 1024 * 1024
/** Most holders that a store's answer names. */
export const MAX_REPLICAS_TOLD = 64

const size = z.int().min(0)
const transfer = z.string().regex(/^[\w-]{16,64}$/)

/** `transfer` names an upload so that it can go on, with `resume`, on another stream or connection. */
export const storeRequest = z.object({
  mimeType: z.string().max(MAX_MIME_CHARS).optional(),
  /** null: nobody knows; the bytes then come as length-prefixed chunks that end with an empty one. */
  sizeBytes: size.nullable(),
  transfer,
  resume: z.literal(true).optional()
})

export const replicateRequest = z.object({
  cid: z.string().min(1).max(MAX_CID_CHARS),
  mimeType: z.string().max(MAX_MIME_CHARS),
  sizeBytes: size,
  transfer,
  resume: z.literal(true).optional()
})

export const retrieveRequest = z.object({
  cid: z.string().min(1).max(MAX_CID_CHARS),
  offset: size.optional(),
  length: size.optional()
})

/** To a resumed upload: go on from here. */
export const resumeReply = z.object({ offset: size })
export const storeReply = z.object({
  cid: z.string().max(MAX_CID_CHARS),
  sizeBytes: size,
  /** Peer ids known to hold it at this moment; left out by who does not tell. */
  replicas: z.array(z.string().max(128)).max(MAX_REPLICAS_TOLD).optional()
})
export type StoreReply = z.infer<typeof storeReply>
export const replicateReply = z.object({ alreadyStored: z.boolean() })
/** `length` bytes from `offset` on follow. */
export const retrieveReply = z.object({
  sizeBytes: size,
  mimeType: z.string().max(MAX_MIME_CHARS),
  offset: size,
  length: size
})
/** As many bytes of blocks follow; the statement is judged by whoever asked. */
export const proofReply = z.object({
  statement: z.record(z.string(), z.unknown()),
  sizeBytes: size.max(PROOF_BLOCKS_MAX_BYTES)
})
/** As many bytes of JSON follow. */
export const healthReply = z.object({ sizeBytes: size.max(MAX_HEALTH_BYTES) })

/** A peer's words stand in our log and on terminals: no line breaks, no escapes. */
const printable = (text: string): string => text.replace(/\p{Cc}+/gu, ' ')

const errorReply = z.object({
  error: z.object({
    code: z.string().regex(/^[A-Z][A-Z0-9_]{0,63}$/),
    message: z.string().max(2000).transform(printable),
    status: z.int().min(400).max(599).optional()
  })
})
export type ErrorReply = z.infer<typeof errorReply>

const pathSchema = z.object({
  peerId: z.string().max(128),
  path: z.enum(['direct', 'relayed']),
  via: z.string().max(128).optional(),
  addr: z.string().max(512)
})

/** What a node says of itself over `/bytecave/health/1.0.0`. */
export const healthReport = z.object({
  peerId: z.string().max(128),
  nodeId: z.string().max(256),
  status: z.string().max(32),
  storedBlobs: size,
  /** Bytes. */
  totalSize: z.number().min(0),
  /** Seconds. */
  uptime: z.number().min(0),
  failureGroup: z.string().max(256),
  shards: z.array(z.object({ start: size, end: size })).max(1024),
  shardCount: z.int().min(1),
  multiaddrs: z.array(z.string().max(512)).max(256),
  connections: z.array(pathSchema).max(4096)
})
export type HealthReport = z.infer<typeof healthReport>
/** One open connection of a node: straight, or through the relay `via`. */
export type ConnectionPath = z.infer<typeof pathSchema>

/**
 * A header of this shape.
 * @throws ProtocolViolationError naming the first field that is wrong
 */
export function parseHeader<T>(schema: z.ZodType<T>, header: unknown): T {
  const result = schema.safeParse(header)
  if (result.success) return result.data
  const [issue] = result.error.issues
  throw new ProtocolViolationError(`header field ${issue?.path.join('.') || '(all)'}: ${issue?.message}`)
}

/** The peer's error when the header is one, else null. */
export function errorOf(header: Record<string, unknown>): ErrorReply['error'] | null {
  if (!('error' in header)) return null
  return parseHeader(errorReply, header).error
}

/** How an error is told to a peer; what was not thrown on purpose is not described. */
export function toErrorReply(error: unknown): ErrorReply {
  if (error instanceof WarrenError) {
    return { error: { code: error.code, message: error.message.slice(0, 1000), status: error.status } }
  }
  return { error: { code: 'INTERNAL_ERROR', message: 'The node failed; its log says why.', status: 500 } }
}
