/**
 * Every condition the gateway answers with an error on purpose: one class a condition. `code` is stable and in
 * every error body beside the message; `status` is the HTTP status. Anything else that is thrown is a bug or a
 * failure of a part below and is translated by `failures.ts`.
 */

/** Base of the room's errors. */
export class GatewayError extends Error {
  readonly code: string
  readonly status: number
  /** Headers the answer carries, `WWW-Authenticate` say. */
  readonly headers: Readonly<Record<string, string>>

  constructor(code: string, status: number, message: string, options: GatewayErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = new.target.name
    this.code = code
    this.status = status
    this.headers = options.headers ?? {}
  }
}

export interface GatewayErrorOptions {
  cause?: unknown
  headers?: Record<string, string>
}

/** Thrown when a request that needs a credential has none (RFC 6750 section 3). */
export class ApiKeyMissingError extends GatewayError {
  constructor() {
    super('API_KEY_MISSING', 401, 'missing API key', {
      headers: { 'WWW-Authenticate': 'Bearer realm="gateway", charset="UTF-8"' }
    })
  }
}

/** Thrown when a credential is given and nobody has it. */
export class ApiKeyInvalidError extends GatewayError {
  constructor() {
    super('API_KEY_INVALID', 401, 'invalid API key', {
      headers: { 'WWW-Authenticate': 'Bearer error="invalid_token"' }
    })
  }
}

/** Thrown when `?namespace=` names another namespace than the caller's. */
export class NamespaceMismatchError extends GatewayError {
  constructor() {
    super('NAMESPACE_MISMATCH', 403, 'namespace mismatch')
  }
}

/** Thrown when the caller's credential is good, and its namespace belongs to somebody else. */
export class NotOwnerError extends GatewayError {
  constructor() {
    super('NOT_OWNER', 403, 'forbidden: not an owner of namespace')
  }
}

/** Thrown when a wallet has claimed as many namespaces as one may. */
export class NamespacesFullError extends GatewayError {
  constructor(max: number) {
    super('NAMESPACES_FULL', 403, `this wallet has claimed ${max} namespaces already: use one of them`)
  }
}

/** Thrown when a namespace has no app of that id. */
export class AppNotFoundError extends GatewayError {
  constructor() {
    super('APP_NOT_FOUND', 404, 'app not found')
  }
}

/** Thrown when a namespace has as many apps as one may have. */
export class AppsFullError extends GatewayError {
  constructor(max: number) {
    super('APPS_FULL', 403, `this namespace has ${max} apps already: delete one first`)
  }
}

/** Thrown when too many challenges wait for their signature. */
export class ChallengesFullError extends GatewayError {
  constructor() {
    super('CHALLENGES_FULL', 503, 'too many logins at once: try again in a minute', {
      headers: { 'Retry-After': '60' }
    })
  }
}

/** Thrown when an address or an identity asks faster than it may. */
export class RateLimitedError extends GatewayError {
  constructor(retryAfterS: number) {
    super('RATE_LIMITED', 429, `too many requests: try again in ${retryAfterS} s`, {
      headers: { 'Retry-After': String(retryAfterS) }
    })
  }
}

/** Thrown when a request on a key names none. */
export class KeyMissingError extends GatewayError {
  constructor() {
    super('KEY_MISSING', 400, "missing 'key'")
  }
}

/** Thrown when a key cannot be a name here. */
export class KeyInvalidError extends GatewayError {
  constructor(why: string) {
    super('KEY_INVALID', 400, `invalid 'key': ${why}`)
  }
}

/** Thrown when a namespace has no value of that name. */
export class ValueNotFoundError extends GatewayError {
  constructor(key: string) {
    super('KEY_NOT_FOUND', 404, `key not found: ${key}`)
  }
}

/** Thrown when If-Match or If-None-Match does not hold. */
export class PreconditionFailedError extends GatewayError {
  constructor(key: string) {
    super('PRECONDITION_FAILED', 412, `the value of ${key} is not as the condition has it: read it again`)
  }
}

