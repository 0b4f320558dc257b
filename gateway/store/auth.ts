/** Rows of logins: nonces, sessions, apps, wallets' keys, owners. Whole acts are transactions of `auth/service.ts`. */
import {
  ACCESS_TOKEN_LIFETIME_S,
  AUDIT_KEEP_ROWS,
  CLOCK_SKEW_S,
  NAMESPACES_PER_WALLET_MAX,
  NONCES_MAX,
  NONCES_PER_CALLER_MAX
} from '../constants.ts'
import { ChallengesFullError, NamespacesFullError } from '../errors.ts'
import { checkRoom } from './apps.ts'
import type { Session, Sessions } from './session.ts'

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
  namespaceId: number
  namespace: string
  subject: string
  family: string
}

export interface AuditEvent {
  namespaceId: number | null
  actor: string
  action: string
  resource?: string
  ip: string
}

/** One transaction. */
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
  /** Ends all refresh tokens and access tokens of one login. */
  endFamily: (family: string, nowMs: number) => Promise<void>
  /** Ends everything that this subject has in this namespace. */
  endSubject: (namespace: string, subject: string, now: string) => Promise<void>
  epochOf: (namespaceId: number, subject: string) => Promise<number>
  addApp: (row: {
    namespaceId: number
    namespace: string
    appId: string
    name: string
    publicKey: string
    wallet: string
  }) => Promise<void>
  walletKey: (namespaceId: number, wallet: string) => Promise<{ plan: string; sealed: Uint8Array } | null>
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

export function createAuthRows({ transaction }: Sessions): AuthRows {
  return {
    addNonce: ({ namespace, wallet, nonce, ip, purpose, expiresAt }, now) =>
      transaction(
        async session => {
          await session.run('DELETE FROM nonces WHERE expires_at <= ? OR used_at IS NOT NULL', now)
          // A flood of challenges for a wallet puts out only its own: those asked for at the same address.
          await session.run(
            `DELETE FROM nonces WHERE wallet = ? AND ip = ? AND id NOT IN (
             SELECT id FROM nonces WHERE wallet = ? AND ip = ? ORDER BY id DESC LIMIT ${NONCES_PER_CALLER_MAX - 1})`,
            ...[wallet, ip, wallet, ip]
          )
          // Ids only grow, so this is at least the number of rows, and costs nothing.
          const most = await session.get('SELECT coalesce(max(id) - min(id) + 1, 0) AS rows FROM nonces')
          if (Number(most?.rows) >= NONCES_MAX) {
            const exact = await session.get('SELECT count(*) AS rows FROM nonces')
            if (Number(exact?.rows) >= NONCES_MAX) throw new ChallengesFullError()
          }
          await session.run(
            'INSERT INTO nonces (namespace, wallet, nonce, purpose, ip, expires_at) VALUES (?, ?, ?, ?, ?, ?)',
            ...[namespace, wallet, nonce, purpose, ip, expiresAt]
          )
          // A challenge that a power cut takes is asked for again; the login that uses it waits for the disk.
        },
        { isDurable: false }
      ),
    transaction: work => transaction(session => work(transactionRows(session))),
    exclusively: work =>
      transaction(async session => {
        await work()
        await session.run('UPDATE auth_revision SET revision = revision + 1')
      })
  }
}

