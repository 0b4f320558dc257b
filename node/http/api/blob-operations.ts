/** The routes of blobs in the description. */
import { z } from 'zod'
import { REPLICATION_PAGE_MAX } from '../blob-json-routes.ts'
import { PAGE_MAX } from '../blob-routes.ts'
import { storeAuthorization } from '../store-authorization.ts'
import { bytesCount, cidText, count, type Operation, page, pageQuery, timeMs } from './operation.ts'

const anyCid = { cid: 'CID of the blob; Qm… and, of small blobs that were stored here, bafk… are other names of it' }
const local = { local: { description: '1: ask no other node', schema: z.literal('1').optional() } }
const verify = { verify: { description: '1: work out the CID first', schema: z.literal('1').optional() } }
const declaredType = {
  contentType: { description: 'class of content, where a node takes only some', schema: z.string().optional() }
}

const replicationState = z.object({
  cid: cidText,
  target: count,
  confirmed: count,
  complete: z.boolean(),
  nodes: z.array(z.string()).describe('peer ids that answered just now')
})
const stored = z.object({
  cid: cidText,
  size: bytesCount,
  encrypted: z.literal(true),
  replicas: z.array(z.string()).describe('peer ids known to have it on disk'),
  success: z.literal(true).optional(),
  timestamp: timeMs.optional(),
  replicationStatus: z.object({ target: count, confirmed: count }).optional()
})
const storeErrors = {
  400: ['BLOB_EMPTY', 'INVALID_REQUEST', 'INVALID_AUTHORIZATION'],
  403: ['SHARD_MISMATCH', 'CONTENT_TYPE_REJECTED', 'FORBIDDEN'],
  408: ['REQUEST_TIMEOUT'],
  413: ['PAYLOAD_TOO_LARGE'],
  500: ['STORE_FAILED'],
  503: ['REPLICATION_FAILED', 'SHARD_OWNER_UNAVAILABLE', 'MEMBERS_UNKNOWN', 'BUSY'],
  507: ['STORAGE_FULL']
}
const readErrors = { 400: ['CID_INVALID'], 404: ['BLOB_NOT_FOUND'], 500: ['INTEGRITY_CHECK_FAILED'] }
const jsonBlob = z.object({
  ciphertext: z.base64().describe('the bytes'),
  mimeType: z.string().max(256).optional(),
  contentType: z.string().max(64).optional(),
  authorization: z.unknown().optional().describe('accepted and not looked at')
})
const storedBlob = jsonBlob.extend({
  authorization: storeAuthorization
    .nullish()
    .describe(
      'may be left out: /store is open to whoever reaches it. What comes is to be right: the EIP-191 signature of the lines ' +
        '“HASHD Vault Storage Request”, “Type: …”, “Content Hash: …”, “Context: …” (groupPostsAddress, threadId or ' +
        'tokenAddress), “Timestamp: …” and “Nonce: …” as they are here, without an end of line behind the last. Memberships ' +
        'on a chain are not looked at'
    )
})
const headers = { etag: 'the CID', 'accept-ranges': 'bytes', 'content-length': 'bytes' }

export const blobOperations: Operation[] = [
  {
    method: 'post',
    path: '/store',
    tag: 'blobs',
    summary: 'Store bytes: encrypted, on enough disks when it answers',
    query: { ...local, ...declaredType },
    body: { 'application/octet-stream': 'bytes', 'application/json': storedBlob },
    answers: {
      201: { description: 'stored', body: stored, headers: { location: 'where it can be read' } },
      200: { description: 'it was here before', body: stored }
    },
    errors: storeErrors
  },
  {
    method: 'get',
    path: '/retrieve/:cid',
    tag: 'blobs',
    summary: 'The bytes of a blob, from here or whoever has them',
    params: anyCid,
    query: { ...local, ...verify },
    headers: { range: 'one range of bytes', 'if-none-match': 'the CID, when it is known already' },
    answers: {
      200: { description: 'all of it', body: 'bytes', headers },
      206: { description: 'the range', body: 'bytes', headers: { ...headers, 'content-range': 'which bytes' } },
      304: { description: 'you have it' }
    },
    errors: { ...readErrors, 416: ['RANGE_NOT_SATISFIABLE'] }
  },
  {
    method: 'get',
    path: '/blob/:cid',
    tag: 'blobs',
    summary: 'The same in JSON',
    params: anyCid,
    query: local,
    answers: {
      200: {
        description: 'the blob',
        body: z.object({
          cid: cidText,
          ciphertext: z.string().describe('base64 of the bytes'),
          mimeType: z.string(),
          createdAt: timeMs.nullable().describe('ms since 1970 when it was stored here; null: it is from another node'),
          size: bytesCount,
          version: z.int()
        })
      }
    },
    errors: readErrors
  },
  {
    method: 'get',
    path: '/blobs',
    tag: 'blobs',
    summary: 'CIDs on this disk; for the operator, or for all with HTTP_LIST_BLOBS',
    isGuarded: true,
    query: pageQuery(PAGE_MAX),
    answers: { 200: { description: 'a page', body: z.object({ cids: z.array(cidText), ...page }) } },
    errors: { 400: ['INVALID_REQUEST'], 401: ['UNAUTHORIZED'] }
  },
  {
    method: 'get',
    path: '/blobs/:cid/status',
    tag: 'blobs',
    summary: 'What is known of one blob',
    params: anyCid,
    answers: {
      200: {
        description: 'here and elsewhere',
        body: z.object({
          cid: cidText,
          stored: z.boolean().describe('whether it is on this disk; the next three are null if not'),
          size: bytesCount.nullable(),
          mimeType: z.string().nullable(),
          createdAt: timeMs.nullable(),
          pinned: z.boolean(),
          shard: count,
          replication: replicationState
        })
      }
    },
    errors: { 400: ['CID_INVALID'] }
  },
  {
    method: 'post',
    path: '/replicate',
    tag: 'replication',
    summary: 'Keep a replica: of an own shard, its CID checked',
    body: { 'application/json': jsonBlob.extend({ cid: cidText, fromPeer: z.string().optional() }) },
    answers: {
      200: {
        description: 'on disk',
        body: z.object({ success: z.literal(true), cid: cidText, alreadyStored: z.boolean() })
      }
    },
    errors: { ...storeErrors, 400: ['CID_MISMATCH', 'CID_INVALID', 'BLOB_EMPTY', 'INVALID_REQUEST'] }
  },
  {
    method: 'get',
    path: '/replication/:cid',
    tag: 'replication',
    summary: 'Who has a blob, asked just now',
    params: anyCid,
    answers: { 200: { description: 'its replicas', body: replicationState } },
    errors: { 400: ['CID_INVALID'] }
  },
  {
    method: 'get',
    path: '/replication',
    tag: 'replication',
    summary: 'The same of a page of the blobs here; for the operator, or for all with HTTP_LIST_BLOBS',
    isGuarded: true,
    query: pageQuery(REPLICATION_PAGE_MAX),
    answers: { 200: { description: 'a page', body: z.object({ blobs: z.array(replicationState), ...page }) } },
    errors: { 400: ['INVALID_REQUEST'], 401: ['UNAUTHORIZED'] }
  }
]
