/** /v1/auth/* and /v1/apps: logging in with a wallet, and what a namespace's owner has registered. */
import { z } from 'zod'
import { count, isoTime, type Operation, text } from './operation.ts'

const TAG = 'Logging in'
const APPS = 'Apps'

const wallet = z.string().describe('a wallet’s address: hex of 20 bytes, or base58 with chain_type SOL')
const namespace = z.string().describe('of the login; GATEWAY_NAMESPACE if not said')
const nonce = z.string().describe('of a challenge: good once')
const chainType = z.enum(['ETH', 'SOL']).optional()
const signature = z.string().describe('of the nonce by EIP-191, in hex; by Ed25519 in base64 with chain_type SOL')
const signed = z.object({
  wallet: wallet.optional(),
  nonce: nonce.optional(),
  message: z.string().describe('by EIP-4361, in place of wallet and nonce').optional(),
  signature,
  namespace: namespace.optional(),
  chain_type: chainType
})
const accessToken = {
  access_token: z.string().describe('JWT, RS256'),
  token_type: z.literal('Bearer'),
  expires_in: count.describe('seconds')
}
const session = {
  ...accessToken,
  refresh_token: z.string().describe('good once'),
  subject: z.string(),
  namespace
}
const app = { app_id: z.string(), name: z.string(), public_key: z.string(), namespace }
const listed = z.object({ ...app, created_at: isoTime })
const json = (body: z.ZodType) => ({ 'application/json': body })
const tries = {
  400: ['INVALID_REQUEST'],
  408: ['BODY_STALLED'],
  413: ['BODY_TOO_LARGE'],
  429: ['RATE_LIMITED'],
  503: ['OVERLOADED', 'DATABASE_BUSY']
}
const proofs = {
  ...tries,
  400: ['INVALID_REQUEST', 'NONCE_INVALID', 'SIGNATURE_FORMAT', 'SIWE_INVALID'],
  401: ['SIGNATURE_RECOVERY', 'SIGNATURE_MISMATCH'],
  403: ['NAMESPACES_FULL']
}
const done = z.object({ status: z.literal('ok') })
const appId = { app_id: 'of the answer that registered it' }
const appFields = { name: z.string(), public_key: z.string() }

