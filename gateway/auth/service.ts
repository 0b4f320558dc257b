/** Logging in, staying in, going out: what the routes below /v1/auth do, without HTTP. Each act is one transaction. */
import type { GatewayConfig } from '../config.ts'
import { hashKey } from '../config.ts'
import { APP_NAME_MAX_CHARS, NONCE_LIFETIME_MS, REFRESH_TOKEN_LIFETIME_MS, TOKEN_AUDIENCE } from '../constants.ts'
import { ApiKeyInvalidError, NamespaceMismatchError, NotOwnerError, RequestInvalidError } from '../errors.ts'
import type { Identity } from '../http.ts'
import type { AuthRows, AuthTransaction } from '../store/auth.ts'
import type { AuthReader } from '../store/auth-reader.ts'
import { JwtRequiredError, NonceInvalidError, RefreshTokenInvalidError } from './errors.ts'
import { subjectOf } from './identify.ts'
import { type Claims, newClaims, signToken } from './jwt.ts'
import type { KeyFile } from './key-file.ts'
import { type AuthBody, createProofReader, type Proof } from './proof.ts'
import { newApiKey, newAppId, newId, newNonce, newRefreshToken, seal, unseal } from './secrets.ts'
import { isText, textOf } from './text.ts'
import { parseChainType, parseNamespace, parseWallet } from './wallets.ts'

const PURPOSE_MAX_CHARS = 128
const PLAN_PATTERN = /^[a-zA-Z0-9_-]{1,32}$/

export interface Challenge {
  wallet: string
  namespace: string
  nonce: string
  purpose: string
  expiresAt: string
}

export interface Session {
  accessToken: string
  refreshToken: string
  subject: string
  namespace: string
}

export interface IssuedKey {
  apiKey: string
  namespace: string
  plan: string
  wallet: string
}

export interface RegisteredApp {
  appId: string
  name: string
  publicKey: string
  namespace: string
  wallet: string
}

export interface Auth {
  /** @throws RequestInvalidError, ChallengesFullError */
  challenge: (body: AuthBody, ip: string) => Promise<Challenge>
  /** @throws RequestInvalidError, NonceInvalidError, SiweInvalidError and what a bad signature throws */
  verify: (body: AuthBody, ip: string) => Promise<Session & { nonce: string }>
  /** The same, and NotOwnerError. */
  register: (body: AuthBody, ip: string) => Promise<RegisteredApp>
  /**
   * By a wallet's signature, or by a wallet's token. One key a wallet and namespace: asked again, it is the same, unless
   * `rotate: true` asks for another, which ends the old one.
   */
  apiKey: (body: AuthBody, identity: Identity | null, ip: string) => Promise<IssuedKey>
  /** A token for an API key. @throws ApiKeyInvalidError when the caller has none */
  token: (identity: Identity) => Promise<{ accessToken: string; namespace: string }>
  /** @throws RefreshTokenInvalidError; a token used twice ends its whole login */
  refresh: (body: AuthBody, ip: string) => Promise<Session>
  /** How many logins it ended, or all. @throws JwtRequiredError, RequestInvalidError */
  logout: (body: AuthBody, identity: Identity | null, ip: string) => Promise<number | 'all'>
}

export interface AuthOptions {
  config: Pick<GatewayConfig, 'namespace' | 'publicUrls' | 'chainIds'>
  rows: AuthRows
  reader: Pick<AuthReader, 'hasNonce' | 'tokenFacts' | 'keyById'>
  keys: Pick<KeyFile, 'signing' | 'ring'>
  now?: () => number
}

/** A login that is in the database and still needs its token signed. */
interface Unsigned {
  claims: Claims
  refreshToken: string
}

