/** What several routes read of a request. */
import type { Context } from 'koa'
import { ContentTypeRejectedError, RequestInvalidError } from '../errors.ts'

/** @throws ContentTypeRejectedError when this node takes some classes of content only, and this is none of them */
export function requireContentType(said: string | string[] | undefined, taken: readonly string[] | null): void {
  if (taken === null || (typeof said === 'string' && taken.includes(said))) return
  throw new ContentTypeRejectedError(typeof said === 'string' ? said.slice(0, 64) : undefined, taken)
}

/** A number of the query. @throws RequestInvalidError */
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
