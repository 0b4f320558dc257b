/** Every origin may call, as the DeBros document has it (D8): credentials are keys in headers, never cookies. */
import type { GatewayMiddleware } from '../http.ts'

const MAX_AGE_S = 600

export const cors: GatewayMiddleware = async (context, next) => {
  context.set('Access-Control-Allow-Origin', '*')
  context.set('Access-Control-Allow-Methods', 'GET, PUT, POST, DELETE, OPTIONS')
  context.set('Access-Control-Allow-Headers', 'Content-Type, Authorization, X-API-Key')
  context.set('Access-Control-Max-Age', String(MAX_AGE_S))
  if (context.method === 'OPTIONS') {
    context.status = 204
    return
  }
  await next()
}