export function createAuth({ config, rows, reader, keys, now = Date.now }: AuthOptions): Auth {
  const iso = (ms: number) => new Date(ms).toISOString()
  const proofIn = createProofReader({ config, reader, now })

  /** First thing in a transaction: whoever comes second, at whichever gateway, has nothing to take. */
  async function take(transaction: AuthTransaction, { namespace, wallet, nonce }: Proof): Promise<void> {
    if (!(await transaction.useNonce({ namespace, wallet: wallet.id, nonce }, iso(now())))) {
      throw new NonceInvalidError()
    }
  }

  async function startSession(
    transaction: AuthTransaction,
    about: { namespaceId: number; namespace: string; wallet: string; family: string }
  ): Promise<Unsigned> {
    const { namespaceId, namespace, wallet, family } = about
    const subject = subjectOf('wallet', wallet)
    const refreshToken = newRefreshToken()
    await transaction.addRefresh({
      namespaceId,
      subject,
      tokenHash: hashKey(refreshToken),
      family,
      audience: TOKEN_AUDIENCE,
      expiresAt: iso(now() + REFRESH_TOKEN_LIFETIME_MS)
    })
    const epoch = await transaction.epochOf(namespaceId, subject)
    return {
      claims: newClaims({ sub: wallet, jti: newId(), namespace, amr: 'wallet', sid: family, epoch }, now()),
      refreshToken
    }
  }

  /** Outside the transaction: a signature takes its time, and a first key even more. */
  async function signed({ claims, refreshToken }: Unsigned): Promise<Session> {
    const accessToken = signToken(claims, await keys.signing())
    return { accessToken, refreshToken, subject: claims.sub, namespace: claims.namespace }
  }

  async function keyFor(
    transaction: AuthTransaction,
    request: Omit<IssuedKey, 'apiKey'> & { namespaceId: number; ip: string; rotate: boolean }
  ): Promise<IssuedKey> {
    const { namespaceId, namespace, wallet, plan, ip, rotate } = request
    const { sealingKey } = await keys.ring()
    const about = `${namespace} ${wallet}`
    const known = await transaction.walletKey(namespaceId, wallet)
    const opened = known === null || rotate ? null : unseal(sealingKey, known.sealed, about)
    if (known !== null && opened !== null) return { apiKey: opened, namespace, plan: known.plan, wallet }
    const apiKey = newApiKey(namespace)
    await transaction.setWalletKey({
      namespaceId,
      wallet,
      keyHash: hashKey(apiKey),
      plan,
      sealed: seal(sealingKey, apiKey, about)
    })
    await transaction.audit({
      namespaceId,
      actor: wallet,
      action: known === null ? 'api_key.create' : 'api_key.replace',
      ip
    })
    return { apiKey, namespace, plan, wallet }
  }

  return {
    async challenge(body, ip) {
      if (!isText(body.wallet)) throw new RequestInvalidError('wallet is required')
      const wallet = parseWallet(body.wallet, parseChainType(body.chain_type))
      const namespace = parseNamespace(body.namespace, config.namespace)
      const purpose = textOf(body.purpose, 'purpose', PURPOSE_MAX_CHARS)
      const nonce = newNonce()
      const nowMs = now()
      const expiresAt = iso(nowMs + NONCE_LIFETIME_MS)
      await rows.addNonce({ namespace, wallet: wallet.id, nonce, purpose, ip, expiresAt }, iso(nowMs))
      return { wallet: wallet.id, namespace, nonce, purpose, expiresAt }
    },

    async verify(body, ip) {
      const proof = await proofIn(body)
      const { namespace, wallet } = proof
      const session = await rows.transaction(async transaction => {
        await take(transaction, proof)
        // Who logs in to a namespace of somebody else gets a token that says who he is; the wall says what it opens.
        const { namespaceId, owner } = await transaction.claim(namespace, wallet.id)
        await transaction.audit({ namespaceId, actor: wallet.id, action: owner ? 'login' : 'login.foreign', ip })
        return await startSession(transaction, { namespaceId, namespace, wallet: wallet.id, family: newId() })
      })
      return { ...(await signed(session)), nonce: proof.nonce }
    },

    async register(body, ip) {
      const name = textOf(body.name, 'name', APP_NAME_MAX_CHARS)
      const proof = await proofIn(body)
      const { namespace, wallet, publicKey } = proof
      return await rows.transaction(async transaction => {
        await take(transaction, proof)
        const { namespaceId, owner } = await transaction.claim(namespace, wallet.id)
        if (!owner) throw new NotOwnerError()
        const app = { appId: newAppId(), name, publicKey, namespace, wallet: wallet.id }
        await transaction.addApp({ ...app, namespaceId })
        await transaction.audit({ namespaceId, actor: wallet.id, action: 'app.register', resource: app.appId, ip })
        return app
      })
    },

    async apiKey(body, identity, ip) {
      const plan = body.plan === undefined ? 'free' : body.plan
      if (typeof plan !== 'string' || !PLAN_PATTERN.test(plan)) throw new RequestInvalidError("invalid 'plan'")
      const byToken = identity?.kind === 'wallet' && body.signature === undefined && body.nonce === undefined
      const proof = byToken ? null : await proofIn(body)
      const namespace = proof?.namespace ?? (identity as Identity).namespace
      if (proof === null && parseNamespace(body.namespace, namespace) !== namespace) throw new NamespaceMismatchError()
      const wallet = proof?.wallet.id ?? (identity?.subject as string)
      await keys.ring()
      return await rows.transaction(async transaction => {
        if (proof !== null) await take(transaction, proof)
        const { namespaceId, owner } = await transaction.claim(namespace, wallet)
        if (!owner) throw new NotOwnerError()
        return await keyFor(transaction, { namespaceId, namespace, wallet, plan, ip, rotate: body.rotate === true })
      })
    },

    async token(identity) {
      const { kind, token, subject, namespace, apiKeyId } = identity
      // A token for a token would never have to end.
      if (kind !== 'api_key' || token !== null || subject === null || apiKeyId === null) throw new ApiKeyInvalidError()
      const key = await reader.keyById(apiKeyId)
      if (key === null) throw new ApiKeyInvalidError()
      const name = subjectOf('api_key', subject)
      const { epoch } = await reader.tokenFacts({ namespace, subject: name, wallet: '', jti: '', sid: '' })
      const claims = newClaims(
        { sub: subject, jti: newId(), namespace, amr: 'api_key', key_made: key.createdAt, epoch },
        now()
      )
      return { accessToken: signToken(claims, await keys.signing()), namespace }
    },

    async refresh(body, ip) {
      if (!isText(body.refresh_token)) throw new RequestInvalidError('refresh_token is required')
      const asked = body.namespace === undefined || body.namespace === '' ? null : parseNamespace(body.namespace, '')
      const hash = hashKey(body.refresh_token)
      const session = await rows.transaction(async transaction => {
        const { used, row } = await transaction.useRefresh(hash, asked, iso(now()))
        if (row === null) return null
        const { namespaceId, namespace, family, subject } = row
        const wallet = subject.slice(subjectOf('wallet', '').length)
        if (!used) {
          // Two have this token, and one of them is not its owner. Which one cannot be known, so both are out.
          await transaction.endFamily(family, now())
          await transaction.audit({ namespaceId, actor: wallet, action: 'refresh.reuse', resource: family, ip })
          return null
        }
        return await startSession(transaction, { namespaceId, namespace, wallet, family })
      })
      if (session === null) throw new RefreshTokenInvalidError()
      return await signed(session)
    },

    async logout(body, identity, ip) {
      if (body.all === true) {
        const token = identity?.token ?? null
        if (token === null) throw new JwtRequiredError()
        await rows.transaction(async transaction => {
          await transaction.endSubject(token.namespace, subjectOf(token.amr, token.sub), iso(now()))
          await transaction.audit({
            namespaceId: null,
            actor: token.sub,
            action: 'logout.all',
            resource: token.namespace,
            ip
          })
        })
        return 'all'
      }
      if (!isText(body.refresh_token)) {
        throw new RequestInvalidError('nothing to revoke: give refresh_token, or all=true with a jwt')
      }
      const hash = hashKey(body.refresh_token)
      return await rows.transaction(async transaction => {
        const { used, row } = await transaction.useRefresh(hash, null, iso(now()))
        if (row === null) return 0
        await transaction.endFamily(row.family, now())
        await transaction.audit({ namespaceId: row.namespaceId, actor: row.subject, action: 'logout', ip })
        return used ? 1 : 0
      })
    }
  }
}
