/** The operator's routes and those of proofs in the description. */
import { z } from 'zod'
import { proofRequest, proofStatement } from '../../proofs/statement.ts'
import { PAGE_MAX } from '../blob-routes.ts'
import { PIN_BULK_MAX } from '../pin-routes.ts'
import { bytesCount, cidText, count, type Operation, page, pageQuery, timeMs } from './operation.ts'

const aBlob = { cid: 'CID of the blob' }
const guarded = { 401: ['UNAUTHORIZED'] }
const onCid = { ...guarded, 400: ['CID_INVALID'] }
const yes = (description: string) => ({ description, schema: z.enum(['true', 'false', '1', '0', '']).optional() })

const gcTotals = { removedBlobs: count, freedBytes: bytesCount }
const gcReport = z.object({
  simulated: z.boolean(),
  startedAtMs: timeMs,
  tookMs: count,
  candidates: count,
  checked: count,
  neededBytes: bytesCount,
  keptBlobs: count,
  ...gcTotals
})
const gcRow = z.object({ cid: cidText, sizeBytes: bytesCount, why: z.string() })
const scrubProgress = z.object({
  running: z.boolean(),
  passes: count,
  bytesChecked: bytesCount,
  total: count,
  remaining: count,
  startedAtMs: timeMs.nullable(),
  finishedAtMs: timeMs.nullable(),
  checked: count,
  passed: count,
  failed: count,
  orphaned: count,
  metadataTampered: count,
  failedCids: z.array(z.string())
})

