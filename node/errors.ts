/**
 * Every error of the room: one class a condition, named for it. `code` is stable and goes over HTTP and the
 * `/bytecave/*` protocols; `status` is the HTTP status of that condition; the message says what to do.
 */

export interface WarrenErrorOptions {
  cause?: unknown
  /** Facts a program may want beside the message; sent to the client, so never a secret. */
  details?: Record<string, unknown>
}

/** Base of all errors this room throws on purpose. Anything else is a bug and answered as INTERNAL_ERROR. */
export class WarrenError extends Error {
  readonly code: string
  readonly status: number
  readonly details: Record<string, unknown> | undefined

  constructor(code: string, status: number, message: string, options: WarrenErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = new.target.name
    this.code = code
    this.status = status
    this.details = options.details
  }
}

/** Thrown when a text is not a CID this network stores. */
export class CidInvalidError extends WarrenError {
  constructor(text: string, why: string) {
    const shown = text.length > 80 ? `${text.slice(0, 80)}…` : text
    super(
      'CID_INVALID',
      400,
      `"${shown}" is not a CID of this network: ${why}. Give the bafybei… text a store answered.`
    )
  }
}

/** Thrown when received bytes do not have the CID they were announced with. */
export class CidMismatchError extends WarrenError {
  constructor(expected: string, actual: string) {
    super('CID_MISMATCH', 400, `The bytes have the CID ${actual}, not ${expected}. Send the bytes the CID names.`, {
      details: { expected, actual }
    })
  }
}

/** Thrown when there is nothing to store. */
export class BlobEmptyError extends WarrenError {
  constructor() {
    super('BLOB_EMPTY', 400, 'The body is empty. Send at least one byte.')
  }
}

/** Thrown when a body is over the blob limit, by its announced or by its counted size. */
export class PayloadTooLargeError extends WarrenError {
  constructor(maxBytes: number) {
    super(
      'PAYLOAD_TOO_LARGE',
      413,
      `The body is over the limit of ${maxBytes} bytes. Split it or raise MAX_BLOB_SIZE_MB.`,
      {
        details: { maxBytes }
      }
    )
  }
}

/** Thrown when the quota or the disk has no room for the blob. Nothing of it is kept. */
export class StorageFullError extends WarrenError {
  constructor(why: string, options: WarrenErrorOptions = {}) {
    super('STORAGE_FULL', 507, `No room for this blob: ${why}. Free space or raise MAX_STORAGE_MB.`, options)
  }
}

/** Thrown when the disk refused a write for another reason than room. Nothing of the blob is kept. */
export class StoreFailedError extends WarrenError {
  constructor(cause: unknown) {
    super('STORE_FAILED', 500, 'The disk refused the write. Look at the node’s log and its disk.', { cause })
  }
}

/** Thrown when no reachable holder has the blob. */
export class BlobNotFoundError extends WarrenError {
  constructor(cid: string) {
    super(
      'BLOB_NOT_FOUND',
      404,
      `No reachable node holds ${cid}. Check the CID, or try again when more nodes are up.`,
      {
        details: { cid }
      }
    )
  }
}

/** Thrown when the copy on this disk is not what was stored. It is quarantined before this is thrown. */
export class BlobCorruptError extends WarrenError {
  constructor(cid: string, why: string, options: WarrenErrorOptions = {}) {
    super(
      'INTEGRITY_CHECK_FAILED',
      500,
      `The copy of ${cid} here is damaged (${why}) and was set aside. Ask another node.`,
      {
        ...options,
        details: { cid }
      }
    )
  }
}

/** Thrown when a node is asked whether it holds a copy that it is about to drop. */
export class BlobLeavingError extends WarrenError {
  constructor(cid: string) {
    super('BUSY', 503, `The copy of ${cid} here may be gone in a moment. Ask another holder, or try again later.`, {
      details: { cid }
    })
  }
}

