/** Rows of logins: nonces, sessions, apps, wallets' keys, owners. Whole acts are transactions of `auth/service.ts`. */
import type { Knex } from 'knex'
import {
  ACCESS_TOKEN_LIFETIME_S,
  AUDIT_KEEP_ROWS,
  CLOCK_SKEW_S,
  NAMESPACES_PER_WALLET_MAX,
  NONCES_MAX,
  NONCES_PER_CALLER_MAX
} from '../constants.ts'
import { ChallengesFullError, NamespacesFullError } from '../errors.ts'

/** What a challenge was given for. */
export interface NonceName {
  namespace: string
  wallet: string
  nonce: string
}

export interface Claimed {
  namespaceId: number
  /** Whether the wallet owns the namespace, now or before. */
  owner: boolean
}

export interface RefreshRow {
  id: number
  namespaceId: number
  namespace: string
  subject: string
  family: string
  revoked: boolean
}

export interface AuditEvent {
  namespaceId: number | null
  actor: string
  action: string
  resource?: string
  ip: string
}

/** One transaction. Its first statement must write: a reader that writes later would find the database busy. */
export interface AuthTransaction {
  /** Takes a nonce, once: false when it is unknown, used or over. */
  useNonce: (name: NonceName, now: string) => Promise<boolean>
  /** Makes a namespace that nobody has ever had the wallet's own; else tells whether it is. */
  claim: (namespace: string, wallet: string) => Promise<Claimed>
  addRefresh: (row: {
    namespaceId: number
    subject: string
    tokenHash: string
    family: string
    audience: string
    expiresAt: string
  }) => Promise<void>
  /** Takes a refresh token, once; what it is, in any case. */
  useRefresh: (
    tokenHash: string,
    namespace: string | null,
    now: string
  ) => Promise<{ used: boolean; row: RefreshRow | null }>
  /** Ends all refresh tokens and access tokens of one login. How many refresh tokens were still good. */
  endFamily: (family: string, nowMs: number) => Promise<number>
  /** Ends everything that this subject has in this namespace. */
  endSubject: (namespace: string, subject: string, now: string) => Promise<void>
  epochOf: (namespaceId: number, subject: string) => Promise<number>
  addApp: (row: {
    namespaceId: number
    appId: string
    name: string
    publicKey: string
    wallet: string
  }) => Promise<void>
  walletKey: (namespaceId: number, wallet: string) => Promise<{ apiKeyId: number; plan: string; sealed: Buffer } | null>
  /** A new key of this wallet, instead of the one it may have. */
  setWalletKey: (row: {
    namespaceId: number
    wallet: string
    keyHash: string
    plan: string
    sealed: Buffer
  }) => Promise<void>
  audit: (event: AuditEvent) => Promise<void>
}

export interface AuthRows {
  /** @throws ChallengesFullError */
  addNonce: (name: NonceName & { purpose: string; ip: string; expiresAt: string }, now: string) => Promise<void>
  transaction: <T>(work: (rows: AuthTransaction) => Promise<T>) => Promise<T>
  /** Runs the work behind SQLite's write lock, and tells every gateway that what it remembers may be old. */
  exclusively: (work: () => Promise<void>) => Promise<void>
}

export function createAuthRows(knex: Knex): AuthRows {
  return {
    async addNonce({ ip, wallet, purpose, expiresAt, ...name }, now) {
      await knex.transaction(async transaction => {
        await transaction('nonces').where('expires_at', '<=', now).orWhereNotNull('used_at').delete()
        // A flood of challenges for a wallet puts out only its own: those asked for at the same address.
        const kept = transaction('nonces')
          .where({ wallet, ip })
          .orderBy('id', 'desc')
          .limit(NONCES_PER_CALLER_MAX - 1)
          .select('id')
        await transaction('nonces').where({ wallet, ip }).whereNotIn('id', kept).delete()
        const [{ span }] = await transaction.raw('SELECT coalesce(max(id) - min(id) + 1, 0) AS span FROM nonces')
        if (span >= NONCES_MAX) {
          const [{ count }] = await transaction.raw('SELECT count(*) AS count FROM nonces')
          if (count >= NONCES_MAX) throw new ChallengesFullError()
        }
        await transaction('nonces').insert({ ...name, wallet, purpose, ip, expires_at: expiresAt })
      })
    },
    transaction: work => knex.transaction(transaction => work(transactionRows(transaction))),
    exclusively: work =>
      knex.transaction(async transaction => {
        await transaction('auth_revision').increment('revision')
        await work()
      })
  }
}

