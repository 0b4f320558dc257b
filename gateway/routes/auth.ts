/** /v1/auth/*: logging in with a wallet, staying in, going out (D22–D39, P14–P23, P26). */
import type { Context } from 'koa'
import { parseCallback } from '../auth/callback.ts'
import type { Identify } from '../auth/identify.ts'
import type { KeyFile } from '../auth/key-file.ts'
import { presentJwks } from '../auth/key-ring.ts'
import type { AuthBody } from '../auth/proof.ts'
import type { RateLimit } from '../auth/rate.ts'
import type { Auth } from '../auth/service.ts'
import { parseNamespace } from '../auth/wallets.ts'
import type { GatewayConfig } from '../config.ts'
import { AUTH_BODY_MAX_BYTES, AUTH_BODY_TIMEOUT_MS, AUTH_REQUESTS_MAX, JWKS_MAX_AGE_S } from '../constants.ts'
import { ApiKeyInvalidError, RateLimitedError, RequestInvalidError } from '../errors.ts'
import { type GatewayMiddleware, type Identity, queryParameter, type Route, route } from '../http.ts'
import { credentialOf } from '../middleware/authenticate.ts'
import { createConcurrencyLimit, jsonBodyOf } from '../middleware/limits.ts'
import {
  LOGIN_SCRIPT,
  LOGIN_SCRIPT_PATH,
  LOGIN_STYLE,
  LOGIN_STYLE_PATH,
  loginHeaders,
  loginPage
} from '../page/login.ts'
import {
  presentAccessToken,
  presentChallenge,
  presentIssuedKey,
  presentRegisteredApp,
  presentSession,
  presentWhoami
} from '../present.ts'

export interface AuthRouteOptions {
  auth: Auth
  keys: Pick<KeyFile, 'ring'>
  identify: Identify
  authenticate: GatewayMiddleware
  config: Pick<GatewayConfig, 'namespace' | 'loginCallbacks'>
  /** Of one address, over all public paths here that cost something. */
  rate: RateLimit
  addressOf: (context: Context) => string
}

const STATE_MAX_CHARS = 512

export function authRoutes(options: AuthRouteOptions): Route[] {
  const { auth, keys, identify, authenticate, config, rate, addressOf } = options

  /** Answers here are nobody else's, and strangers get so many of them. */
  const guarded: GatewayMiddleware = (context, next) => {
    context.set('Cache-Control', 'no-store')
    const waitS = rate.take(addressOf(context), Date.now())
    if (waitS > 0) throw new RateLimitedError(waitS)
    return next()
  }

  /** Strangers leave places for whoever has a key. */
  const place = createConcurrencyLimit(AUTH_REQUESTS_MAX)

  const challenge: GatewayMiddleware = async context => {
    context.body = presentChallenge(await auth.challenge(await bodyOf(context), addressOf(context)))
  }

  const verify: GatewayMiddleware = async context => {
    const session = await auth.verify(await bodyOf(context), addressOf(context))
    context.body = { ...presentSession(session), nonce: session.nonce, signature_verified: true }
  }

  const register: GatewayMiddleware = async context => {
    const app = await auth.register(await bodyOf(context), addressOf(context))
    context.status = 201
    context.body = { client_id: app.appId, app: presentRegisteredApp(app), signature_verified: true }
  }

  const apiKey: GatewayMiddleware = async context => {
    const identity = await presentedBy(context)
    const body = await bodyOf(context)
    if (identity === null && body.signature === undefined && credentialOf(context) !== null) {
      throw new ApiKeyInvalidError()
    }
    context.body = presentIssuedKey(await auth.apiKey(body, identity, addressOf(context)))
  }

  const token: GatewayMiddleware = async context => {
    context.set('Cache-Control', 'no-store')
    const { accessToken, namespace } = await auth.token(context.state.identity as Identity)
    context.body = { ...presentAccessToken(accessToken), namespace }
  }

  const refresh: GatewayMiddleware = async context => {
    context.body = presentSession(await auth.refresh(await bodyOf(context), addressOf(context)))
  }

  const logout: GatewayMiddleware = async context => {
    const identity = await presentedBy(context)
    context.body = { status: 'ok', revoked: await auth.logout(await bodyOf(context), identity, addressOf(context)) }
  }

  const whoami: GatewayMiddleware = context => {
    context.set('Cache-Control', 'no-store')
    context.body = presentWhoami(context.state.identity as Identity, credentialOf(context)?.text ?? '')
  }

  const jwks: GatewayMiddleware = async context => {
    context.set('Cache-Control', `public, max-age=${JWKS_MAX_AGE_S}`)
    context.type = 'application/json; charset=utf-8'
    context.body = JSON.stringify(presentJwks(await keys.ring(), Date.now()))
  }

  const login: GatewayMiddleware = context => {
    const callback = parseCallback(queryParameter(context, 'callback'), config.loginCallbacks)
    const namespace = parseNamespace(queryParameter(context, 'namespace'), '')
    const state = queryParameter(context, 'state') ?? ''
    if (state.length > STATE_MAX_CHARS) throw new RequestInvalidError("invalid 'state': too long")
    context.set(loginHeaders(callback))
    context.type = 'text/html; charset=utf-8'
    context.body = loginPage({ callback, namespace, state })
  }

  const file =
    (type: string, text: string): GatewayMiddleware =>
    context => {
      context.set({ 'X-Content-Type-Options': 'nosniff', 'Cache-Control': 'no-cache' })
      context.type = type
      context.body = text
    }

  /** Who asks on a path that is public; null for nobody and for a wrong credential. */
  async function presentedBy(context: Context): Promise<Identity | null> {
    const credential = credentialOf(context)
    return credential === null ? null : await identify(credential)
  }

  return [
    route('POST', '/v1/auth/challenge', guarded, place, challenge),
    route('POST', '/v1/auth/verify', guarded, place, verify),
    route('POST', '/v1/auth/register', guarded, place, register),
    route('POST', '/v1/auth/api-key', guarded, place, apiKey),
    route('POST', '/v1/auth/refresh', guarded, place, refresh),
    route('POST', '/v1/auth/logout', guarded, place, logout),
    route('POST', '/v1/auth/token', authenticate, token),
    route('GET', '/v1/auth/whoami', authenticate, whoami),
    route('GET', '/v1/auth/jwks', jwks),
    route('GET', '/.well-known/jwks.json', jwks),
    route('GET', '/v1/auth/login', login),
    route('GET', LOGIN_SCRIPT_PATH, file('text/javascript; charset=utf-8', LOGIN_SCRIPT)),
    route('GET', LOGIN_STYLE_PATH, file('text/css; charset=utf-8', LOGIN_STYLE))
  ]
}

/** The JSON object of a body; no body is an empty one. */
async function bodyOf(context: Context): Promise<AuthBody> {
  if ((context.request.length ?? 0) === 0 && context.get('transfer-encoding') === '') return {}
  try {
    return await jsonBodyOf(context, {
      maxBytes: AUTH_BODY_MAX_BYTES,
      timeoutMs: AUTH_BODY_TIMEOUT_MS,
      expected: 'json'
    })
  } catch (error) {
    throw error instanceof RequestInvalidError ? new RequestInvalidError('invalid json body') : error
  }
}
