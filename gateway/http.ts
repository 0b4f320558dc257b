/** The words all middleware and routes of the room share: koa's context with our state, and the row of a route. */
import type { Context, DefaultState, Middleware, Next } from 'koa'
import type { Claims } from './auth/jwt.ts'

/** Who asks: found out by `authenticate`. */
export interface Identity {
  namespace: string
  /** Row of the API key, also behind a token that was got with it; null for a wallet and for an anonymous caller. */
  apiKeyId: number | null
  kind: 'wallet' | 'api_key' | 'anonymous'
  /** A wallet's id, or the API key's row as text; never a secret. null for an anonymous caller. */
  subject: string | null
  /** Whether it may use its namespace: `ownNamespace` refuses who may not. */
  owner: boolean
  /** What the presented token says, times in seconds since 1970; null when it was an API key or nothing. */
  token: Readonly<Claims> | null
}

/** What the gateway keeps beside a request. */
export interface GatewayState extends DefaultState {
  identity?: Identity
  /** Path pattern of the route that answers, for metrics. */
  route?: string
  /** The failure that was answered, for the log. */
  failure?: { code: string; status: number }
}

export type GatewayContext = Context & { state: GatewayState }
export type GatewayMiddleware = Middleware<GatewayState, Context>
export type { Next }

/** One row of the table of routes. */
export interface Route {
  method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE'
  path: string
  middleware: readonly GatewayMiddleware[]
}

/** A row. A GET row answers HEAD too. Whether the route is public is seen in the row: `authenticate` is in it or not. */
export function route(method: Route['method'], path: string, ...middleware: GatewayMiddleware[]): Route {
  return { method, path, middleware }
}

/**
 * One query parameter; the first when it is given more than once.
 * @throws URIError when its escapes are not UTF-8: two different keys must not become one
 */
export function queryParameter(context: Context, name: string): string | undefined {
  for (const pair of context.querystring.split('&')) {
    const equals = pair.indexOf('=')
    const written = equals < 0 ? pair : pair.slice(0, equals)
    if (decodeQuery(written) === name) return equals < 0 ? '' : decodeQuery(pair.slice(equals + 1))
  }
  return undefined
}

function decodeQuery(text: string): string {
  return decodeURIComponent(text.replaceAll('+', ' '))
}

/** Ends when the caller hangs up before the answer is complete. */
export function callerSignal(context: Context, timeoutMs?: number): AbortSignal {
  const controller = new AbortController()
  const onClose = () => {
    if (!context.res.writableFinished) controller.abort(new Error('the caller hung up'))
  }
  if (context.res.closed) onClose()
  else context.res.once('close', onClose)
  return timeoutMs === undefined
    ? controller.signal
    : AbortSignal.any([controller.signal, AbortSignal.timeout(timeoutMs)])
}