/** Thrown when a node is asked to keep a blob of a shard it does not own. */
export class ShardMismatchError extends WarrenError {
  constructor(cid: string, shard: number, nodeShards: unknown, shardCount: number) {
    super('SHARD_MISMATCH', 403, `${cid} is in shard ${shard}, which this node does not own. Send it to an owner.`, {
      details: { cid, shard, nodeShards, shardCount }
    })
  }
}

/** Thrown when no owner of a foreign blob's shard took it. Nothing was kept here. */
export class ShardOwnerUnavailableError extends WarrenError {
  constructor(cid: string, shard: number, options: WarrenErrorOptions = {}) {
    super(
      'SHARD_OWNER_UNAVAILABLE',
      503,
      `No owner of shard ${shard} could be reached to store ${cid}. Try again later.`,
      options
    )
  }
}

/** Thrown when fewer replicas than asked are on disk. The blob is kept here and repaired in the background. */
export class ReplicationFailedError extends WarrenError {
  constructor(cid: string, confirmed: number, needed: number) {
    super(
      'REPLICATION_FAILED',
      503,
      `${cid} is on ${confirmed} of ${needed} disks needed for an acknowledgement; repair goes on. Send it again later.`,
      { details: { cid, confirmed, needed } }
    )
  }
}

/** Thrown when a request does not make sense. */
export class RequestInvalidError extends WarrenError {
  constructor(message: string) {
    super('INVALID_REQUEST', 400, message)
  }
}

/** Thrown when a byte range starts behind the blob's end. */
export class RangeInvalidError extends WarrenError {
  constructor(sizeBytes: number) {
    super('RANGE_NOT_SATISFIABLE', 416, `The range is outside the blob’s ${sizeBytes} bytes.`, {
      details: { sizeBytes }
    })
  }
}

/** Thrown when a body stops arriving. */
export class RequestTimeoutError extends WarrenError {
  constructor(timeoutMs: number) {
    super('REQUEST_TIMEOUT', 408, `No data came for ${timeoutMs} ms. Send the body without pauses.`)
  }
}

/** Thrown when a limit on work at once is reached. */
export class BusyError extends WarrenError {
  constructor(what: string) {
    super('BUSY', 503, `Too many ${what} at once. Try again in a moment.`)
  }
}

/** Thrown when an address asked more often than its class of route allows. */
export class RateLimitedError extends WarrenError {
  /** Seconds after which the limit surely has room again. */
  readonly retryAfterS: number

  constructor(rateClass: string, limit: number, retryAfterS: number) {
    super(
      'RATE_LIMITED',
      429,
      `More than ${limit} requests a minute of the class "${rateClass}". Wait, or have the operator raise the limit.`
    )
    this.retryAfterS = retryAfterS
  }
}

/** Seconds after which an address may try again that has as much under way as one may. */
export const SHARE_RETRY_S = 5

/** Thrown when an address has as much of something under way at once as one address may. */
export class ShareExceededError extends WarrenError {
  readonly retryAfterS = SHARE_RETRY_S

  /** @param limit the variable that sets it */
  constructor(what: string, limit: string, max: number) {
    super(
      'SHARE_EXCEEDED',
      429,
      `More than ${max} ${what} at once from one address (${limit}). Wait for some to end, or have the operator raise it.`,
      { details: { limit, max } }
    )
  }
}

/** Thrown when a page of an origin that is not allowed tries to change something. */
export class OriginForbiddenError extends WarrenError {
  constructor(origin: string) {
    super(
      'FORBIDDEN',
      403,
      `Pages of ${origin.slice(0, 200)} may not use this node. Its operator can add it to CORS_ORIGIN.`
    )
  }
}

/** Thrown when a client declares a class of content that this node does not take, or none where it takes some only. */
export class ContentTypeRejectedError extends WarrenError {
  constructor(contentType: string | undefined, taken: readonly string[]) {
    const said = contentType === undefined ? 'Content of no declared class' : `Content of the class "${contentType}"`
    super('CONTENT_TYPE_REJECTED', 403, `${said} is not taken here. This node takes ${taken.join(', ')}.`, {
      details: { contentTypes: taken }
    })
  }
}

