/** /v1/storage/*. */
import { z } from 'zod'
import { JSON_BODY_MAX_BYTES, KEY_MAX_BYTES, LIST_LIMIT_MAX, TTL_MAX_S } from '../constants.ts'
import { type Answer, bytesCount, isoTime, type Operation, type QueryField, text } from './operation.ts'

const TAG = 'Key-value storage'

const keyText = z.string().min(1).describe(`at most ${KEY_MAX_BYTES} bytes of UTF-8, no NUL`)
const aKey: QueryField = { description: 'the key', schema: keyText.optional() }
const theKey: QueryField = { description: 'the key', schema: keyText, isRequired: true }
const base64 = z.base64().describe('the bytes')
const cid = z.string().describe('of the blob, for a value over 64 KiB')
const ends = isoTime.describe('when the value is gone; absent: never')
const keyBody = { 'application/json': z.object({ key: keyText }) }
const onKey = { 400: ['KEY_MISSING', 'KEY_INVALID', 'INVALID_REQUEST'] }
const missing = { 404: ['KEY_NOT_FOUND'] }
const conditions = {
  'If-Match': 'entity tags or *: only when the value there is one of these',
  'If-None-Match': 'entity tags or *: only when the value there is none of these'
}
const etag = 'changes with every put of the key'

const stored: Answer = {
  description: 'stored, on the disk',
  headers: { ETag: etag },
  body: z.object({
    status: z.literal('ok'),
    key: keyText,
    size: bytesCount,
    cid: cid.optional(),
    expires_at: ends.optional()
  })
}

const putErrors = {
  ...onKey,
  408: ['BODY_STALLED'],
  412: ['PRECONDITION_FAILED'],
  413: ['BODY_TOO_LARGE'],
  503: ['OVERLOADED', 'DATABASE_BUSY', 'NETWORK_UNAVAILABLE'],
  507: ['STORAGE_FULL']
}
const ttlHeader = { 'X-TTL-Seconds': `1 to ${TTL_MAX_S}: how long the value is kept; absent: for good` }

const headers = { ETag: etag, 'X-Expires-At': 'when the value is gone; absent: never' }
const whole: Answer = {
  description: 'the value',
  headers: { ...headers, 'Accept-Ranges': 'bytes', 'Content-Length': 'bytes' },
  body: {
    'application/octet-stream': 'bytes',
    'application/json': z.object({ key: keyText, value: base64, expires_at: ends.optional() })
  }
}
const readAnswers: Record<number, Answer> = {
  200: whole,
  206: {
    description: 'the range',
    headers: { ...headers, 'Content-Range': 'which bytes' },
    body: { 'application/octet-stream': 'bytes' }
  },
  304: { description: 'the reader has it', headers: { ETag: etag } }
}
const readHeaders = {
  Accept: 'application/json: the value in base64',
  Range: 'one range of bytes',
  'If-Range': 'an entity tag: the range only of this value, else the whole',
  'If-None-Match': 'entity tags the reader has; of GET and HEAD'
}
const readErrors = {
  ...onKey,
  ...missing,
  416: ['RANGE_NOT_SATISFIABLE'],
  500: ['VALUE_UNREADABLE'],
  503: ['OVERLOADED', 'NETWORK_UNAVAILABLE']
}

export const storageOperations: Operation[] = [
  {
    at: ['POST /v1/storage/put', 'PUT /v1/storage/put'],
    tag: TAG,
    summary: 'Put a value, replacing what is there',
    description: `With ?key= the body is the value, raw. Without, it is JSON of at most ${JSON_BODY_MAX_BYTES} bytes.`,
    access: 'key',
    inNamespace: true,
    query: { key: aKey },
    headers: { ...conditions, ...ttlHeader },
    body: {
      'application/octet-stream': 'bytes',
      'application/json': z.object({
        key: keyText,
        value: base64,
        ttl_seconds: z.int().min(1).max(TTL_MAX_S).describe('how long the value is kept').optional()
      })
    },
    answers: { 201: stored },
    errors: putErrors
  },
  {
    at: ['GET /v1/storage/get', 'POST /v1/storage/get'],
    tag: TAG,
    summary: 'The value of a key',
    access: 'key',
    inNamespace: true,
    query: { key: aKey },
    headers: readHeaders,
    body: keyBody,
    isBodyOptional: true,
    answers: readAnswers,
    errors: readErrors
  },
  {
    at: ['POST /v1/storage/delete', 'DELETE /v1/storage/delete'],
    tag: TAG,
    summary: 'Delete a value',
    access: 'key',
    inNamespace: true,
    query: { key: aKey },
    headers: conditions,
    body: keyBody,
    isBodyOptional: true,
    answers: { 200: { description: 'gone', body: z.object({ status: z.literal('ok'), key: keyText }) } },
    errors: { ...onKey, ...missing, 412: ['PRECONDITION_FAILED'], 503: ['OVERLOADED', 'DATABASE_BUSY'] }
  },
  {
    at: ['GET /v1/storage/exists', 'POST /v1/storage/exists'],
    tag: TAG,
    summary: 'Whether a key has a value',
    access: 'key',
    inNamespace: true,
    query: { key: aKey },
    body: keyBody,
    isBodyOptional: true,
    answers: { 200: { description: 'whether', body: z.object({ exists: z.boolean() }) } },
    errors: onKey
  },
  {
    at: ['GET /v1/storage/list'],
    tag: TAG,
    summary: 'Keys in byte order, page by page',
    access: 'key',
    inNamespace: true,
    query: {
      prefix: text('what the keys begin with, every character as itself'),
      limit: { description: 'most keys; 100 if not said', schema: z.int().min(1).max(LIST_LIMIT_MAX).optional() },
      cursor: text('next_cursor of the page before, with the same prefix')
    },
    answers: {
      200: {
        description: 'a page',
        body: z.object({
          keys: z.array(keyText),
          next_cursor: z.string().describe('absent: there are no more').optional()
        })
      }
    },
    errors: { 400: ['KEY_INVALID', 'INVALID_REQUEST'] }
  },
  {
    at: ['GET /v1/storage'],
    tag: TAG,
    summary: 'The value of a key; older form',
    access: 'key',
    inNamespace: true,
    query: { key: theKey },
    headers: readHeaders,
    answers: readAnswers,
    errors: readErrors
  },
  {
    at: ['PUT /v1/storage'],
    tag: TAG,
    summary: 'Put a value; older form',
    access: 'key',
    inNamespace: true,
    query: { key: theKey },
    headers: { ...conditions, ...ttlHeader },
    body: { 'application/octet-stream': 'bytes' },
    answers: { 201: stored },
    errors: putErrors
  }
]
