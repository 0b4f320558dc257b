/** `/store`, `/retrieve`, `/blobs` and `/replication`: blobs over HTTP as the ByteCave document has them. */
import { isIPv4 } from 'node:net'
import { Readable } from 'node:stream'
import type Router from '@koa/router'
import type { Context } from 'koa'
import { parseCid } from '../blobs/cid.ts'
import { SEAL_CHUNK_BYTES } from '../blobs/seal.ts'
import type { BlobService } from '../blobs/service.types.ts'
import type { BlobStore } from '../blobs/store.types.ts'
import {
  BlobEmptyError,
  BusyError,
  ListForbiddenError,
  PayloadTooLargeError,
  RangeInvalidError,
  RequestInvalidError
} from '../errors.ts'
import { parseRange } from './range.ts'
import { announcedBytes, bodyOf } from './upload.ts'

/** Most uploads at once; each holds a few chunks of memory and an open file. */
export const UPLOADS_MAX = 64
/** Rows of one page of /blobs, default and most. */
export const PAGE_DEFAULT = 100
export const PAGE_MAX = 1000

const IMMUTABLE = 'public, max-age=31536000, immutable'

export interface BlobRoutesOptions {
  blobs: BlobService
  store: BlobStore
  maxBlobBytes: number
  /** Whether `/blobs` is answered to everybody, not only to this machine: who knows a CID can read the blob. */
  listBlobs: boolean
}

/** Add the routes. */
export function addBlobRoutes(router: Router, { blobs, store, maxBlobBytes, listBlobs }: BlobRoutesOptions): void {
  let uploads = 0

  router.post('/store', async ctx => {
    const sizeHint = announcedBytes(ctx.req)
    if (sizeHint === 0) throw new BlobEmptyError()
    if (sizeHint !== undefined && sizeHint > maxBlobBytes) throw new PayloadTooLargeError(maxBlobBytes)
    if (uploads >= UPLOADS_MAX) throw new BusyError('uploads')
    uploads += 1
    const gone = goneSignal(ctx)
    try {
      const { cid, sizeBytes, existed, replicas } = await blobs.put(bodyOf(ctx.req), {
        mimeType: ctx.get('content-type') || undefined,
        sizeHint,
        signal: gone,
        localOnly: ctx.query.local === '1'
      })
      ctx.status = existed ? 200 : 201
      ctx.set('location', `/retrieve/${cid}`)
      ctx.body = { cid, size: sizeBytes, encrypted: true, replicas }
    } finally {
      uploads -= 1
    }
  })

  // The router answers HEAD by the same handler.
  router.get('/retrieve/:cid', async ctx => {
    const cid = parseCid(ctx.params.cid ?? '')
    const signal = goneSignal(ctx)
    const localOnly = ctx.query.local === '1'
    ctx.set('etag', `"${cid}"`)
    ctx.set('cache-control', IMMUTABLE)
    ctx.set('accept-ranges', 'bytes')
    ctx.set('x-content-type-options', 'nosniff')
    // Whoever stored a page must not have it run with this origin's rights.
    ctx.set('content-security-policy', "sandbox; default-src 'none'")
    ctx.status = 200
    // Not koa's `fresh`: a request to bypass caches is met as well by bytes that cannot change.
    const known = ctx
      .get('if-none-match')
      .split(',')
      .map(tag => tag.trim().replace(/^W\//, ''))
    if (ctx.method === 'GET' && known.includes(`"${cid}"`)) {
      ctx.status = 304
      return
    }
    const ifRange = ctx.get('if-range')
    const wantsRange = ctx.get('range') !== '' && (ifRange === '' || ifRange === `"${cid}"`)
    if (ctx.method === 'HEAD' || wantsRange) {
      const { sizeBytes, mimeType } = await blobs.stat(cid, { signal, localOnly })
      const range = wantsRange ? parseRange(ctx.get('range'), sizeBytes) : null
      if (range === 'unsatisfiable') {
        ctx.set('content-range', `bytes */${sizeBytes}`)
        throw new RangeInvalidError(sizeBytes)
      }
      if (range) {
        ctx.status = 206
        ctx.set('content-range', `bytes ${range.offset}-${range.offset + range.length - 1}/${sizeBytes}`)
      }
      if (ctx.method === 'HEAD') {
        ctx.type = mimeType
        ctx.length = range ? range.length : sizeBytes
        return
      }
      if (range) return await send(ctx, { ...range, length: range.length })
    }
    return await send(ctx, { offset: 0 })

    async function send(to: Context, range: { offset: number; length?: number }): Promise<void> {
      const verify = to.query.verify === '1'
      const read = await blobs.get(cid, { ...range, signal, localOnly, verify })
      // Pieces are whole chunks: one in hand and one on its way.
      to.body = Readable.from(read.bytes, { objectMode: false, highWaterMark: SEAL_CHUNK_BYTES })
      to.set('content-type', read.mimeType)
      to.length = range.length ?? read.sizeBytes - range.offset
    }
  })

  router.get('/blobs', ctx => {
    if (!listBlobs && !isLoopback(ctx.req.socket.remoteAddress)) throw new ListForbiddenError()
    const offset = pageNumber(ctx, 'offset', 0, Number.MAX_SAFE_INTEGER)
    const limit = pageNumber(ctx, 'limit', PAGE_DEFAULT, PAGE_MAX)
    const cids: string[] = []
    let index = 0
    for (const cid of store.list()) {
      if (index >= offset + limit) break
      if (index >= offset) cids.push(cid)
      index += 1
    }
    const total = store.stats().storedBlobs
    ctx.body = { cids, total, offset, limit, hasMore: offset + cids.length < total }
  })

  router.get('/replication/:cid', async ctx => {
    ctx.set('cache-control', 'no-store')
    ctx.body = await blobs.replication(parseCid(ctx.params.cid ?? ''), goneSignal(ctx))
  })
}

/** Whether a connection comes from this machine itself. */
export function isLoopback(address = ''): boolean {
  const plain = address.replace(/^::ffff:/, '')
  return plain === '::1' || (isIPv4(plain) && plain.startsWith('127.'))
}

/** A paging number of the query. @throws RequestInvalidError */
export function pageNumber(ctx: Context, name: string, fallback: number, max: number): number {
  const value = ctx.query[name]
  if (value === undefined || value === '') return fallback
  const number = Number(value)
  if (typeof value !== 'string' || !/^\d{1,15}$/.test(value) || number > max) {
    throw new RequestInvalidError(`"${name}" is to be a number from 0 to ${max}.`)
  }
  return number
}

/** Aborts when the client's connection ends before the answer did. */
export function goneSignal(ctx: Context): AbortSignal {
  const gone = new AbortController()
  ctx.res.once('close', () => {
    if (!ctx.res.writableFinished) gone.abort(new RequestInvalidError('The client went away.'))
  })
  return gone.signal
}
