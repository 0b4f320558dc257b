/** Blobs as the ByteCave code had them in JSON: stored and read in base64, replicated, and what is known of one. */
import { Readable } from 'node:stream'
import type Router from '@koa/router'
import type { Context } from 'koa'
import { z } from 'zod'
import { parseCid } from '../blobs/cid.ts'
import { shardOf } from '../blobs/shards.ts'
import { endEarly } from '../blobs/sources.ts'
import { PayloadTooLargeError, RequestInvalidError } from '../errors.ts'
import { type BlobRoutesOptions, beginDownload } from './blob-routes.ts'
import { jsonWithBytes } from './json-stream.ts'
import { type JsonUpload, jsonBytesMax, openJsonUpload } from './json-upload.ts'
import { goneSignal, pageNumber, requireContentType } from './request.ts'
import type { Shares } from './shares.ts'
import type { StoreAuthorizations } from './store-authorization.ts'
import { announcedBytes, bodyOf } from './upload.ts'

/** Blobs of one page of /replication; each is asked of its owners. */
export const REPLICATION_PAGE_DEFAULT = 10
export const REPLICATION_PAGE_MAX = 50
/** Blobs asked about at once. */
const REPLICATION_AT_ONCE = 8
/** Version of the shape of /blob/:cid. */
const BLOB_VERSION = 1
const MIME_TYPE_MAX = 256
const BLOB_MEMBER = 'ciphertext'

const storeMembers = z.object({
  mimeType: z.string().max(MIME_TYPE_MAX).optional(),
  contentType: z.string().max(64).optional()
})
const replicateHead = z.object({ cid: z.string().max(128) })

export interface BlobJsonRoutesOptions extends BlobRoutesOptions {
  uploads: Shares
  /** Whether the operator holds a blob fast; absent: there are no pins. */
  isPinned?: (cid: string) => boolean
  authorizations: StoreAuthorizations
}

/** `POST /store` with `application/json`; called by that route. */
export async function storeJson(ctx: Context, options: BlobJsonRoutesOptions): Promise<void> {
  const { cid, sizeBytes, existed, replicas } = await withUpload(ctx, options, async upload => {
    let giveBack = (): void => {}
    try {
      return await options.blobs.put(declared(upload, options), {
        signal: goneSignal(ctx),
        localOnly: ctx.query.local === '1',
        accept: async read => {
          giveBack = await options.authorizations.take(upload.members().authorization, read)
        },
        get mimeType() {
          return said(storeMembers, upload.members()).mimeType
        }
      })
    } catch (error) {
      giveBack()
      throw error
    }
  })
  ctx.status = existed ? 200 : 201
  ctx.set('location', `/retrieve/${cid}`)
  ctx.body = {
    success: true,
    cid,
    size: sizeBytes,
    encrypted: true,
    replicas,
    timestamp: Date.now(),
    replicationStatus: { target: options.replicationFactor, confirmed: replicas.length }
  }
}

/** Add the routes. */
export function addBlobJsonRoutes(router: Router, options: BlobJsonRoutesOptions): void {
  const { blobs, store, aliases, listBlobs, requireAdmin, uploads, addressOf, shardCount } = options
  const noStore = { 'cache-control': 'no-store' }

  router.post('/replicate', ctx =>
    uploads.run(addressOf(ctx), () =>
      withUpload(ctx, options, async upload => {
        const { cid } = said(replicateHead, upload.head, 'before the blob ')
        const { alreadyStored } = await blobs.putReplica(
          cid,
          () => said(storeMembers, upload.members()).mimeType,
          declared(upload, options),
          { signal: goneSignal(ctx) }
        )
        ctx.body = { success: true, cid: parseCid(cid), alreadyStored }
      })
    )
  )

  router.get('/blob/:cid', async ctx => {
    const cid = aliases.resolve(ctx.params.cid ?? '')
    const signal = goneSignal(ctx)
    const localOnly = ctx.query.local === '1'
    if (ctx.method !== 'HEAD') beginDownload(ctx, options)
    const here = await store.stat(cid).catch(() => null)
    const read = await blobs.get(cid, { signal, localOnly })
    ctx.type = 'application/json'
    const head = {
      cid,
      mimeType: read.mimeType,
      createdAt: here?.createdAtMs ?? null,
      size: read.sizeBytes,
      version: BLOB_VERSION
    }
    if (ctx.method === 'HEAD') {
      ctx.status = 200
      await endEarly(read.bytes)
      return
    }
    ctx.body = Readable.from(jsonWithBytes(head, BLOB_MEMBER, read.bytes), { objectMode: false })
  })

  router.get('/blobs/:cid/status', async ctx => {
    const cid = aliases.resolve(ctx.params.cid ?? '')
    const here = await store.stat(cid).catch(() => null)
    const replication = await blobs.replication(cid, goneSignal(ctx))
    ctx.set(noStore)
    ctx.body = {
      cid,
      stored: here !== null,
      size: here?.sizeBytes ?? null,
      mimeType: here?.mimeType ?? null,
      createdAt: here?.createdAtMs ?? null,
      pinned: options.isPinned?.(cid) ?? false,
      shard: shardOf(cid, shardCount),
      replication
    }
  })

  router.get('/replication', async ctx => {
    if (!listBlobs) requireAdmin(ctx)
    const offset = pageNumber(ctx, 'offset', 0, Number.MAX_SAFE_INTEGER)
    const limit = pageNumber(ctx, 'limit', REPLICATION_PAGE_DEFAULT, REPLICATION_PAGE_MAX)
    const signal = goneSignal(ctx)
    const cids = [...Iterator.from(store.list()).drop(offset).take(limit)]
    const states: unknown[] = []
    for (let at = 0; at < cids.length; at += REPLICATION_AT_ONCE) {
      const some = cids.slice(at, at + REPLICATION_AT_ONCE)
      states.push(...(await Promise.all(some.map(cid => blobs.replication(cid, signal)))))
    }
    const total = store.stats().storedBlobs
    ctx.set(noStore)
    ctx.body = { blobs: states, total, offset, limit, hasMore: offset + cids.length < total }
  })
}

async function withUpload<T>(
  ctx: Context,
  { maxBlobBytes, patience }: BlobJsonRoutesOptions,
  work: (upload: JsonUpload) => Promise<T>
): Promise<T> {
  if (!ctx.is('application/json')) throw new RequestInvalidError('The body is to be application/json.')
  const announced = announcedBytes(ctx.req)
  if (announced !== undefined && announced > jsonBytesMax(maxBlobBytes)) throw new PayloadTooLargeError(maxBlobBytes)
  const upload = await openJsonUpload(bodyOf(ctx.req, patience), BLOB_MEMBER)
  try {
    return await work(upload)
  } finally {
    upload.close()
    // What nobody wanted of the body is thrown away: its sender may read no answer before all of it is gone. A listener,
    // for `resume` has no effect until the reader before has let go.
    ctx.req.on('data', () => {})
  }
}

/** The blob's bytes; at their end, before anything is kept, the class of content that was declared is looked at. */
async function* declared(upload: JsonUpload, options: BlobRoutesOptions): AsyncGenerator<Uint8Array> {
  yield* upload.bytes
  requireContentType(said(storeMembers, upload.members()).contentType, options.contentTypes)
}

function said<T>(schema: z.ZodType<T>, members: Record<string, unknown>, where = ''): T {
  const parsed = schema.safeParse(members)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  throw new RequestInvalidError(`"${issue?.path.join('.')}" is needed ${where}in the JSON: ${issue?.message}.`)
}
