/** `/pin/*`: what this node keeps whatever its collection thinks. For the operator. */
import type Router from '@koa/router'
import { z } from 'zod'
import type { Keeping } from '../keeping/keeping.ts'
import { PINS_MAX } from '../keeping/pins.ts'
import type { RequireAdmin } from './admin-token.ts'
import { PAGE_DEFAULT, PAGE_MAX } from './blob-routes.ts'
import { failureOf } from './failures.ts'
import { jsonBody } from './json-body.ts'
import { goneSignal, pageNumber } from './request.ts'

/** Most CIDs of one bulk request. */
export const PIN_BULK_MAX = 1000
/** Blobs of a bulk request that are fetched at once. */
const BULK_AT_ONCE = 8

const bulkBody = z.object({
  cids: z.array(z.string().max(200)).min(1).max(PIN_BULK_MAX),
  action: z.enum(['pin', 'unpin']).default('pin')
})

/** Add the routes. */
export function addPinRoutes(
  router: Router,
  { keeping, requireAdmin }: { keeping: Pick<Keeping, 'pins'>; requireAdmin: RequireAdmin }
): void {
  const { pins } = keeping

  router.get('/pin/list', ctx => {
    requireAdmin(ctx)
    const offset = pageNumber(ctx, 'offset', 0, Number.MAX_SAFE_INTEGER)
    const limit = pageNumber(ctx, 'limit', PAGE_DEFAULT, PAGE_MAX)
    const all = pins.list()
    const page = all.slice(offset, offset + limit)
    ctx.set('cache-control', 'no-store')
    ctx.body = {
      pins: page.map(({ cid, pinnedAt, sizeBytes }) => ({ cid, pinnedAt, size: sizeBytes })),
      total: all.length,
      max: PINS_MAX,
      offset,
      limit,
      hasMore: offset + page.length < all.length
    }
  })

  router.post('/pin/bulk', async ctx => {
    requireAdmin(ctx)
    const { cids, action } = await jsonBody(ctx.req, bulkBody)
    const signal = goneSignal(ctx)
    const done: string[] = []
    const failed: Array<{ cid: string; error: string; message: string }> = []
    const queue = [...new Set(cids)]
    const worker = async (): Promise<void> => {
      for (let cid = queue.shift(); cid !== undefined && !signal.aborted; cid = queue.shift()) {
        try {
          if (action === 'pin') await pins.add(cid, signal)
          else await pins.remove(cid)
          done.push(cid)
        } catch (error) {
          const { body } = failureOf(error)
          failed.push({ cid, error: body.error, message: body.message })
        }
      }
    }
    await Promise.all(Array.from({ length: BULK_AT_ONCE }, worker))
    ctx.body = { action, done, failed }
  })

  router.post('/pin/:cid', async ctx => {
    requireAdmin(ctx)
    const cid = ctx.params.cid ?? ''
    const isNew = await pins.add(cid, goneSignal(ctx))
    ctx.status = isNew ? 201 : 200
    ctx.body = { cid, pinned: true }
  })

  router.delete('/pin/:cid', async ctx => {
    requireAdmin(ctx)
    const cid = ctx.params.cid ?? ''
    ctx.body = { cid, pinned: false, wasPinned: await pins.remove(cid) }
  })
}
