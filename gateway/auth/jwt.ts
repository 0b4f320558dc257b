/**
 * Access tokens: RS256 JWTs that only gateways of this data directory issue (D30, P18). A header is never parsed: it
 * must be, byte for byte, the one that a known key's tokens have, so `alg`, `jwk`, `jku`, `crit` and the like have nobody
 * to talk to. Pure.
 */
import { createHash, type KeyObject, sign, verify } from 'node:crypto'
import { NAMESPACE_PATTERN } from '../config.ts'
import {
  ACCESS_TOKEN_LIFETIME_S,
  ACCESS_TOKEN_MAX_CHARS,
  CLOCK_SKEW_S,
  TOKEN_AUDIENCE,
  TOKEN_ISSUER
} from '../constants.ts'
import { isText } from './text.ts'

/** What is in a token. Times are whole seconds since 1970. */
export interface Claims {
  iss: string
  aud: string
  /** A wallet's id, or the id of an API key's row. */
  sub: string
  iat: number
  nbf: number
  exp: number
  /** Revokes this token. */
  jti: string
  namespace: string
  /** What the token was got with. */
  amr: 'wallet' | 'api_key'
  /** Revokes every token of one login; absent in tokens got with an API key. */
  sid?: string
  /** When the API key was made that the token was got with: a later key may have its row's id. */
  key_made?: string
  /** Of the subject in its namespace; an older one is no longer good. */
  epoch: number
}

export interface TokenKey {
  kid: string
  privateKey: KeyObject
  publicKey: KeyObject
  /** First part of every token of this key. */
  header: string
}

const BASE64URL = /^[A-Za-z0-9_-]+$/

/** RFC 7638 over the public key: the same key has the same name at every gateway. */
export function thumbprint(publicKey: KeyObject): string {
  const { e, kty, n } = publicKey.export({ format: 'jwk' })
  return createHash('sha256').update(JSON.stringify({ e, kty, n })).digest('base64url')
}

export function headerOf(kid: string): string {
  return Buffer.from(JSON.stringify({ alg: 'RS256', typ: 'JWT', kid })).toString('base64url')
}

export function newClaims(
  about: Pick<Claims, 'sub' | 'jti' | 'namespace' | 'amr' | 'sid' | 'key_made' | 'epoch'>,
  nowMs: number
): Claims {
  const now = Math.floor(nowMs / 1000)
  return {
    iss: TOKEN_ISSUER,
    sub: about.sub,
    aud: TOKEN_AUDIENCE,
    iat: now,
    nbf: now,
    exp: now + ACCESS_TOKEN_LIFETIME_S,
    jti: about.jti,
    namespace: about.namespace,
    amr: about.amr,
    ...(about.sid === undefined ? {} : { sid: about.sid }),
    ...(about.key_made === undefined ? {} : { key_made: about.key_made }),
    epoch: about.epoch
  }
}

export function signToken(claims: Claims, key: Pick<TokenKey, 'header' | 'privateKey'>): string {
  const signed = `${key.header}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}`
  return `${signed}.${sign('sha256', Buffer.from(signed), key.privateKey).toString('base64url')}`
}

/** Whether a credential is to be read as a token: it has three parts. */
export function looksLikeToken(text: string): boolean {
  const first = text.indexOf('.')
  const second = text.indexOf('.', first + 1)
  return first >= 0 && second >= 0 && text.indexOf('.', second + 1) < 0
}

/**
 * The claims and key of a token that is good now; null for every other text. One token has one spelling: padding, other
 * alphabets, loose last bits and white space are refused, so that no copy of a token passes for another one.
 * @param keys by `header`
 */
export function verifyToken(
  token: string,
  keys: ReadonlyMap<string, TokenKey>,
  nowMs: number
): { claims: Claims; kid: string } | null {
  if (token.length > ACCESS_TOKEN_MAX_CHARS) return null
  const parts = token.split('.')
  const [header = '', payload = '', signature = ''] = parts
  if (parts.length !== 3) return null
  const key = keys.get(header)
  const body = bytesOf(payload)
  const proof = bytesOf(signature)
  if (key === undefined || body === null || proof === null) return null
  if (!verify('sha256', Buffer.from(`${header}.${payload}`), key.publicKey, proof)) return null
  const claims = claimsIn(body)
  return claims !== null && inTime(claims, nowMs) ? { claims, kid: key.kid } : null
}

/** Whether now is within the token's time, give or take the skew of two clocks. */
export function inTime({ iat, nbf, exp }: Claims, nowMs: number): boolean {
  const now = nowMs / 1000
  return iat - CLOCK_SKEW_S <= now && nbf - CLOCK_SKEW_S <= now && now < exp + CLOCK_SKEW_S
}

function bytesOf(text: string): Buffer | null {
  if (!BASE64URL.test(text)) return null
  const bytes = Buffer.from(text, 'base64url')
  return bytes.toString('base64url') === text ? bytes : null
}

function claimsIn(body: Buffer): Claims | null {
  let found: unknown
  try {
    found = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body))
  } catch {
    return null
  }
  if (typeof found !== 'object' || found === null || Array.isArray(found)) return null
  const claims = found as Claims
  const right =
    claims.iss === TOKEN_ISSUER &&
    claims.aud === TOKEN_AUDIENCE &&
    isText(claims.sub) &&
    isText(claims.jti) &&
    (claims.sid === undefined || isText(claims.sid)) &&
    (claims.amr === 'wallet' || claims.amr === 'api_key') &&
    typeof claims.namespace === 'string' &&
    NAMESPACE_PATTERN.test(claims.namespace) &&
    [claims.iat, claims.nbf, claims.exp, claims.epoch].every(Number.isSafeInteger) &&
    claims.exp - claims.iat <= ACCESS_TOKEN_LIFETIME_S &&
    claims.nbf <= claims.exp
  return right ? claims : null
}
