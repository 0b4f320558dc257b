/** Domain value → JSON as the documents promise it, one function a type. Pure. */
import type { Reachability } from '../node/index.ts'
import type { SqlTable } from './sql/scoped.ts'
import type { SqlResult } from './sql/sql.types.ts'
import type { StoredValue } from './storage/storage.ts'

/** Every error's body (D7, with the stable code beside the message). */
export function presentError(code: string, message: string) {
  return { error: message, code }
}

/** 201 of a put; `cid` only for values that are blobs. */
export function presentStored(key: string, { sizeBytes, cid }: StoredValue) {
  return { status: 'ok', key, size: sizeBytes, ...(cid === null ? {} : { cid }) }
}

export function presentDeleted(key: string) {
  return { status: 'ok', key }
}

export interface ServerFacts {
  startedAt: Date
  now: Date
}

/** Uptime as Go prints a duration, which the seed's clients read: `1h2m3s`. */
export function presentUptime({ startedAt, now }: ServerFacts): string {
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