/** Thrown when a blob comes with an authorization that was not signed like that, too long ago, for other bytes, or before. */
export class AuthorizationInvalidError extends WarrenError {
  constructor(why: string) {
    super('INVALID_AUTHORIZATION', 400, `The authorization is not taken: ${why}`)
  }
}

/** Thrown when a challenge for a proof of storage is no challenge. */
export class ChallengeInvalidError extends WarrenError {
  constructor(why: string) {
    super('CHALLENGE_INVALID', 400, `The challenge ${why}. Send 64 lower-case hex digits: 32 random bytes.`)
  }
}

/** Thrown when a challenge was answered here before. */
export class ChallengeReplayedError extends WarrenError {
  constructor() {
    super('CHALLENGE_REPLAYED', 409, 'This challenge was answered already. Draw a fresh random one for every proof.')
  }
}

/** Thrown when a proof of storage does not hold; `reason` says where, in one word of a fixed list. */
export class ProofInvalidError<Reason extends string = string> extends WarrenError {
  readonly reason: Reason

  constructor(reason: Reason, why: string) {
    super('PROOF_INVALID', 422, `The proof does not hold: ${why}. Take the blob for missing there.`, {
      details: { reason }
    })
    this.reason = reason
  }
}

/** Thrown when a blob is on the block list of this node. */
export class ContentBlockedError extends WarrenError {
  constructor(cid: string) {
    super('CONTENT_BLOCKED', 403, `${cid} is on this node’s block list: it is neither stored nor read here.`, {
      details: { cid }
    })
  }
}

/** Thrown when a route for the operator is asked without the admin token, or with a wrong one. */
export class UnauthorizedError extends WarrenError {
  constructor() {
    super(
      'UNAUTHORIZED',
      401,
      'This route is for the operator. Send `Authorization: Bearer` with the token of DATA_DIR/keys/admin.token, or of ADMIN_TOKEN_FILE.'
    )
  }
}

/** Thrown when a pin would go over the most pins a node keeps. */
export class PinLimitError extends WarrenError {
  constructor(max: number) {
    super('PIN_LIMIT_REACHED', 409, `This node keeps at most ${max} pins. Remove one first.`, { details: { max } })
  }
}

/** Thrown when the block list would grow over its cap. */
export class BlockLimitError extends WarrenError {
  constructor(max: number) {
    super('BLOCK_LIMIT_REACHED', 409, `The block list holds at most ${max} CIDs. Remove one first.`, {
      details: { max }
    })
  }
}

/** Thrown when a pinned blob is to be deleted. */
export class BlobPinnedError extends WarrenError {
  constructor(cid: string) {
    super('BLOB_PINNED', 409, `${cid} is pinned. Remove the pin first, or say force=true.`, { details: { cid } })
  }
}

/** Thrown when a blob is to be deleted that too few other nodes are known to hold. */
export class UnderReplicatedError extends WarrenError {
  constructor(cid: string, confirmed: number, needed: number) {
    super(
      'BLOB_UNDER_REPLICATED',
      409,
      `${confirmed} other nodes answered that they hold ${cid}, ${needed} are needed. Wait for repair, or say force=true.`,
      { details: { cid, confirmed, needed } }
    )
  }
}

/** Thrown when a collection is asked for while one runs. */
export class GcRunningError extends WarrenError {
  constructor() {
    super('GC_ALREADY_RUNNING', 409, 'A collection runs already. GET /gc/status tells when it is done.')
  }
}

/** Thrown when a scrub is asked for while one runs. */
export class ScrubRunningError extends WarrenError {
  constructor() {
    super('SCRUB_ALREADY_RUNNING', 409, 'A scrub runs already. GET /admin/scrub tells how far it is.')
  }
}

/** Thrown at start when a list of CIDs on disk cannot be read as one. */
export class ListFileInvalidError extends WarrenError {
  constructor(path: string, why: string) {
    super('LIST_FILE_INVALID', 500, `${path}: ${why}. Repair it, or restore it from your backup.`)
  }
}

/** Thrown at start when the admin token is no token. */
export class AdminTokenInvalidError extends WarrenError {
  constructor(path: string, why: string) {
    super('ADMIN_TOKEN_INVALID', 500, `${path}: ${why}. Put a random token there, or remove it for a new one.`)
  }
}

