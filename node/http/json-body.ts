/** Small JSON bodies. */
import type { IncomingMessage } from 'node:http'
import type { z } from 'zod'
import { collect } from '../blobs/streams.ts'
import { RequestInvalidError } from '../errors.ts'
import { bodyOf } from './upload.ts'

/** Largest JSON body, bytes. */
export const JSON_BODY_MAX_BYTES = 256 * 1024

/** The body as what the schema says; an empty one counts as `{}`. @throws RequestInvalidError */
export async function jsonBody<T>(req: IncomingMessage, schema: z.ZodType<T>): Promise<T> {
  const bytes = await collect(bodyOf(req), JSON_BODY_MAX_BYTES).catch(error => {
    throw error instanceof RangeError
      ? new RequestInvalidError(`The JSON body is over ${JSON_BODY_MAX_BYTES} bytes. Send it in parts.`)
      : error
  })
  let json: unknown = {}
  try {
    if (bytes.length > 0) json = JSON.parse(bytes.toString('utf8'))
  } catch {
    throw new RequestInvalidError('The body is not JSON.')
  }
  const parsed = schema.safeParse(json)
  if (parsed.success) return parsed.data
  const problems = parsed.error.issues.map(issue => `${issue.path.join('.') || 'the body'}: ${issue.message}`)
  throw new RequestInvalidError(`The body is not as expected: ${problems.slice(0, 3).join('; ')}.`)
}
