/** `/gc/status`, `/admin/*`: collection, deletion, scrub and block list. For the operator, but for the status. */
import type Router from '@koa/router'
import { z } from 'zod'
import { parseCid } from '../blobs/cid.ts'
import { RequestInvalidError } from '../errors.ts'
import { BLOCKED_MAX } from '../keeping/block-list.ts'
import { NOTE_MAX } from '../keeping/cid-list.ts'
import type { Keeping } from '../keeping/keeping.ts'
import type { RequireAdmin } from './admin-token.ts'
import { PAGE_DEFAULT, PAGE_MAX } from './blob-routes.ts'
import { jsonBody } from './json-body.ts'
import { goneSignal, pageNumber } from './request.ts'

const reasonBody = z.object({ reason: z.string().max(NOTE_MAX).default('') })

/** Add the routes. */
export function addAdminRoutes(
  router: Router,
  { keeping, requireAdmin }: { keeping: Keeping; requireAdmin: RequireAdmin }
): void {
  const { collector, scrub, blocked, deleteBlob } = keeping

  router.get('/gc/status', ctx => {
    ctx.set('cache-control', 'no-store')
    ctx.body = collector.status()
  })

  router.post('/admin/gc', async ctx => {
    requireAdmin(ctx)
    ctx.body = await collector.run({ simulate: flagOf(ctx.query.simulate, 'simulate') })
  })

  router.delete('/admin/blob/:cid', async ctx => {
    requireAdmin(ctx)
    const cid = parseCid(ctx.params.cid ?? '')
    const force = flagOf(ctx.query.force, 'force')
    const { sizeBytes } = await deleteBlob(cid, { force, signal: goneSignal(ctx) })
    ctx.body = { cid, deleted: true, size: sizeBytes, forced: force }
  })

  router.get('/admin/scrub', ctx => {
    requireAdmin(ctx)
    ctx.set('cache-control', 'no-store')
    ctx.body = scrub.progress()
  })

  router.post('/admin/scrub', ctx => {
    requireAdmin(ctx)
    // It goes on after the answer; what becomes of it is in the progress and the log.
    scrub.start().ended.catch(() => {})
    ctx.status = 202
    ctx.body = scrub.progress()
  })

  router.get('/admin/blocked', ctx => {
    requireAdmin(ctx)
    const offset = pageNumber(ctx, 'offset', 0, Number.MAX_SAFE_INTEGER)
    const limit = pageNumber(ctx, 'limit', PAGE_DEFAULT, PAGE_MAX)
    const all = blocked.list()
    const page = all.slice(offset, offset + limit)
    ctx.set('cache-control', 'no-store')
    const hasMore = offset + page.length < all.length
    ctx.body = { blocked: page, total: all.length, max: BLOCKED_MAX, offset, limit, hasMore }
  })

  router.post('/admin/blocked/:cid', async ctx => {
    requireAdmin(ctx)
    const cid = parseCid(ctx.params.cid ?? '')
    const { reason } = await jsonBody(ctx.req, reasonBody)
    const isNew = await blocked.add(cid, reason)
    ctx.status = isNew ? 201 : 200
    ctx.body = { cid, blocked: true, enforced: blocked.has(cid) }
  })

  router.delete('/admin/blocked/:cid', async ctx => {
    requireAdmin(ctx)
    const cid = parseCid(ctx.params.cid ?? '')
    ctx.body = { cid, blocked: false, wasBlocked: await blocked.remove(cid) }
  })
}

function flagOf(value: unknown, name: string): boolean {
  if (value === undefined || value === 'false' || value === '0') return false
  if (value === '' || value === 'true' || value === '1') return true
  // A misspelt flag must not turn a dry run into a real one.
  throw new RequestInvalidError(`"${name}" is to be true or false.`)
}