export const authOperations: Operation[] = [
  {
    at: ['POST /v1/auth/challenge'],
    tag: TAG,
    summary: 'A nonce for a wallet to sign',
    access: 'public',
    body: json(
      z.object({
        wallet,
        purpose: z.string().optional(),
        namespace: namespace.optional(),
        chain_type: chainType
      })
    ),
    answers: {
      200: {
        description: 'the nonce, good for five minutes, once',
        body: z.object({ wallet, namespace, nonce, purpose: z.string(), expires_at: isoTime })
      }
    },
    errors: { ...tries, 503: ['OVERLOADED', 'CHALLENGES_FULL', 'DATABASE_BUSY'] }
  },
  {
    at: ['POST /v1/auth/verify'],
    tag: TAG,
    summary: 'Log in with a signed nonce or EIP-4361 message',
    access: 'public',
    body: json(signed),
    answers: {
      200: {
        description: 'logged in',
        body: z.object({ ...session, nonce, signature_verified: z.literal(true) })
      }
    },
    errors: proofs
  },
  {
    at: ['POST /v1/auth/register'],
    tag: TAG,
    summary: 'Register an app with a signed nonce',
    access: 'public',
    body: json(signed.extend({ name: z.string().optional() })),
    answers: {
      201: {
        description: 'registered',
        body: z.object({
          client_id: z.string(),
          app: z.object({ ...app, wallet }),
          signature_verified: z.literal(true)
        })
      }
    },
    errors: { ...proofs, 403: ['NOT_OWNER', 'NAMESPACES_FULL', 'APPS_FULL'] }
  },
  {
    at: ['POST /v1/auth/api-key'],
    tag: TAG,
    summary: 'The API key of a wallet in a namespace',
    description: 'By a signed nonce or message, or by a wallet’s token and no body.',
    access: 'public',
    body: json(
      signed.partial().extend({
        plan: z.string().optional(),
        rotate: z.boolean().describe('true: a new one, and the old one ends').optional()
      })
    ),
    isBodyOptional: true,
    answers: {
      200: { description: 'the key', body: z.object({ api_key: z.string(), namespace, plan: z.string(), wallet }) }
    },
    errors: { ...proofs, 401: [...proofs[401], 'API_KEY_INVALID'], 403: ['NOT_OWNER', 'NAMESPACES_FULL'] }
  },
  {
    at: ['POST /v1/auth/refresh'],
    tag: TAG,
    summary: 'A new access token, and a new refresh token',
    access: 'public',
    body: json(z.object({ refresh_token: z.string(), namespace: namespace.optional() })),
    answers: { 200: { description: 'the tokens; the old refresh token is used up', body: z.object(session) } },
    errors: { ...tries, 401: ['REFRESH_TOKEN_INVALID'] }
  },
  {
    at: ['POST /v1/auth/logout'],
    tag: TAG,
    summary: 'End a login, or all of a subject',
    access: 'public',
    body: json(
      z.object({
        refresh_token: z.string().optional(),
        all: z.boolean().describe('true: every login of the token’s subject in its namespace').optional()
      })
    ),
    answers: {
      200: {
        description: 'how many ended',
        body: z.object({ status: z.literal('ok'), revoked: z.union([z.int().min(0), z.literal('all')]) })
      }
    },
    errors: { ...tries, 401: ['JWT_REQUIRED'] }
  },
  {
    at: ['POST /v1/auth/token'],
    tag: TAG,
    summary: 'A token for an API key',
    access: 'key',
    answers: { 200: { description: 'the token', body: z.object({ ...accessToken, namespace }) } },
    errors: { 503: ['DATABASE_BUSY'] }
  },
  {
    at: ['GET /v1/auth/whoami'],
    tag: TAG,
    summary: 'Whom the gateway takes the caller for',
    access: 'key',
    answers: {
      200: {
        description: 'the caller',
        body: z.union([
          z.object({
            authenticated: z.literal(true),
            method: z.literal('jwt'),
            subject: z.string(),
            issuer: z.string(),
            audience: z.string(),
            issued_at: count,
            not_before: count,
            expires_at: count,
            namespace
          }),
          z.object({
            authenticated: z.literal(true),
            method: z.literal('api_key'),
            api_key: z.string().describe('as it was presented'),
            namespace
          }),
          z.object({ authenticated: z.literal(false), method: z.literal('none'), namespace })
        ])
      }
    }
  },
  {
    at: ['GET /v1/auth/jwks', 'GET /.well-known/jwks.json'],
    tag: TAG,
    summary: 'The keys that tokens are signed by',
    access: 'public',
    answers: {
      200: {
        description: 'public keys (RFC 7517)',
        body: z.object({
          keys: z.array(
            z.object({
              kty: z.literal('RSA'),
              use: z.literal('sig'),
              alg: z.literal('RS256'),
              kid: z.string(),
              n: z.string(),
              e: z.string()
            })
          )
        })
      }
    }
  },
  {
    at: ['GET /v1/auth/login'],
    tag: TAG,
    summary: 'The page that logs in with a browser’s wallet',
    access: 'public',
    query: {
      callback: text('where the API key goes: on loopback, or one of GATEWAY_LOGIN_CALLBACKS'),
      namespace: text('of the login'),
      state: text('given back to the callback')
    },
    answers: { 200: { description: 'the page', body: 'html' } },
    errors: { 400: ['INVALID_REQUEST'] }
  },
  {
    at: ['GET /v1/auth/login.js', 'GET /v1/auth/login.css'],
    tag: TAG,
    summary: 'Script and style of the login page',
    access: 'public',
    answers: { 200: { description: 'the file', body: { 'text/javascript': 'text', 'text/css': 'text' } } }
  },
  {
    at: ['GET /v1/apps'],
    tag: APPS,
    summary: 'Apps of the namespace',
    access: 'key',
    inNamespace: true,
    answers: { 200: { description: 'all of them', body: z.object({ items: z.array(listed), count }) } }
  },
  {
    at: ['POST /v1/apps'],
    tag: APPS,
    summary: 'Register an app',
    access: 'key',
    inNamespace: true,
    body: json(z.object(appFields)),
    answers: { 201: { description: 'registered', body: z.object(app) } },
    errors: { 400: ['INVALID_REQUEST'], 403: ['APPS_FULL'], 413: ['BODY_TOO_LARGE'], 503: ['DATABASE_BUSY'] }
  },
  {
    at: ['GET /v1/apps/:app_id'],
    tag: APPS,
    summary: 'One app',
    access: 'key',
    inNamespace: true,
    params: appId,
    answers: { 200: { description: 'the app', body: listed } },
    errors: { 404: ['APP_NOT_FOUND'] }
  },
  {
    at: ['PUT /v1/apps/:app_id'],
    tag: APPS,
    summary: 'Change an app',
    access: 'key',
    inNamespace: true,
    params: appId,
    body: json(z.object(appFields).partial()),
    answers: { 200: { description: 'changed', body: done } },
    errors: { 400: ['INVALID_REQUEST'], 404: ['APP_NOT_FOUND'], 413: ['BODY_TOO_LARGE'], 503: ['DATABASE_BUSY'] }
  },
  {
    at: ['DELETE /v1/apps/:app_id'],
    tag: APPS,
    summary: 'Remove an app',
    access: 'key',
    inNamespace: true,
    params: appId,
    answers: { 200: { description: 'removed', body: done } },
    errors: { 404: ['APP_NOT_FOUND'], 503: ['DATABASE_BUSY'] }
  }
]
