/** What answers by HTTP have in common, of gateways and nodes. */
import { GatewayAnswerError } from './errors.ts'

/** What the platform's `fetch` takes as a body; with a stream `duplex: 'half'` is needed. */
export type FetchBody = NonNullable<NonNullable<Parameters<typeof fetch>[1]>['body']>

/** Most bytes read of an error. */
const MAX_ERROR_BYTES = 64 * 1024

/** The error that an answer tells, in either of the shapes: `{error: CODE, message}` of a node, `{error: text}` of a gateway. */
export async function answerError(response: Response): Promise<GatewayAnswerError> {
  const text = await beginningOf(response)
  let told: { error?: unknown; code?: unknown; message?: unknown } = {}
  try {
    told = JSON.parse(text) as typeof told
  } catch {
    told = { message: text }
  }
  const word = (value: unknown) => (typeof value === 'string' && value !== '' ? value : undefined)
  // A node says its code as `error`, a gateway a sentence.
  const isCode = typeof told.error === 'string' && /^[A-Z][A-Z0-9_]+$/.test(told.error)
  const code = word(told.code) ?? (isCode ? String(told.error) : `HTTP_${response.status}`)
  const message = word(told.message) ?? word(told.error) ?? response.statusText
  return new GatewayAnswerError(response.status, code, message)
}

async function beginningOf({ body }: Response): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  let sizeBytes = 0
  for await (const bytes of body ?? []) {
    text += decoder.decode(bytes, { stream: true })
    sizeBytes += bytes.byteLength
    // Leaving the loop ends the answer.
    if (sizeBytes >= MAX_ERROR_BYTES) break
  }
  return text
}
