/** What several routes read of a request. */
import type { Context } from 'koa'
import { ContentTypeRejectedError, RequestInvalidError } from '../errors.ts'

/** An answer, and the request that it is of. */
export type Answer = Pick<Context, 'req' | 'res'>

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

/** Calls when the answer is over, at once when it is already: its 'close' comes once, and to nobody who listens later. */
export function onceOver(answer: Answer, heard: () => void): void {
  if (isOver(answer)) heard()
  else answer.res.once('close', heard)
}

/** Aborts when the client's connection ends before the answer did, or has ended. */
export function goneSignal(ctx: Answer): AbortSignal {
  const gone = new AbortController()
  onceOver(ctx, () => {
    if (!ctx.res.writableFinished) gone.abort(clientGone())
  })
  return gone.signal
}

/** @throws RequestInvalidError when nobody waits for the answer any more: what would end with it has no end then. */
export function requireClient(ctx: Answer): void {
  if (isOver(ctx)) throw clientGone()
}

const isOver = ({ req, res }: Answer) => res.closed || res.destroyed || req.socket.destroyed

const clientGone = () => new RequestInvalidError('The client went away.')
