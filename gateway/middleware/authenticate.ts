/** Who asks: an API key from the request's headers (D11, D12), or nobody where auth is not required (P1). */
import type { Context } from 'koa'
import { hashKey } from '../config.ts'
import { ApiKeyInvalidError, ApiKeyMissingError } from '../errors.ts'
import type { GatewayMiddleware } from '../http.ts'
import type { ApiKeys } from '../store/api-keys.ts'

/** No key is longer; hashing megabytes for a stranger is work he should not get. */
const CREDENTIAL_MAX_CHARS = 1024

export interface AuthenticateOptions {
  apiKeys: Pick<ApiKeys, 'find'>
  requireAuth: boolean
  /** Where an anonymous caller lives. */
  namespace: string
}

/**
 * Sets `state.identity`, or answers 401. A wrong credential is 401 also where none is required.
 */
export function createAuthenticate({ apiKeys, requireAuth, namespace }: AuthenticateOptions): GatewayMiddleware {
  return async (context, next) => {
    const credential = credentialOf(context)
    if (credential === null) {
      if (requireAuth) throw new ApiKeyMissingError()
      context.state.identity = { namespace, apiKeyId: null }
      return next()
    }
    const found = credential.length > CREDENTIAL_MAX_CHARS ? null : await apiKeys.find(hashKey(credential))
    if (found === null) throw new ApiKeyInvalidError()
    context.state.identity = { namespace: found.namespace, apiKeyId: found.id }
    return next()
  }
}

/**
 * The presented key, or null. `Authorization` goes before `X-API-Key`: `Bearer <key>`, `ApiKey <key>`, or a bare
 * value without spaces. A scheme without a key is no credential. Another scheme (a proxy's, say) gives way to
 * `X-API-Key`, and is a wrong credential without one.
 */
export function credentialOf(context: Pick<Context, 'get'>): string | null {
  const authorization = context.get('authorization').trim()
  const header = context.get('x-api-key').trim()
  const scheme = /^(?:bearer|apikey)\s+(.+)$/is.exec(authorization)
  if (scheme !== null) return scheme[1] as string
  const bare = /^(?:bearer|apikey)$/i.test(authorization) ? '' : authorization
  if (bare !== '' && !(/\s/.test(bare) && header !== '')) return bare
  return header === '' ? null : header
}
