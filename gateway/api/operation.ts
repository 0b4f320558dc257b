/**
 * How one operation of the API is described: what it takes and what it answers. `/openapi.json` and `/docs` are made of
 * these, and a test holds them to the routes that are mounted. A new operation is one entry in the file of its area.
 */
import { z } from 'zod'
import type { Route } from '../http.ts'

/** What a body holds when it is not JSON. */
export type RawBody = 'bytes' | 'text' | 'html'

export interface Answer {
  description: string
  /** The body; none when absent. JSON, or what is said here; several forms by content type. */
  body?: z.ZodType | RawBody | Record<string, z.ZodType | RawBody>
  /** Headers worth naming, with their meaning. */
  headers?: Record<string, string>
}

export interface QueryField {
  description: string
  schema: z.ZodType
  isRequired?: boolean
}

/** Who may ask. */
export type Access = keyof typeof ACCESS

export interface Operation {
  /** Where it is mounted, as the router has it: every row it answers, aliases too. */
  at: ReadonlyArray<`${Route['method']} /${string}`>
  /** Its area, as a person reads it. */
  tag: string
  summary: string
  /** More than the summary, where that is needed. */
  description?: string
  access: Access
  /** Whether it works on the caller's namespace, which `?namespace=` may name. */
  inNamespace?: boolean
  /** Meaning of the members of the path. */
  params?: Record<string, string>
  query?: Record<string, QueryField>
  /** Request headers that change the answer. */
  headers?: Record<string, string>
  /** Bodies by content type; only of methods that have one. */
  body?: Record<string, z.ZodType | RawBody>
  /** Whether it can do without the body. */
  isBodyOptional?: boolean
  /** By status; errors of the one shape need only be named in `errors`. */
  answers: Record<number, Answer>
  /** Codes of errors by status, beside those of its access. */
  errors?: Record<number, readonly string[]>
}

/** What an access asks for, in OpenAPI's words, and the errors of who has not got it. */
export const ACCESS = {
  public: { security: [], errors: {}, words: 'public' },
  key: {
    security: [{ bearer: [] }, { apiKey: [] }],
    errors: { 401: ['API_KEY_MISSING', 'API_KEY_INVALID'] },
    words: 'API key'
  }
} as const satisfies Record<
  string,
  {
    security: ReadonlyArray<Record<string, readonly string[]>>
    errors: Record<number, readonly string[]>
    words: string
  }
>

/** The ways to present a credential, by the names that `ACCESS` has for them. */
export const SECURITY_SCHEMES = {
  bearer: { type: 'http', scheme: 'bearer', description: 'an API key; `ApiKey <key>` and the bare key do too' },
  apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key', description: 'an API key, where Authorization is absent' }
} as const

/** The one shape of errors. */
export const failure = z
  .object({ error: z.string().describe('what happened and what to do'), code: z.string().describe('stable') })
  .describe('Every answer of status 400 and above')

export const bytesCount = z.int().min(0).describe('bytes')
export const count = z.int().min(0)
export const isoTime = z.iso.datetime().describe('UTC')
export const uptime = z.string().describe('as Go prints a duration: 1h2m3s')
export const text = (description: string) => ({ description, schema: z.string().optional() }) satisfies QueryField
