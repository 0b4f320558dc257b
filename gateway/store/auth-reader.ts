/**
 * What each request asks about its credential. With better-sqlite3: prepared statements on a connection of its own that
 * only reads, where `PRAGMA data_version` tells in a microsecond that somebody, this process included, has written.
 */
import Sqlite from 'better-sqlite3'
import type { Knex } from 'knex'
import type { DbClient } from '../config.ts'
import { DATABASE_BUSY_TIMEOUT_MS } from '../constants.ts'
import { preparing } from './prepared.ts'

export interface KeyFacts {
  id: number
  namespace: string
  /** ISO 8601. */
  createdAt: string
  owner: boolean
}

export interface TokenFacts {
  revoked: boolean
  /** The subject's epoch now. */
  epoch: number
  /** Whether the wallet owns the namespace. */
  owner: boolean
}

type MaybePromise<T> = T | Promise<T>

export interface AuthReader {
  /** Changes whenever somebody's access may have ended, at whichever gateway. */
  revision: () => MaybePromise<number>
  keyByHash: (hash: string) => MaybePromise<KeyFacts | null>
  keyById: (id: number) => MaybePromise<KeyFacts | null>
  tokenFacts: (token: {
    namespace: string
    subject: string
    wallet: string
    jti: string
    sid: string
  }) => MaybePromise<TokenFacts>
  /** Whether this nonce may be used now; asked before the dear work, decided by `useNonce`. */
  hasNonce: (name: { namespace: string; wallet: string; nonce: string }, now: string) => MaybePromise<boolean>
  close: () => void
}

const KEY = `SELECT k.id AS id, n.name AS namespace, k.created_at AS createdAt, EXISTS (
    SELECT 1 FROM namespace_ownership o
    WHERE o.namespace_id = k.namespace_id AND o.owner_type = 'api_key' AND o.owner_id = k.key_hash
  ) AS owner
  FROM api_keys k JOIN namespaces n ON n.id = k.namespace_id`
const KEY_BY_HASH = `${KEY} WHERE k.key_hash = ?`
const KEY_BY_ID = `${KEY} WHERE k.id = ?`
const TOKEN_FACTS = `SELECT EXISTS (SELECT 1 FROM revoked_tokens WHERE id IN (?, ?)) AS revoked,
  coalesce((SELECT epoch FROM subject_epochs e WHERE e.namespace_id = n.id AND e.subject = ?), 0) AS epoch,
  EXISTS (SELECT 1 FROM namespace_ownership o WHERE o.namespace_id = n.id AND o.owner_type = 'wallet' AND o.owner_id = ?) AS owner
  FROM namespaces n WHERE n.name = ?`
const NONCE = `SELECT 1 AS found FROM nonces
  WHERE namespace = ? AND wallet = ? AND nonce = ? AND used_at IS NULL AND expires_at > ?`
const REVISION = 'SELECT revision FROM auth_revision'

export function createAuthReader(knex: Knex, { client, file }: { client: DbClient; file: string }): AuthReader {
  // Two libraries must not open one file in one process: closing it in one drops the locks of the other.
  const { first, changes, close } = client === 'better-sqlite3' ? preparedOn(file) : throughKnex(knex)
  let version: unknown = null
  let revision = 0
  return {
    revision() {
      if (changes === null) return then(first(REVISION, []), row => Number(row?.revision))
      const now = changes()
      if (now !== version) {
        // Before the row is read: a write in between is then seen next time.
        version = now
        revision = Number((first(REVISION, []) as Row).revision)
      }
      return revision
    },
    keyByHash: hash => then(first(KEY_BY_HASH, [hash]), keyFacts),
    keyById: id => then(first(KEY_BY_ID, [id]), keyFacts),
    tokenFacts: ({ jti, sid, subject, wallet, namespace }) =>
      then(first(TOKEN_FACTS, [jti, sid, subject, wallet, namespace]), row =>
        // A namespace that is gone has taken everything with it.
        row === undefined
          ? { revoked: true, epoch: 0, owner: false }
          : { revoked: row.revoked === 1, epoch: Number(row.epoch), owner: row.owner === 1 }
      ),
    hasNonce: ({ namespace, wallet, nonce }, now) =>
      then(first(NONCE, [namespace, wallet, nonce, now]), row => row !== undefined),
    close
  }
}

type Row = Record<string, unknown>

interface Connection {
  first: (sql: string, parameters: Array<string | number>) => MaybePromise<Row | undefined>
  /** null where it cannot be had. */
  changes: (() => unknown) | null
  close: () => void
}

function preparedOn(file: string): Connection {
  const connection = new Sqlite(file, { readonly: true, fileMustExist: true, timeout: DATABASE_BUSY_TIMEOUT_MS })
  const statement = preparing(sql => connection.prepare(sql))
  const version = connection.prepare('PRAGMA data_version').pluck()
  return {
    first: (sql, parameters) => statement(sql).get(...parameters) as Row | undefined,
    changes: () => version.get(),
    close: () => connection.close()
  }
}

function throughKnex(knex: Knex): Connection {
  return {
    first: async (sql, parameters) => (await knex.raw(sql, parameters))[0],
    changes: null,
    close: () => {}
  }
}

function keyFacts(row: Row | undefined): KeyFacts | null {
  if (row === undefined) return null
  return {
    id: Number(row.id),
    namespace: String(row.namespace),
    createdAt: String(row.createdAt),
    owner: row.owner === 1
  }
}

function then<A, B>(value: MaybePromise<A>, work: (value: A) => B): MaybePromise<B> {
  return value instanceof Promise ? value.then(work) : work(value)
}