/** Thrown when the node does not know yet who the owners of shards are. */
export class MembersUnknownError extends WarrenError {
  constructor() {
    super(
      'MEMBERS_UNKNOWN',
      503,
      'The registry was not read, or the shards of this node not assigned yet: no replica can be placed. Try again soon.'
    )
  }
}

/** Thrown when the node stops while work is under way. */
export class StoppedError extends WarrenError {
  constructor() {
    super('STOPPED', 503, 'This node is stopping. Ask another one.')
  }
}

/** Thrown at start when the configuration has problems; lists all of them. */
export class ConfigInvalidError extends WarrenError {
  readonly problems: readonly string[]

  constructor(problems: readonly string[]) {
    super(
      'CONFIG_INVALID',
      500,
      `The configuration has ${problems.length} problem(s):\n${problems.map(p => `  - ${p}`).join('\n')}`
    )
    this.problems = problems
  }
}

/** Thrown at start when another program listens on the port of HTTP. */
export class PortTakenError extends WarrenError {
  constructor(port: number, cause: unknown) {
    super('PORT_TAKEN', 500, `PORT ${port} is taken. Stop what listens there, or give this one another port.`, {
      cause
    })
  }
}

/** Thrown at start when another node of this machine works in the data directory. */
export class DataDirTakenError extends WarrenError {
  constructor(dataDir: string) {
    super(
      'DATA_DIR_TAKEN',
      500,
      `DATA_DIR ${dataDir} is in use by another node. Stop that one, or give this one its own.`
    )
  }
}

/** Thrown when two of the key files, or a key file and the imported key, hold different identities. */
export class IdentityMismatchError extends WarrenError {
  constructor(message: string) {
    super('IDENTITY_MISMATCH', 500, message)
  }
}

/** Thrown when a key file cannot be read as what it should be. */
export class IdentityCorruptError extends WarrenError {
  constructor(message: string, options: WarrenErrorOptions = {}) {
    super('IDENTITY_CORRUPT', 500, message, options)
  }
}

/** Thrown when no address of a peer led to a connection. */
export class PeerUnreachableError extends WarrenError {
  constructor(peerId: string, options: WarrenErrorOptions = {}) {
    super('PEER_UNREACHABLE', 503, `${peerId} could not be reached, directly or by a relay. Ask another node.`, options)
  }
}

/** Thrown when the SOCKS5 proxy does not connect. */
export class ProxyRefusedError extends WarrenError {
  constructor(why: string) {
    super('PROXY_REFUSED', 503, `The proxy of P2P_SOCKS5_PROXY did not connect: ${why}.`)
  }
}

/** Thrown when a peer says something that is not the protocol. */
export class ProtocolViolationError extends WarrenError {
  constructor(why: string) {
    super('PROTOCOL_VIOLATION', 400, `The peer does not speak the protocol: ${why}.`)
  }
}

/** Thrown when a peer is silent for too long in the middle of a request. */
export class PeerTimeoutError extends WarrenError {
  constructor(what: string, timeoutMs: number) {
    super('PEER_TIMEOUT', 504, `${what} for ${timeoutMs} ms. Ask another node.`)
  }
}

/** Thrown when a stream ends before all bytes came, as when a relay cuts a circuit at its limit. */
export class TransferCutError extends WarrenError {
  constructor(message: string, options: WarrenErrorOptions = {}) {
    super('TRANSFER_CUT', 503, `${message}. It can be resumed from there.`, options)
  }
}

/** A transfer leaves the connection it is on, because there is a better one; it goes on there by itself. */
export class PathMovedError extends TransferCutError {
  constructor() {
    super('There is a direct connection now')
  }
}

/** Thrown when a peer answers a request with an error; `code` and `status` are the peer's. */
export class PeerRefusedError extends WarrenError {
  /** The peer that refused. */
  readonly peerId: string

  constructor(peerId: string, code: string, status: number, message: string) {
    super(code, status, message)
    this.peerId = peerId
  }
}