export const operatorOperations: Operation[] = [
  {
    method: 'get',
    path: '/gc/status',
    tag: 'admin',
    summary: 'What collection may do and did',
    answers: {
      200: {
        description: 'counts',
        body: z.object({
          enabled: z.boolean(),
          running: z.boolean(),
          mode: z.enum(['size', 'time', 'hybrid']),
          limits: z.record(z.string(), z.number()),
          intervalMs: count,
          verifyReplicas: z.boolean(),
          verifyProofs: z.boolean(),
          runs: count,
          ...gcTotals,
          lastRun: gcReport.nullable()
        })
      }
    }
  },
  {
    method: 'post',
    path: '/admin/gc',
    tag: 'admin',
    isGuarded: true,
    summary: 'Collect now',
    query: { simulate: yes('only tell what would go') },
    answers: {
      200: {
        description: 'what went',
        body: gcReport.extend({ removed: z.array(gcRow), kept: z.array(gcRow) })
      }
    },
    errors: { ...guarded, 400: ['INVALID_REQUEST'], 409: ['GC_ALREADY_RUNNING'] }
  },
  {
    method: 'delete',
    path: '/admin/blob/:cid',
    tag: 'admin',
    isGuarded: true,
    summary: 'Delete the copy here',
    params: aBlob,
    query: { force: yes('whoever else holds it, and its pin too') },
    answers: {
      200: {
        description: 'it is gone',
        body: z.object({ cid: cidText, deleted: z.literal(true), size: bytesCount, forced: z.boolean() })
      }
    },
    errors: { ...onCid, 404: ['BLOB_NOT_FOUND'], 409: ['BLOB_PINNED', 'BLOB_UNDER_REPLICATED'] }
  },
  {
    method: 'get',
    path: '/admin/scrub',
    tag: 'admin',
    isGuarded: true,
    summary: 'How far the scrub is',
    answers: { 200: { description: 'progress', body: scrubProgress } },
    errors: guarded
  },
  {
    method: 'post',
    path: '/admin/scrub',
    tag: 'admin',
    isGuarded: true,
    summary: 'Begin a scrub',
    answers: { 202: { description: 'it goes on', body: scrubProgress } },
    errors: { ...guarded, 409: ['SCRUB_ALREADY_RUNNING'] }
  },
  {
    method: 'get',
    path: '/admin/blocked',
    tag: 'admin',
    isGuarded: true,
    summary: 'The block list',
    query: pageQuery(PAGE_MAX),
    answers: {
      200: {
        description: 'a page',
        body: z.object({ blocked: z.array(z.object({ cid: cidText, reason: z.string() })), max: count, ...page })
      }
    },
    errors: { ...guarded, 400: ['INVALID_REQUEST'] }
  },
  {
    method: 'post',
    path: '/admin/blocked/:cid',
    tag: 'admin',
    isGuarded: true,
    summary: 'Block a CID',
    params: aBlob,
    body: { 'application/json': z.object({ reason: z.string().optional() }) },
    answers: {
      201: {
        description: 'blocked',
        body: z.object({ cid: cidText, blocked: z.literal(true), enforced: z.boolean() })
      },
      200: {
        description: 'it was before',
        body: z.object({ cid: cidText, blocked: z.literal(true), enforced: z.boolean() })
      }
    },
    errors: { ...onCid, 409: ['BLOCK_LIMIT_REACHED'] }
  },
  {
    method: 'delete',
    path: '/admin/blocked/:cid',
    tag: 'admin',
    isGuarded: true,
    summary: 'Block a CID no longer',
    params: aBlob,
    answers: {
      200: {
        description: 'it is not blocked',
        body: z.object({ cid: cidText, blocked: z.literal(false), wasBlocked: z.boolean() })
      }
    },
    errors: onCid
  },
  {
    method: 'get',
    path: '/pin/list',
    tag: 'admin',
    isGuarded: true,
    summary: 'Pins',
    query: pageQuery(PAGE_MAX),
    answers: {
      200: {
        description: 'a page',
        body: z.object({
          pins: z.array(z.object({ cid: cidText, pinnedAt: z.unknown(), size: bytesCount.nullable() })),
          max: count,
          ...page
        })
      }
    },
    errors: { ...guarded, 400: ['INVALID_REQUEST'] }
  },
  {
    method: 'post',
    path: '/pin/bulk',
    tag: 'admin',
    isGuarded: true,
    summary: 'Pin or unpin many',
    body: {
      'application/json': z.object({
        cids: z.array(z.string().max(200)).min(1).max(PIN_BULK_MAX),
        action: z.enum(['pin', 'unpin']).optional()
      })
    },
    answers: {
      200: {
        description: 'what came of each',
        body: z.object({
          action: z.enum(['pin', 'unpin']),
          done: z.array(z.string()),
          failed: z.array(z.object({ cid: z.string(), error: z.string(), message: z.string() }))
        })
      }
    },
    errors: { ...guarded, 400: ['INVALID_REQUEST'] }
  },
  {
    method: 'post',
    path: '/pin/:cid',
    tag: 'admin',
    isGuarded: true,
    summary: 'Pin a blob, fetched first when it is not here',
    params: aBlob,
    answers: {
      201: { description: 'pinned', body: z.object({ cid: z.string(), pinned: z.literal(true) }) },
      200: { description: 'it was before', body: z.object({ cid: z.string(), pinned: z.literal(true) }) }
    },
    errors: { ...onCid, 404: ['BLOB_NOT_FOUND'], 409: ['PIN_LIMIT_REACHED'] }
  },
  {
    method: 'delete',
    path: '/pin/:cid',
    tag: 'admin',
    isGuarded: true,
    summary: 'Remove a pin',
    params: aBlob,
    answers: {
      200: {
        description: 'it is not pinned',
        body: z.object({ cid: z.string(), pinned: z.literal(false), wasPinned: z.boolean() })
      }
    },
    errors: onCid
  },
  {
    method: 'post',
    path: '/proofs/generate',
    tag: 'proofs',
    summary: 'Prove that this node has a blob’s bytes',
    body: { 'application/json': proofRequest.partial({ mode: true }) },
    answers: {
      200: {
        description: 'the signed statement; with leaves, the blocks it is over',
        body: proofStatement.extend({ blocks: z.string().optional().describe('base64') })
      }
    },
    errors: {
      400: ['CID_INVALID', 'CHALLENGE_INVALID', 'INVALID_REQUEST'],
      403: ['CONTENT_BLOCKED'],
      404: ['BLOB_NOT_FOUND'],
      409: ['CHALLENGE_REPLAYED'],
      503: ['BUSY']
    }
  },
  {
    method: 'get',
    path: '/proofs/:cid',
    tag: 'proofs',
    summary: 'Proofs made lately of one blob',
    params: aBlob,
    answers: {
      200: {
        description: 'newest first',
        body: z.object({ cid: cidText, count, proofs: z.array(proofStatement) })
      }
    },
    errors: { 400: ['CID_INVALID'] }
  },
  {
    method: 'get',
    path: '/proofs',
    tag: 'proofs',
    summary: 'Proofs in figures',
    answers: {
      200: {
        description: 'counts since the start',
        body: z.object({
          generated: z.record(z.string(), count),
          refused: z.record(z.string(), count),
          running: count,
          waiting: count,
          saved: count,
          blobs: count
        })
      }
    }
  }
]
