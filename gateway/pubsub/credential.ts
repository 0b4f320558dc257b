/**
 * Credentials of a WebSocket. A browser can send no header with it, so on this route alone the query may have one
 * (`token`, `api_key`: P24), or an offered subprotocol (`warren.credential.<base64url>`), which no proxy logs. Here it
 * becomes the header that it stands for, and is taken out of where it stood.
 */
import { type GatewayMiddleware, queryParameter } from '../http.ts'

const QUERY_NAMES = ['token', 'api_key']
const PROTOCOL_PREFIX = 'warren.credential.'

/** Stands before `authenticate` in the row. A header goes before both, as everywhere. */
export const credentialOfUpgrade: GatewayMiddleware = (context, next) => {
  const { headers } = context.req
  const fromQuery = QUERY_NAMES.map(name => queryParameter(context, name)).find(value => value !== undefined)
  const offered = (headers['sec-websocket-protocol'] ?? '').split(',').map(name => name.trim())
  const fromProtocol = offered.find(name => name.startsWith(PROTOCOL_PREFIX))?.slice(PROTOCOL_PREFIX.length)
  if (fromQuery !== undefined) {
    const isSecret = (pair: string) => QUERY_NAMES.some(name => new URLSearchParams(pair).has(name))
    context.querystring = context.querystring
      .split('&')
      .filter(pair => !isSecret(pair))
      .join('&')
    context.originalUrl = context.url
    context.request.originalUrl = context.url
  }
  if (fromProtocol !== undefined) {
    const others = offered.filter(name => !name.startsWith(PROTOCOL_PREFIX))
    if (others.length > 0) headers['sec-websocket-protocol'] = others.join(', ')
    else delete headers['sec-websocket-protocol']
  }
  const credential = fromQuery ?? (fromProtocol && Buffer.from(fromProtocol, 'base64url').toString())
  if (!headers.authorization && !headers['x-api-key'] && credential) {
    headers.authorization = `Bearer ${credential}`
  }
  return next()
}