function transactionRows(knex: Knex): AuthTransaction {
  async function namespaceId(name: string): Promise<number> {
    const { id } = await knex('namespaces').where({ name }).first('id')
    return id
  }

  return {
    useNonce: async (name, now) =>
      (await knex('nonces')
        .where({ namespace: name.namespace, wallet: name.wallet, nonce: name.nonce })
        .whereNull('used_at')
        .where('expires_at', '>', now)
        .update({ used_at: now })) === 1,
    async claim(namespace, wallet) {
      const owner = { owner_type: 'wallet', owner_id: wallet }
      // Only a namespace that has no row is free. One without owners may have had some, and still have their data.
      const made = await knex.raw('INSERT INTO namespaces (name) VALUES (?) ON CONFLICT DO NOTHING RETURNING id', [
        namespace
      ])
      if (made.length === 0) {
        const id = await namespaceId(namespace)
        const found = await knex('namespace_ownership')
          .where({ namespace_id: id, ...owner })
          .first('namespace_id')
        return { namespaceId: id, owner: found !== undefined }
      }
      const owned = await knex('namespace_ownership').where(owner).pluck('namespace_id')
      if (owned.length >= NAMESPACES_PER_WALLET_MAX) throw new NamespacesFullError(NAMESPACES_PER_WALLET_MAX)
      await knex('namespace_ownership').insert({ namespace_id: made[0].id, ...owner })
      return { namespaceId: made[0].id, owner: true }
    },
    async addRefresh({ namespaceId: id, subject, tokenHash, family, audience, expiresAt }) {
      const row = { namespace_id: id, subject, token_hash: tokenHash, family, audience, expires_at: expiresAt }
      await knex('refresh_tokens').insert(row)
    },
    async useRefresh(tokenHash, namespace, now) {
      // Rows that are over go here, at the price of an index look-up, so that nothing else has to.
      await knex('refresh_tokens').where('expires_at', '<=', now).delete()
      const found = await knex('refresh_tokens')
        .join('namespaces', 'namespaces.id', 'refresh_tokens.namespace_id')
        .where('token_hash', tokenHash)
        .first(
          'refresh_tokens.id as id',
          'namespace_id as namespaceId',
          'namespaces.name as namespace',
          'subject',
          'family',
          'revoked_at as revokedAt'
        )
      if (found === undefined || (namespace !== null && namespace !== found.namespace))
        return { used: false, row: null }
      const { revokedAt, ...row } = found
      const used =
        (await knex('refresh_tokens').where('id', row.id).whereNull('revoked_at').update({ revoked_at: now })) === 1
      return { used, row: { ...row, revoked: revokedAt !== null } }
    },
    async endFamily(family, nowMs) {
      const now = new Date(nowMs).toISOString()
      await knex('revoked_tokens').where('expires_at', '<=', now).delete()
      const ended = await knex('refresh_tokens').where({ family }).whereNull('revoked_at').update({ revoked_at: now })
      await knex('revoked_tokens')
        .insert({ id: family, expires_at: lastUse(nowMs) })
        .onConflict('id')
        .merge(['expires_at'])
      return ended
    },
    async endSubject(namespace, subject, now) {
      await knex.raw(
        `INSERT INTO subject_epochs (namespace_id, subject, epoch) SELECT id, ?, 1 FROM namespaces WHERE name = ?
         ON CONFLICT DO UPDATE SET epoch = epoch + 1`,
        [subject, namespace]
      )
      await knex('refresh_tokens')
        .where({ namespace_id: await namespaceId(namespace), subject })
        .whereNull('revoked_at')
        .update({ revoked_at: now })
    },
    async epochOf(id, subject) {
      const found = await knex('subject_epochs').where({ namespace_id: id, subject }).first('epoch')
      return found?.epoch ?? 0
    },
    async addApp({ namespaceId: id, appId, name, publicKey, wallet }) {
      await knex('apps').insert({ namespace_id: id, app_id: appId, name, public_key: publicKey, wallet })
    },
    async walletKey(id, wallet) {
      const found = await knex('wallet_api_keys')
        .where({ namespace_id: id, wallet })
        .first('api_key_id as apiKeyId', 'plan', 'sealed_key as sealed')
      return found ?? null
    },
    async setWalletKey({ namespaceId: id, wallet, keyHash, plan, sealed }) {
      const old = await knex('wallet_api_keys').where({ namespace_id: id, wallet }).first('api_key_id')
      if (old !== undefined) {
        const { key_hash: hash } = await knex('api_keys').where('id', old.api_key_id).first('key_hash')
        await knex('namespace_ownership').where({ namespace_id: id, owner_type: 'api_key', owner_id: hash }).delete()
        await knex('api_keys').where('id', old.api_key_id).delete()
      }
      const [made] = await knex.raw(
        "INSERT INTO api_keys (key_hash, name, namespace_id) VALUES (?, 'wallet', ?) RETURNING id",
        [keyHash, id]
      )
      await knex('wallet_api_keys').insert({
        namespace_id: id,
        wallet,
        api_key_id: made.id,
        plan,
        sealed_key: sealed
      })
      await knex('namespace_ownership').insert({ namespace_id: id, owner_type: 'api_key', owner_id: keyHash })
    },
    async audit({ namespaceId: id, actor, action, resource = '', ip }) {
      await knex('audit_events').insert({ namespace_id: id, actor, action, resource, ip })
      // Ids only grow, so this is a range delete that mostly finds as many rows as were added.
      await knex('audit_events').whereRaw('id <= (SELECT max(id) FROM audit_events) - ?', [AUDIT_KEEP_ROWS]).delete()
    }
  }
}

/** Until when an access token of before may still be good. */
function lastUse(nowMs: number): string {
  return new Date(nowMs + (ACCESS_TOKEN_LIFETIME_S + 2 * CLOCK_SKEW_S) * 1000).toISOString()
}
