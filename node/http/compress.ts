/** Large answers of text and JSON, compressed for who takes that (COMPRESSION_ENABLED). Blobs never are: most do not shrink. */
import { promisify } from 'node:util'
import { brotliCompress, constants, gzip } from 'node:zlib'
import type { Context, Next } from 'koa'

/** Below this a compressed answer saves nothing: it is one packet either way. */
export const COMPRESS_MIN_BYTES = 1024
/** Good enough for answers made anew each time. */
const BROTLI_QUALITY = 4

const asGzip = promisify(gzip)
const asBrotli = promisify<Buffer, object, Buffer>(brotliCompress)

/** Middleware. */
export async function compressAnswers(ctx: Context, next: Next): Promise<void> {
  await next()
  const { body } = ctx
  // Streams and buffers are blobs, or parts of them.
  if (body === null || body === undefined || Buffer.isBuffer(body)) return
  const isText = typeof body === 'string'
  if (!isText && (typeof body !== 'object' || typeof (body as { pipe?: unknown }).pipe === 'function')) return
  ctx.vary('Accept-Encoding')
  const text = Buffer.from(isText ? body : JSON.stringify(body))
  if (text.length < COMPRESS_MIN_BYTES || ctx.method === 'HEAD') return
  const encoding = ctx.acceptsEncodings('br', 'gzip', 'identity')
  if (encoding !== 'br' && encoding !== 'gzip') return
  const { status } = ctx
  const type = ctx.response.get('content-type') || 'application/json; charset=utf-8'
  const quality = { params: { [constants.BROTLI_PARAM_QUALITY]: BROTLI_QUALITY } }
  ctx.body = encoding === 'br' ? await asBrotli(text, quality) : await asGzip(text)
  ctx.status = status
  ctx.set('content-type', type)
  ctx.set('content-encoding', encoding)
}
