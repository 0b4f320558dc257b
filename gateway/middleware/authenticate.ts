/** Who asks: a token or an API key from the request's headers (D11, D12), or nobody where auth is not required (P1). */
import type { Context } from 'koa'
import type { Credential, Identify } from '../auth/identify.ts'
import type { Places, RateLimit } from '../auth/rate.ts'
import { ApiKeyInvalidError, ApiKeyMissingError, RateLimitedError } from '../errors.ts'
import type { GatewayMiddleware, Identity } from '../http.ts'

export interface AuthenticateOptions {
  identify: Identify
  requireAuth: boolean
  /** Where an anonymous caller lives. */
  namespace: string
  /** Of one identity. */
  rate: RateLimit
  /** Of one identity. */
  places: Places
  /** What an anonymous caller is counted by. */
  addressOf: (context: Context) => string
}

/**
 * Sets `state.identity`, or answers 401. A wrong credential is 401 also where none is required.
 */
export function createAuthenticate(options: AuthenticateOptions): GatewayMiddleware {
  const { identify, requireAuth, namespace, rate, places, addressOf } = options
  return async (context, next) => {
    const credential = credentialOf(context)
    if (credential === null && requireAuth) throw new ApiKeyMissingError()
    const identity = credential === null ? anonymous(namespace) : await identify(credential)
    if (identity === null) throw new ApiKeyInvalidError()
    context.state.identity = identity
    const caller =
      identity.subject === null ? `anonymous ${addressOf(context)}` : `${identity.kind} ${identity.subject}`
    const waitS = rate.take(caller, Date.now())
    if (waitS > 0) throw new RateLimitedError(waitS)
    const leave = places.take(caller)
    if (leave === null) throw new RateLimitedError(1)
    context.res.once('close', leave)
    try {
      await next()
    } catch (error) {
      leave()
      throw error
    }
  }
}

/**
 * The presented key or token, or null. `Authorization` goes before `X-API-Key`: `Bearer <key>`, `ApiKey <key>`, or a bare
 * value without spaces. A scheme without a key is no credential. Another scheme (a proxy's, say) gives way to
 * `X-API-Key`, and is a wrong credential without one.
 */
export function credentialOf(context: Pick<Context, 'get'>): Credential | null {
  const authorization = context.get('authorization').trim()
  const header = context.get('x-api-key').trim()
  const scheme = /^(bearer|apikey)\s+(.+)$/is.exec(authorization)
  if (scheme !== null) return { text: scheme[2] as string, bearer: scheme[1]?.toLowerCase() === 'bearer' }
  const bare = /^(?:bearer|apikey)$/i.test(authorization) ? '' : authorization
  if (bare !== '' && !(/\s/.test(bare) && header !== '')) return { text: bare, bearer: false }
  return header === '' ? null : { text: header, bearer: false }
}

function anonymous(namespace: string): Identity {
  return { namespace, apiKeyId: null, kind: 'anonymous', subject: null, owner: true, token: null }
}
