/** What a client of `warren.pubsub.v1` may send: JSON text, each of one of three types. */
import { z } from 'zod'
import { bytesOfBase64 } from '../base64.ts'
import { RESUME_PUBLISHERS_MAX } from './limits.ts'
import type { Cursor } from './replay.ts'

export type ClientMessage =
  /** `id`: it is told `published` with it. */
  | { type: 'publish'; data: Buffer; id: string | undefined }
  /** `after`: the last seq it has of each publisher; `since`: how new messages of others have to be, ms since the epoch. */
  | { type: 'resume'; after: Cursor; since: number }
  /** Keeps proxies from closing the connection; it is left unanswered. */
  | { type: 'ping' }

const seq = z.int().min(0)
const schema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('publish'), data: z.string(), id: z.string().max(64).optional() }),
  z.object({
    type: z.literal('resume'),
    after: z.record(z.string().max(64), seq).optional(),
    since: z.number().min(0).optional()
  }),
  z.object({ type: z.literal('ping') })
])

/** null: it is none of these. */
export function parseClientMessage(text: Buffer): ClientMessage | null {
  let value: unknown
  try {
    value = JSON.parse(text.toString('utf8'))
  } catch {
    return null
  }
  const { success, data: message } = schema.safeParse(value)
  if (!success) return null
  if (message.type === 'publish') {
    const data = bytesOfBase64(message.data)
    return data === null ? null : { type: 'publish', data, id: message.id }
  }
  if (message.type === 'resume') {
    const after = Object.entries(message.after ?? {})
    if (after.length > RESUME_PUBLISHERS_MAX) return null
    return { type: 'resume', after: new Map(after), since: message.since ?? 0 }
  }
  return message
}