/** Thrown when a value's row is not what was sealed for its name: it was changed, or moved from another key. */
export class ValueUnreadableError extends GatewayError {
  constructor(cause?: unknown) {
    super('VALUE_UNREADABLE', 500, 'the stored value was changed outside the gateway: put it again', { cause })
  }
}

/** Thrown when a body or query parameter does not make sense. */
export class RequestInvalidError extends GatewayError {
  constructor(message: string) {
    super('INVALID_REQUEST', 400, message)
  }
}

/** Thrown when a body is over its limit, by Content-Length before it is read or by counting. */
export class BodyTooLargeError extends GatewayError {
  constructor(maxBytes: number) {
    super('BODY_TOO_LARGE', 413, `body over the limit of ${maxBytes} bytes: split the value`)
  }
}

/** Thrown when a body stops arriving. */
export class BodyStalledError extends GatewayError {
  constructor(timeoutMs: number) {
    super(
      'BODY_STALLED',
      408,
      `no data, or not all of it, within ${Math.ceil(timeoutMs)} ms: send the body without pauses`
    )
  }
}

/** Thrown when the caller hangs up; nobody reads the answer. */
export class CallerGoneError extends GatewayError {
  constructor() {
    super('CALLER_GONE', 400, 'the connection was closed before the request was complete')
  }
}

/** Thrown when a Range lies behind the value's end. */
export class RangeInvalidError extends GatewayError {
  constructor(sizeBytes: number) {
    super('RANGE_NOT_SATISFIABLE', 416, `range outside the value's ${sizeBytes} bytes`, {
      headers: { 'Content-Range': `bytes */${sizeBytes}` }
    })
  }
}

/** Thrown when no path leads to a route. */
export class RouteUnknownError extends GatewayError {
  constructor(path: string) {
    super('NOT_FOUND', 404, `no such path: ${path}: /docs lists them`)
  }
}

/** Thrown when a path is known and the method is not; `Allow` says which are. */
export class MethodNotAllowedError extends GatewayError {
  constructor(allow: string) {
    super('METHOD_NOT_ALLOWED', 405, `method not allowed: use ${allow}`, { headers: { Allow: allow } })
  }
}

/** Thrown when as many requests as allowed are under way already. */
export class OverloadedError extends GatewayError {
  constructor() {
    super('OVERLOADED', 503, 'too many requests at once: try again in a moment', { headers: { 'Retry-After': '1' } })
  }
}

/** Thrown when a path that is a WebSocket's is asked for without a handshake of RFC 6455's version 13. */
export class UpgradeRequiredError extends GatewayError {
  constructor() {
    super('UPGRADE_REQUIRED', 426, 'this path is a WebSocket: connect with ws:// or wss://', {
      headers: { Upgrade: 'websocket', Connection: 'Upgrade, close', 'Sec-WebSocket-Version': '13' }
    })
  }
}

/** Thrown when a page of another origin opens a WebSocket. */
export class OriginForbiddenError extends GatewayError {
  constructor() {
    super('ORIGIN_FORBIDDEN', 403, 'a WebSocket is opened by this gateway’s own page, or without an Origin')
  }
}

/** Thrown when as many WebSockets as allowed are open already. */
export class SocketsFullError extends GatewayError {
  constructor(max: number) {
    super('SOCKETS_FULL', 503, `${max} WebSockets are open already: ask by HTTP, or try again later`, {
      headers: { 'Retry-After': '30' }
    })
  }
}

/** Thrown when as many WebSockets as allowed are open for one namespace or from one address. */
export class SocketLimitError extends GatewayError {
  constructor(max: number, whose: string) {
    super('SOCKET_LIMIT', 429, `${max} WebSockets are open already ${whose}: close some first`, {
      headers: { 'Retry-After': '30' }
    })
  }
}

/** Thrown when something that lasts is asked of a gateway that stops. */
export class GatewayStoppingError extends GatewayError {
  constructor() {
    super('STOPPING', 503, 'the gateway is stopping: try another, or again in a moment', {
      headers: { 'Retry-After': '5' }
    })
  }
}

