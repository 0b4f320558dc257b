/**
 * Who a credential belongs to. What is dear (RS256) is done once a token; what may change (revoked, owner, key gone) is
 * looked up again when, and only when, a gateway of the data directory has changed something of the kind.
 */
import { createHash } from 'node:crypto'
import { hashKey } from '../config.ts'
import { IDENTITIES_MAX } from '../constants.ts'
import type { Identity } from '../http.ts'
import type { AuthReader } from '../store/auth-reader.ts'
import { type Claims, inTime, looksLikeToken, verifyToken } from './jwt.ts'
import type { KeyFile } from './key-file.ts'

/** No key is longer; hashing megabytes for a stranger is work he should not get. */
const API_KEY_MAX_CHARS = 1024

/** What was presented. Only `Authorization: Bearer` may be a token. */
export interface Credential {
  text: string
  bearer: boolean
}

export type Identify = (credential: Credential) => Promise<Identity | null>

export interface IdentifyOptions {
  reader: AuthReader
  keys: Pick<KeyFile, 'verifying' | 'look'>
  now?: () => number
}

interface KnownToken {
  claims: Claims
  header: string
  revision: number
  identity: Identity | null
}

export function createIdentify({ reader, keys, now = Date.now }: IdentifyOptions): Identify {
  const tokens = new Map<string, KnownToken>()
  const apiKeys = new Map<string, { revision: number; identity: Identity }>()
  let seenRevision = 0

  async function ofToken(text: string, revision: number): Promise<Identity | null> {
    const name = createHash('sha256').update(text).digest('base64url')
    const header = text.slice(0, text.indexOf('.'))
    let verifying = await keys.verifying()
    let known = tokens.get(name)
    if (known === undefined) {
      if (!verifying.has(header)) {
        // Perhaps a key that another gateway has made a moment ago.
        await keys.look()
        verifying = await keys.verifying()
      }
      const verified = verifyToken(text, verifying, now())
      if (verified === null) return null
      known = { claims: verified.claims, header, revision: -1, identity: null }
      remember(tokens, name, known)
    }
    if (!inTime(known.claims, now()) || !verifying.has(header)) {
      tokens.delete(name)
      return null
    }
    if (known.revision !== revision) {
      known.identity = await tokenIdentity(known.claims)
      known.revision = revision
    }
    return known.identity
  }

  async function tokenIdentity(claims: Claims): Promise<Identity | null> {
    const { namespace, sub, amr, jti, sid = '', epoch } = claims
    const subject = subjectOf(amr, sub)
    const facts = await reader.tokenFacts({ namespace, subject, wallet: amr === 'wallet' ? sub : '', jti, sid })
    if (facts.revoked || epoch < facts.epoch) return null
    const token = { ...claims }
    if (amr === 'wallet') return { namespace, apiKeyId: null, kind: 'wallet', subject: sub, owner: facts.owner, token }
    // A token is worth what its key is worth.
    const key = /^\d{1,15}$/.test(sub) ? await reader.keyById(Number(sub)) : null
    if (key === null || key.namespace !== namespace || key.createdAt !== claims.key_made) return null
    return { namespace, apiKeyId: key.id, kind: 'api_key', subject: sub, owner: key.owner, token }
  }

  async function ofKey(text: string, revision: number): Promise<Identity | null> {
    if (text.length > API_KEY_MAX_CHARS) return null
    const hash = hashKey(text)
    const known = apiKeys.get(hash)
    if (known?.revision === revision) return known.identity
    const key = await reader.keyByHash(hash)
    if (key === null) {
      apiKeys.delete(hash)
      return null
    }
    const { namespace, id, owner } = key
    const identity: Identity = { namespace, apiKeyId: id, kind: 'api_key', subject: String(id), owner, token: null }
    remember(apiKeys, hash, { revision, identity })
    return identity
  }

  return async ({ text, bearer }) => {
    const revision = await reader.revision()
    if (revision !== seenRevision) {
      seenRevision = revision
      await keys.look()
    }
    const token = bearer && looksLikeToken(text) ? await ofToken(text, revision) : null
    return token ?? (await ofKey(text, revision))
  }
}

/** How a subject is named where wallets and keys stand side by side. */
export function subjectOf(kind: Claims['amr'], sub: string): string {
  return `${kind}:${sub}`
}

function remember<V>(known: Map<string, V>, name: string, value: V): void {
  if (known.size >= IDENTITIES_MAX && !known.has(name)) known.delete(known.keys().next().value as string)
  known.set(name, value)
}
