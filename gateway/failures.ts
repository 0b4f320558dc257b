/** What was thrown → what is answered: one table, and the middleware that uses it. Nothing unknown leaks out. */
import { randomUUID } from 'node:crypto'
import type { Log } from '../node/index.ts'
import {
  BodyTooLargeError,
  DatabaseBusyError,
  GatewayError,
  NetworkUnavailableError,
  RequestInvalidError,
  StorageFullError
} from './errors.ts'
import type { GatewayMiddleware } from './http.ts'
import { lingers } from './middleware/limits.ts'
import { presentError } from './present.ts'

/** Failures of the parts below, by their `code`: SQLite's and those the nodes and the client answer with. */
const BY_CODE: Readonly<Record<string, (cause: Error) => GatewayError>> = {
  SQLITE_FULL: cause => new StorageFullError('in the database', cause),
  ENOSPC: cause => new StorageFullError('on the disk', cause),
  SQLITE_BUSY: cause => new DatabaseBusyError(cause),
  SQLITE_BUSY_SNAPSHOT: cause => new DatabaseBusyError(cause),
  SQLITE_LOCKED: cause => new DatabaseBusyError(cause),
  STORAGE_FULL: cause => new StorageFullError('on the nodes', cause),
  PAYLOAD_TOO_LARGE: cause => new BodyTooLargeError(limitIn(cause)),
  // A value's row exists, so a blob nobody reachable holds is an outage and not an unknown key.
  BLOB_NOT_FOUND: cause => new NetworkUnavailableError('no holder of this value answers', cause),
  SHARD_OWNER_UNAVAILABLE: cause => new NetworkUnavailableError('no owner of its shard answers', cause),
  REPLICATION_FAILED: cause => new NetworkUnavailableError('too few replicas were confirmed', cause),
  CID_MISMATCH: cause => new NetworkUnavailableError('a node gave other bytes than were stored', cause),
  NO_NODE: cause => causedByFull(cause) ?? new NetworkUnavailableError('none could do it', cause),
  PEER_UNREACHABLE: cause => new NetworkUnavailableError('none answers', cause),
  PEER_TIMEOUT: cause => new NetworkUnavailableError('no answer in time', cause),
  TRANSFER_CUT: cause => new NetworkUnavailableError('the transfer was cut', cause),
  BUSY: cause => new NetworkUnavailableError('the nodes are busy', cause),
  STOPPED: cause => new NetworkUnavailableError('the node is stopping', cause)
}

/** An error's answer; null when it is none that anybody foresaw. */
export function failureOf(error: unknown): GatewayError | null {
  if (error instanceof GatewayError) return error
  if (!(error instanceof Error)) return null
  const code = (error as { code?: unknown }).code
  const known = typeof code === 'string' ? BY_CODE[code] : undefined
  if (known !== undefined) return known(error)
  if (error.name === 'TimeoutError') return new NetworkUnavailableError('no answer in time', error)
  // URIError: a percent sign in the path or query that stands for no text.
  if (error instanceof URIError) return new RequestInvalidError('the URL has a malformed escape')
  return null
}

/** Answers errors as JSON `{"error": "<message>", "code": "<CODE>"}`; unknown ones as 500 with an id that is in the log. */
export function createFailures(log: Log): GatewayMiddleware {
  return async (context, next) => {
    try {
      await next()
    } catch (error) {
      const failure = failureOf(error) ?? unknownFailure(error, log)
      context.state.failure = { code: failure.code, status: failure.status }
      if (failure.status >= 500 && failure.status !== 507) {
        log.warn({ code: failure.code, cause: causesOf(failure) }, 'request failed')
      }
      context.status = failure.status
      context.set(failure.headers)
      context.body = presentError(failure.code, failure.message)
      await lingers(context)
    }
  }
}

function unknownFailure(error: unknown, log: Log): GatewayError {
  const id = randomUUID()
  log.error({ err: error, id }, 'unforeseen failure')
  return new GatewayError('INTERNAL_ERROR', 500, `internal error ${id}: the gateway's log has the details`, {
    cause: error
  })
}

function causesOf(error: Error): string[] {
  const causes: string[] = []
  for (let cause: unknown = error.cause; cause instanceof Error && causes.length < 5; cause = cause.cause) {
    causes.push(`${cause.name}: ${cause.message}`)
  }
  return causes
}

/** Every node was asked and the last one said that it is full. */
function causedByFull(error: Error): GatewayError | null {
  const { cause } = error
  return cause instanceof Error && 'code' in cause && cause.code === 'STORAGE_FULL'
    ? new StorageFullError('on the nodes', error)
    : null
}

function limitIn(error: Error): number {
  const details = (error as { details?: { maxBytes?: unknown } }).details
  return typeof details?.maxBytes === 'number' ? details.maxBytes : 0
}
