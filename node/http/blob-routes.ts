/** `/store`, `/retrieve`, `/blobs` and `/replication`: blobs over HTTP as the ByteCave document has them. */
import { Readable } from 'node:stream'
import type Router from '@koa/router'
import type { Context } from 'koa'
import { freeNow } from '../blobs/free-now.ts'
import type { RawAliases } from '../blobs/raw-alias.ts'
import { SEAL_CHUNK_BYTES } from '../blobs/seal.ts'
import type { BlobService } from '../blobs/service.types.ts'
import type { BlobStore } from '../blobs/store.types.ts'
import { BlobEmptyError, PayloadTooLargeError, RangeInvalidError } from '../errors.ts'
import type { RequireAdmin } from './admin-token.ts'
import { type BlobJsonRoutesOptions, storeJson } from './blob-json-routes.ts'
import { createHeldAnswers, type HeldAnswers } from './held-answers.ts'
import { parseRange } from './range.ts'
import { wantsVerify } from './rate-limit.ts'
import { goneSignal, onceOver, pageNumber, requireClient, requireContentType } from './request.ts'
import type { Shares } from './shares.ts'
import { endStalled } from './stalled.ts'
import { announcedBytes, type BodyPatience, bodyOf } from './upload.ts'

/** Rows of one page of /blobs, default and most. */
export const PAGE_DEFAULT = 100
export const PAGE_MAX = 1000

const IMMUTABLE = 'public, max-age=31536000, immutable'

export interface BlobRoutesOptions {
  blobs: BlobService
  store: BlobStore
  maxBlobBytes: number
  /** Whether lists of blobs are answered to everybody, not only to the operator: who knows a CID can read the blob. */
  listBlobs: boolean
  requireAdmin: RequireAdmin
  shardCount: number
  replicationFactor: number
  /** Classes of content taken; null: all. */
  contentTypes: readonly string[] | null
  patience: BodyPatience
  /** Places for reads that work out the CID first. */
  verifies: Shares
  /** Places for blobs on their way out. */
  downloads: Shares
  /** Time a client may take nothing of one. */
  stallTimeoutMs: number
  /** By which address a request is counted. */
  addressOf: (ctx: Context) => string
  aliases: RawAliases
  /** Room for answers that are held whole. Default: as much as a node has. */
  held?: HeldAnswers
}

/** Add the routes. */
export function addBlobRoutes(router: Router, options: BlobJsonRoutesOptions): void {
  const { blobs, store, maxBlobBytes, listBlobs, requireAdmin, uploads, addressOf, aliases } = options
  const { held = createHeldAnswers() } = options

  router.post('/store', async ctx => {
    const sizeHint = announcedBytes(ctx.req)
    if (sizeHint === 0) throw new BlobEmptyError()
    if (ctx.is('application/json')) return await uploads.run(addressOf(ctx), () => storeJson(ctx, options))
    if (sizeHint !== undefined && sizeHint > maxBlobBytes) throw new PayloadTooLargeError(maxBlobBytes)
    requireContentType(ctx.query.contentType, options.contentTypes)
    await uploads.run(addressOf(ctx), async () => {
      const { cid, sizeBytes, existed, replicas } = await blobs.put(bodyOf(ctx.req, options.patience), {
        mimeType: ctx.get('content-type') || undefined,
        sizeHint,
        isGiven: true,
        signal: goneSignal(ctx),
        localOnly: ctx.query.local === '1'
      })
      ctx.status = existed ? 200 : 201
      ctx.set('location', `/retrieve/${cid}`)
      ctx.body = { cid, size: sizeBytes, encrypted: true, replicas }
    })
  })

  // The router answers HEAD by the same handler.
  router.get('/retrieve/:cid', async ctx => {
    const cid = aliases.resolve(ctx.params.cid ?? '')
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
      takeDownload(to, options)
      const verify = wantsVerify(to)
      const done = verify ? options.verifies.take(addressOf(to)) : () => {}
      const place = held.take()
      try {
        const ask = { ...range, signal, localOnly, verify, holdBytes: place.bytes }
        // Its dear part is over when it resolves.
        const read = await blobs.get(cid, ask).finally(done)
        const bytes = range.length ?? read.sizeBytes - range.offset
        to.set('content-type', read.mimeType)
        to.length = bytes
        if (read.pieces) {
          place.keep(to, bytes)
          sendPieces(to, read.pieces, options)
          return
        }
        endStalled(to, stallLimits(options))
        // Pieces are whole chunks: one in hand and one on its way.
        to.body = Readable.from(read.bytes, { objectMode: false, highWaterMark: SEAL_CHUNK_BYTES })
      } finally {
        place.release()
      }
    }
  })

  router.get('/blobs', ctx => {
    // A connection from this machine is no proof of anything: what a proxy here passes on may look like it.
    if (!listBlobs) requireAdmin(ctx)
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
    ctx.body = await blobs.replication(aliases.resolve(ctx.params.cid ?? ''), goneSignal(ctx))
  })
}

/**
 * Take a place for a blob on its way to a client, until its answer is over or the client takes nothing.
 * @throws RequestInvalidError when the client left
 */
export function beginDownload(ctx: Context, options: BlobRoutesOptions): void {
  takeDownload(ctx, options)
  endStalled(ctx, stallLimits(options))
}

function takeDownload(ctx: Context, { downloads, addressOf }: BlobRoutesOptions): void {
  requireClient(ctx)
  onceOver(ctx, downloads.take(addressOf(ctx)))
}

const stallLimits = ({ stallTimeoutMs, patience }: BlobRoutesOptions) => ({
  stallTimeoutMs,
  bodyMsPerMib: patience.bodyMsPerMib
})

/** Answer with bytes that are all here: without a stream, which costs more than reading and opening a blob of a chunk. */
function sendPieces(ctx: Context, pieces: readonly Uint8Array[], options: BlobRoutesOptions): void {
  requireClient(ctx)
  ctx.respond = false
  const { res } = ctx
  // One call takes them all to the system: the last goes with the end, which lets go of what was held back till then.
  for (const piece of pieces.slice(0, -1)) res.write(piece)
  res.end(pieces.at(-1))
  // With an answer that breaks off it is unknown who still reads them: those are left to the collector.
  res.once('finish', () => pieces.forEach(freeNow))
  // What the system took is not ours to wait for.
  if (!res.socket || res.socket.writableLength > 0) endStalled(ctx, stallLimits(options))
}
