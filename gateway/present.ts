/** Domain value → JSON as the documents promise it, one function a type. Pure. */
import type { Reachability } from '../node/index.ts'
import type { Challenge, IssuedKey, RegisteredApp, Session } from './auth/service.ts'
import { ACCESS_TOKEN_LIFETIME_S } from './constants.ts'
import type { Identity } from './http.ts'
import type { SqlTable } from './sql/scoped.ts'
import type { SqlResult } from './sql/sql.types.ts'
import type { KeyPage } from './storage/scoped.ts'
import type { StoredValue } from './storage/storage.ts'

/** Every error's body (D7, with the stable code beside the message). */
export function presentError(code: string, message: string) {
  return { error: message, code }
}

/** 201 of a put; `cid` only for values that are blobs, `expires_at` only for those with a time to live. */
export function presentStored(key: string, { sizeBytes, cid, expiresAtMs }: StoredValue) {
  return { status: 'ok', key, size: sizeBytes, ...(cid === null ? {} : { cid }), ...presentExpiry(expiresAtMs) }
}

/** The field `expires_at`, where there is an end. */
export function presentExpiry(expiresAtMs: number | null) {
  return expiresAtMs === null ? {} : { expires_at: new Date(expiresAtMs).toISOString() }
}

/** A page of keys; `next_cursor` only where there is another page. */
export function presentKeys({ keys, nextCursor }: KeyPage) {
  return { keys, ...(nextCursor === null ? {} : { next_cursor: nextCursor }) }
}

export function presentDeleted(key: string) {
  return { status: 'ok', key }
}

export interface ServerFacts {
  startedAt: Date
  now: Date
}

/** Uptime as Go prints a duration, which the seed's clients read: `1h2m3s`. */
function presentUptime({ startedAt, now }: ServerFacts): string {
  const seconds = Math.max(0, Math.floor((now.getTime() - startedAt.getTime()) / 1000))
  const parts = [
    [Math.floor(seconds / 3600), 'h'],
    [Math.floor(seconds / 60) % 60, 'm'],
    [seconds % 60, 's']
  ] as const
  const first = parts.findIndex(([count]) => count > 0)
  return (first < 0 ? parts.slice(-1) : parts.slice(first)).map(([count, unit]) => `${count}${unit}`).join('')
}

export interface ClientHealth {
  connection: string
  database: string
  storage: string
  pubsub: string
}

/** D19. */
export function presentHealth(
  server: ServerFacts,
  client: {
    healthy: boolean
    checks: ClientHealth
    updatedAt: Date
    responseMs: number
    reachability: Reachability | null
  } | null
) {
  return {
    status: 'ok',
    server: { status: 'ok', started_at: server.startedAt.toISOString(), uptime: presentUptime(server) },
    client:
      client === null
        ? null
        : {
            status: client.healthy ? 'healthy' : 'unhealthy',
            checks: client.checks,
            last_updated: client.updatedAt.toISOString(),
            response_time: `${client.responseMs.toFixed(1)}ms`,
            reachability: client.reachability
          }
  }
}

/** D58, also inside D20. */
export function presentNetworkStatus(status: {
  peerId: string
  connected: boolean
  peerCount: number
  databaseBytes: number
  server: ServerFacts
}) {
  return {
    node_id: status.peerId,
    connected: status.connected,
    peer_count: status.peerCount,
    database_size: status.databaseBytes,
    uptime: presentUptime(status.server)
  }
}

/** D21. */
export function presentVersion(build: { version: string; commit: string; buildTime: string }, server: ServerFacts) {
  return {
    version: build.version,
    commit: build.commit,
    build_time: build.buildTime,
    started_at: server.startedAt.toISOString(),
    uptime: presentUptime(server)
  }
}

/** One element of D59. */
export function presentPeer(peer: {
  id: string
  addresses: readonly string[]
  connected: boolean
  lastSeenAt: Date | null
}) {
  return {
    id: peer.id,
    addresses: peer.addresses,
    connected: peer.connected,
    last_seen: peer.lastSeenAt?.toISOString() ?? null
  }
}

/** D24. */
export function presentChallenge({ wallet, namespace, nonce, purpose, expiresAt }: Challenge) {
  return { wallet, namespace, nonce, purpose, expires_at: expiresAt }
}

export function presentAccessToken(accessToken: string) {
  return { access_token: accessToken, token_type: 'Bearer', expires_in: ACCESS_TOKEN_LIFETIME_S }
}

/** D32, also inside D27. */
export function presentSession({ accessToken, refreshToken, subject, namespace }: Session) {
  return { ...presentAccessToken(accessToken), refresh_token: refreshToken, subject, namespace }
}

/** 201 of D71. */
export function presentApp({ appId, name, publicKey, namespace }: Omit<RegisteredApp, 'wallet'>) {
  return { app_id: appId, name, public_key: publicKey, namespace }
}

/** The `app` of D35. */
export function presentRegisteredApp(app: RegisteredApp) {
  return { ...presentApp(app), wallet: app.wallet }
}

/** One element of D71. */
export function presentListedApp(app: Omit<RegisteredApp, 'wallet'> & { createdAt: string }) {
  return { ...presentApp(app), created_at: app.createdAt }
}

/** D36. */
export function presentIssuedKey({ apiKey, namespace, plan, wallet }: IssuedKey) {
  return { api_key: apiKey, namespace, plan, wallet }
}

/** D34. @param key the caller's own, as it came */
export function presentWhoami({ kind, namespace, token }: Identity, key: string) {
  if (kind === 'anonymous') return { authenticated: false, method: 'none', namespace }
  if (token === null) return { authenticated: true, method: 'api_key', api_key: key, namespace }
  return {
    authenticated: true,
    method: 'jwt',
    subject: token.sub,
    issuer: token.iss,
    audience: token.aud,
    issued_at: token.iat,
    not_before: token.nbf,
    expires_at: token.exp,
    namespace
  }
}

/** D50, P11: a statement without a result tells how many rows it wrote. */
export function presentQueried({ columns, rows, affected }: SqlResult) {
  return columns.length === 0
    ? { columns: ['affected'], rows: [[affected]], count: 1 }
    : { columns, rows, count: rows.length }
}

/** D56: rows as objects. */
export function presentItems({ columns, rows }: SqlResult) {
  const items = rows.map(row => Object.fromEntries(columns.map((name, at) => [name, row[at] ?? null])))
  return { items, count: items.length }
}

/** D56. */
export function presentExecuted({ affected, lastInsertId }: SqlResult) {
  return { rows_affected: affected, last_insert_id: lastInsertId }
}

/** One of a transaction's results (D56). */
export function presentOutcome(result: SqlResult, kind: 'exec' | 'query') {
  return kind === 'exec' ? presentExecuted(result) : presentItems(result).items
}

/** D54. */
export function presentSchema(tables: readonly SqlTable[]) {
  return { tables }
}
