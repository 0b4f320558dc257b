/** Every origin may call, as the DeBros document has it (D8): credentials are keys in headers, never cookies. */
import type { GatewayMiddleware } from '../http.ts'

const MAX_AGE_S = 600
const ALLOWED = 'Content-Type, Authorization, X-API-Key, If-Match, If-None-Match, X-TTL-Seconds'
/** What a page's script may read of an answer, beside what it always may. */
const EXPOSED = 'ETag, X-Expires-At, Content-Range, Accept-Ranges'

export const cors: GatewayMiddleware = async (context, next) => {
  context.set('Access-Control-Allow-Origin', '*')
  context.set('Access-Control-Allow-Methods', 'GET, PUT, POST, DELETE, OPTIONS')
  context.set('Access-Control-Allow-Headers', ALLOWED)
  context.set('Access-Control-Expose-Headers', EXPOSED)
  context.set('Access-Control-Max-Age', String(MAX_AGE_S))
  if (context.method === 'OPTIONS') {
    context.status = 204
    return
  }
  await next()
}