function transactionRows(session: Session): AuthTransaction {
  const { get, run } = session
  return {
    useNonce: async ({ namespace, wallet, nonce }, now) =>
      (await run(
        `UPDATE nonces SET used_at = ?
         WHERE namespace = ? AND wallet = ? AND nonce = ? AND used_at IS NULL AND expires_at > ?`,
        ...[now, namespace, wallet, nonce, now]
      )) === 1,
    async claim(namespace, wallet) {
      const found = await get(
        `SELECT id, EXISTS (
           SELECT 1 FROM namespace_ownership o
           WHERE o.namespace_id = namespaces.id AND o.owner_type = 'wallet' AND o.owner_id = ?
         ) AS owner FROM namespaces WHERE name = ?`,
        ...[wallet, namespace]
      )
      // Only a namespace that has no row is free. One without owners may have had some, and still have their data.
      if (found !== undefined) return { namespaceId: Number(found.id), owner: found.owner === 1 }
      const owned = await get(
        "SELECT count(*) AS rows FROM namespace_ownership WHERE owner_type = 'wallet' AND owner_id = ?",
        wallet
      )
      if (Number(owned?.rows) >= NAMESPACES_PER_WALLET_MAX) throw new NamespacesFullError(NAMESPACES_PER_WALLET_MAX)
      const made = await get('INSERT INTO namespaces (name) VALUES (?) RETURNING id', namespace)
      const namespaceId = Number(made?.id)
      await run(ADD_OWNER, namespaceId, 'wallet', wallet)
      return { namespaceId, owner: true }
    },
    async addRefresh({ namespaceId, subject, tokenHash, family, audience, expiresAt }) {
      await run(
        `INSERT INTO refresh_tokens (namespace_id, subject, token_hash, family, audience, expires_at)
         VALUES (?, ?, ?, ?, ?, ?)`,
        ...[namespaceId, subject, tokenHash, family, audience, expiresAt]
      )
    },
    async useRefresh(tokenHash, namespace, now) {
      // Rows that are over go here, at the price of an index look-up, so that nothing else has to.
      await run('DELETE FROM refresh_tokens WHERE expires_at <= ?', now)
      const found = await get(
        `SELECT r.id AS id, r.namespace_id AS namespaceId, n.name AS namespace, r.subject AS subject, r.family AS family
         FROM refresh_tokens r JOIN namespaces n ON n.id = r.namespace_id WHERE r.token_hash = ?`,
        tokenHash
      )
      if (found === undefined || (namespace !== null && namespace !== found.namespace))
        return { used: false, row: null }
      const used = await run(
        'UPDATE refresh_tokens SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL',
        ...[now, Number(found.id)]
      )
      const { namespaceId, subject, family } = found
      const row = {
        namespaceId: Number(namespaceId),
        namespace: String(found.namespace),
        subject: String(subject),
        family: String(family)
      }
      return { used: used === 1, row }
    },
    async endFamily(family, nowMs) {
      const now = new Date(nowMs).toISOString()
      await run('DELETE FROM revoked_tokens WHERE expires_at <= ?', now)
      await run('UPDATE refresh_tokens SET revoked_at = ? WHERE family = ? AND revoked_at IS NULL', now, family)
      await run(
        `INSERT INTO revoked_tokens (id, expires_at) VALUES (?, ?)
         ON CONFLICT DO UPDATE SET expires_at = excluded.expires_at`,
        ...[family, lastUse(nowMs)]
      )
    },
    async endSubject(namespace, subject, now) {
      await run(
        `INSERT INTO subject_epochs (namespace_id, subject, epoch) SELECT id, ?, 1 FROM namespaces WHERE name = ?
         ON CONFLICT DO UPDATE SET epoch = epoch + 1`,
        ...[subject, namespace]
      )
      await run(
        `UPDATE refresh_tokens SET revoked_at = ? WHERE subject = ? AND revoked_at IS NULL
         AND namespace_id = (SELECT id FROM namespaces WHERE name = ?)`,
        ...[now, subject, namespace]
      )
    },
    async epochOf(namespaceId, subject) {
      const found = await get(
        'SELECT epoch FROM subject_epochs WHERE namespace_id = ? AND subject = ?',
        ...[namespaceId, subject]
      )
      return Number(found?.epoch ?? 0)
    },
    async addApp({ namespaceId, namespace, appId, name, publicKey, wallet }) {
      await checkRoom(session, namespace)
      await run(
        'INSERT INTO apps (namespace_id, app_id, name, public_key, wallet) VALUES (?, ?, ?, ?, ?)',
        ...[namespaceId, appId, name, publicKey, wallet]
      )
    },
    async walletKey(namespaceId, wallet) {
      const found = await get(
        'SELECT plan, sealed_key AS sealed FROM wallet_api_keys WHERE namespace_id = ? AND wallet = ?',
        ...[namespaceId, wallet]
      )
      return found === undefined ? null : { plan: String(found.plan), sealed: found.sealed as Buffer }
    },
    async setWalletKey({ namespaceId, wallet, keyHash, plan, sealed }) {
      const old = await get(
        `SELECT k.id AS id, k.key_hash AS hash FROM wallet_api_keys w JOIN api_keys k ON k.id = w.api_key_id
         WHERE w.namespace_id = ? AND w.wallet = ?`,
        ...[namespaceId, wallet]
      )
      if (old !== undefined) {
        await run(
          "DELETE FROM namespace_ownership WHERE namespace_id = ? AND owner_type = 'api_key' AND owner_id = ?",
          ...[namespaceId, String(old.hash)]
        )
        // Its row of wallet_api_keys goes with it.
        await run('DELETE FROM api_keys WHERE id = ?', Number(old.id))
      }
      const made = await get(
        "INSERT INTO api_keys (key_hash, name, namespace_id) VALUES (?, 'wallet', ?) RETURNING id",
        ...[keyHash, namespaceId]
      )
      await run(
        'INSERT INTO wallet_api_keys (namespace_id, wallet, api_key_id, plan, sealed_key) VALUES (?, ?, ?, ?, ?)',
        ...[namespaceId, wallet, Number(made?.id), plan, sealed]
      )
      await run(ADD_OWNER, namespaceId, 'api_key', keyHash)
    },
    async audit({ namespaceId, actor, action, resource = '', ip }) {
      await run(
        'INSERT INTO audit_events (namespace_id, actor, action, resource, ip) VALUES (?, ?, ?, ?, ?)',
        ...[namespaceId, actor, action, resource, ip]
      )
      // Ids only grow, so this is a range delete that mostly finds as many rows as were added.
      await run(`DELETE FROM audit_events WHERE id <= (SELECT max(id) FROM audit_events) - ${AUDIT_KEEP_ROWS}`)
    }
  }
}

const ADD_OWNER = 'INSERT INTO namespace_ownership (namespace_id, owner_type, owner_id) VALUES (?, ?, ?)'

/** Until when an access token of before may still be good. */
function lastUse(nowMs: number): string {
  return new Date(nowMs + (ACCESS_TOKEN_LIFETIME_S + 2 * CLOCK_SKEW_S) * 1000).toISOString()
}
