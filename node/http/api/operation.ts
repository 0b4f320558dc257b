/** How one route is described: what it takes and what it answers. The description of all is made of these. */
import { z } from 'zod'

/** What a body holds when it is not JSON. */
export type RawBody = 'bytes' | 'text'

export interface Answer {
  description: string
  /** The body; none when absent. */
  body?: z.ZodType | RawBody
  /** Headers worth naming, with their meaning. */
  headers?: Record<string, string>
}

export interface Operation {
  method: 'get' | 'post' | 'put' | 'delete'
  /** As the router has it: `/retrieve/:cid`. */
  path: string
  summary: string
  tag: 'blobs' | 'replication' | 'node' | 'network' | 'proofs' | 'admin'
  /** Whether it asks for the operator's token. */
  isGuarded?: boolean
  /** Meaning of the members of the path. */
  params?: Record<string, string>
  query?: Record<string, { description: string; schema: z.ZodType }>
  /** Request headers that change the answer. */
  headers?: Record<string, string>
  /** Bodies by content type. */
  body?: Record<string, z.ZodType | 'bytes'>
  /** By status; errors of the one shape need only be named in `errors`. */
  answers: Record<number, Answer>
  /** Codes of errors by status. */
  errors?: Record<number, string[]>
}

/** The one shape of errors. */
export const failure = z
  .object({
    error: z.string().describe('stable code'),
    message: z.string().describe('what happened and what to do'),
    timestamp: z.int().describe('ms since 1970'),
    details: z.record(z.string(), z.unknown()).optional(),
    retryAfter: z.int().optional().describe('seconds; of 429 only')
  })
  .describe('Every answer of status 400 and above')

export const cidText = z.string().describe('CIDv1 of dag-pb, base32: bafybei…')
export const shardRange = z.object({ start: z.int().min(0), end: z.int().min(0) }).describe('both ends included')
export const bytesCount = z.int().min(0).describe('bytes')
export const count = z.int().min(0)
export const timeMs = z.int().min(0).describe('ms since 1970')

/** What whoever asks for part of a list says. */
export const pageQuery = (most: number): NonNullable<Operation['query']> => ({
  offset: { description: 'rows to skip', schema: z.int().min(0).optional() },
  limit: { description: 'most rows', schema: z.int().min(0).max(most).optional() }
})
/** What every page says of itself. */
export const page = { total: count, offset: count, limit: count, hasMore: z.boolean() }