/** Thrown when a value needs the network's nodes and none can be reached. */
export class NetworkUnavailableError extends GatewayError {
  constructor(why: string, cause?: unknown) {
    super('NETWORK_UNAVAILABLE', 503, `no storage node could be reached: ${why}`, {
      headers: { 'Retry-After': '2' },
      cause
    })
  }
}

/** Thrown when the database or the nodes have no room. Nothing was kept. */
export class StorageFullError extends GatewayError {
  constructor(where: string, cause?: unknown) {
    super('STORAGE_FULL', 507, `no room for this value ${where}: free space or ask the operator`, { cause })
  }
}

/** Thrown when another writer holds the database for longer than the busy timeout. */
export class DatabaseBusyError extends GatewayError {
  constructor(cause?: unknown) {
    super('DATABASE_BUSY', 503, 'the database is busy: try again in a moment', {
      headers: { 'Retry-After': '1' },
      cause
    })
  }
}

/** Thrown at start when the SQLite driver named by DB_CLIENT cannot be loaded here. */
export class DatabaseDriverError extends GatewayError {
  constructor(client: string, cause: unknown) {
    super(
      'DATABASE_DRIVER_MISSING',
      500,
      `DB_CLIENT=${client} cannot be loaded: use better-sqlite3, or build it with "make sqlite3"`,
      { cause }
    )
  }
}

/** Thrown at start when SQLite is one that can lose committed writes in WAL mode. */
export class DatabaseVersionError extends GatewayError {
  constructor(found: string, floor: string) {
    super(
      'DATABASE_VERSION_UNSAFE',
      500,
      `SQLite ${found} can lose committed writes (WAL reset): use a driver with SQLite ${floor} or later`
    )
  }
}

/** Thrown at start when the configuration has problems; lists all of them. */
export class ConfigInvalidError extends GatewayError {
  readonly problems: readonly string[]

  constructor(problems: readonly string[]) {
    super(
      'CONFIG_INVALID',
      500,
      `the configuration has ${problems.length} problem${problems.length === 1 ? '' : 's'}:\n${problems.map(p => `  - ${p}`).join('\n')}`
    )
    this.problems = problems
  }
}

/** Thrown at start when nothing can be made in the data directory. */
export class DataDirUnusableError extends GatewayError {
  constructor(dataDir: string, cause: unknown) {
    const { code = 'unknown' } = cause as { code?: string }
    super(
      'DATA_DIR_UNUSABLE',
      500,
      `DATA_DIR ${dataDir} cannot be written to (${code}): name a folder of this user's`,
      {
        cause
      }
    )
  }
}

/** Thrown at start when the gateway cannot listen where it is told to. */
export class AddressUnavailableError extends GatewayError {
  constructor(where: string, cause: unknown) {
    const { code = 'unknown' } = cause as { code?: string }
    super(
      'ADDRESS_UNAVAILABLE',
      500,
      code === 'EADDRINUSE'
        ? `${where} is taken: stop what listens there, or set PORT or GATEWAY_ADDR`
        : `${where} cannot be listened on (${code}): set PORT or GATEWAY_ADDR`,
      { cause }
    )
  }
}

/** Thrown at start when values were sealed with a master key whose file is gone. Another one is never made then. */
export class MasterKeyMissingError extends GatewayError {
  constructor(path: string) {
    super(
      'MASTER_KEY_MISSING',
      500,
      `${path} is gone, and without it the values of this database cannot be read: put it back from a backup, or move gateway.sqlite away to start empty`
    )
  }
}

/** Thrown at start when the master key is not the one that the database's values were sealed with. */
export class MasterKeyWrongError extends GatewayError {
  constructor(path: string) {
    super(
      'MASTER_KEY_WRONG',
      500,
      `${path} is not the key that this database's values were sealed with: put back the one that belongs to gateway.sqlite`
    )
  }
}

/** Thrown at start when the file of the master key holds something else. */
export class MasterKeyInvalidError extends GatewayError {
  constructor(path: string) {
    super('MASTER_KEY_INVALID', 500, `${path} does not hold 64 hex digits: put it back from a backup`)
  }
}
