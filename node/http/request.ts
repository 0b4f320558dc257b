/** What several routes read of a request. */
import type { Context } from 'koa'
import type { z } from 'zod'
import { ContentTypeRejectedError, PayloadTooLargeError, RequestInvalidError } from '../errors.ts'
import { type BodyPatience, bodyOf } from './upload.ts'

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

/** A small JSON body. @throws RequestInvalidError, PayloadTooLargeError */
export async function jsonOf<T>(
  ctx: Context,
  schema: z.ZodType<T>,
  options: { maxBytes: number; patience: BodyPatience }
): Promise<T> {
  const pieces: Uint8Array[] = []
  let sizeBytes = 0
  for await (const piece of bodyOf(ctx.req, options.patience)) {
    sizeBytes += piece.length
    if (sizeBytes > options.maxBytes) throw new PayloadTooLargeError(options.maxBytes)
    pieces.push(piece)
  }
  let value: unknown
  try {
    value = JSON.parse(Buffer.concat(pieces).toString('utf8'))
  } catch {
    throw new RequestInvalidError('The body is not JSON.')
  }
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  throw new RequestInvalidError(`"${issue?.path.join('.')}" of the JSON is not right: ${issue?.message}.`)
}
