/**
 * Limits of the room, with their units; those of `sql/` and `pubsub/` are there. What a deployment may change is in
 * `config.ts`, with these as defaults.
 */

const KIB = 1024
const MIB = 1024 * KIB

/** Values up to here live in SQLite; over it they are blobs on the nodes. */
export const INLINE_VALUE_MAX_BYTES = 64 * KIB
/** JSON bodies are read whole, so they have a limit of their own. Larger values: `?key=` and the raw body. */
export const JSON_BODY_MAX_BYTES = MIB
export const KEY_MAX_BYTES = 1024
export const LIST_LIMIT_DEFAULT = 100
export const LIST_LIMIT_MAX = 1000
/** Entity tags in one If-Match or If-None-Match. */
export const ETAGS_MAX = 100

/** Longest life a value can be given: ten years. */
export const TTL_MAX_S = 315_360_000
/** Expired values are gone for readers at once; their rows go so often, so many in one transaction. */
export const SWEEP_EVERY_MS = 30_000
export const SWEEP_BATCH_ROWS = 500
/** Keys of values that are kept beside the master key: one for each namespace and run of a gateway. */
export const VALUE_KEYS_MAX = 1024
/** Rows from before values were sealed that are sealed in one transaction. */
export const SEALING_BATCH_ROWS = 100

/** A body that sends nothing for so long is given up. */
export const BODY_IDLE_TIMEOUT_MS = 30_000
/** The whole request, head and body. */
export const REQUEST_TIMEOUT_MS = 600_000
export const HEADERS_TIMEOUT_MS = 15_000
export const KEEP_ALIVE_TIMEOUT_MS = 65_000
export const HEADERS_MAX = 100
/** Requests under way at once; the next is answered 503. */
export const REQUESTS_MAX = 1024
/** Of one caller (identity, or anonymous address); the next is answered 429. */
export const CALLER_REQUESTS_MAX = 512
/** Values on their way to the nodes at once, each with a window of 8 MiB for cut connections; the next is answered 503. */
export const BLOB_PUTS_MAX = 64
/** After an early refusal this much of the body is still read and thrown away, so that the answer arrives. */
export const LINGER_MAX_BYTES = 8 * MIB
export const LINGER_TIMEOUT_MS = 2_000
/** One step of the network on behalf of a request: finding holders, the first byte. */
export const BLOB_TIMEOUT_MS = 60_000

/** SQLite waits so long for another writer. The wait blocks the event loop, so it is short. */
export const DATABASE_BUSY_TIMEOUT_MS = 2_000
export const DATABASE_MAX_MB_DEFAULT = 10_240
/** Part of it that values leave to logins, apps and logs: one tenant's values must not keep everybody out. */
export const DATABASE_SPARED_PART = 1 / 16
/** What one transaction takes of the writes that wait; the rest comes in the next turn of the event loop. */
export const COMMIT_MAX_STATEMENTS = 512
export const COMMIT_MAX_BYTES = 4 * MIB
/** Below it SQLite can lose committed writes when a checkpoint meets a writer that resets the WAL. */
export const SQLITE_FLOOR = '3.51.3'

/** Rows of the request log that wait for the disk; more are dropped and counted. */
export const REQUEST_LOG_QUEUE_MAX_ROWS = 5_000
export const REQUEST_LOG_BATCH_ROWS = 250
export const REQUEST_LOG_FLUSH_MS = 250
/** The newest rows that are kept. */
export const REQUEST_LOG_KEEP_ROWS = 100_000
/** Longest path that is written to it. */
export const REQUEST_LOG_PATH_MAX_CHARS = 256

/** One picture of the network serves every reader for so long. */
export const HOSTS_CACHE_MS = 1_000
/** Older than this, a picture is not shown while a new one is made. */
export const HOSTS_STALE_MS = 30_000
export const HOSTS_MAX = 2_000
export const PATHS_MAX = 5_000
/** Asking the chain whether it is there. */
export const HOST_PROBE_TIMEOUT_MS = 2_000
/** While sockets are open: a little over HOSTS_CACHE_MS, so that every look makes a new picture. */
export const LIVE_CHECK_MS = 1_100
/** An unchanged picture is sent again after so long: who hears nothing for longer knows that the gateway is gone. */
export const LIVE_REPEAT_MS = 30_000

/** How the page asks where it has no socket, how soon it tries for one again, and when it gives a silent one up. */
export const PAGE_POLL_MS = 2_000
export const PAGE_RETRY_MIN_MS = 1_000
export const PAGE_RETRY_MAX_MS = 60_000
export const PAGE_SILENCE_MS = 75_000

/** WebSockets open at once; the next is answered 503. */
export const SOCKETS_MAX = 256
/** Of these, from one address; the next is answered 429. */
export const ADDRESS_SOCKETS_MAX = 64
/** What may wait for a slow reader when the next message comes; over it the socket is closed with 1013. */
export const SOCKET_BUFFER_MAX_BYTES = MIB
/** Nothing is to be received. Up to here it is closed with 1008; over it (1009) the message is not even read. */
export const SOCKET_MESSAGE_MAX_BYTES = 125
/** A socket that has not answered a ping when the next is due is cut. */
export const SOCKET_PING_MS = 30_000
/** From the close frame to the cut; well within DRAIN_TIMEOUT_MS. */
export const SOCKET_CLOSE_TIMEOUT_MS = 2_000

/** How often a gateway tells those that share its data directory that it lives, and when they take it for dead. */
export const HEARTBEAT_MS = 1_000
export const HEARTBEAT_STALE_MS = 5_000
export const SIBLINGS_MAX = 32

/** Of the access tokens: who issues them, who takes them, how long they are good. */
export const TOKEN_ISSUER = 'debros-gateway'
export const TOKEN_AUDIENCE = 'gateway'
export const ACCESS_TOKEN_LIFETIME_S = 900
/** Ours are about 900 characters. */
export const ACCESS_TOKEN_MAX_CHARS = 4096
/** What the clocks of two machines may differ by. */
export const CLOCK_SKEW_S = 60
export const REFRESH_TOKEN_LIFETIME_MS = 30 * 24 * 3600 * 1000
export const NONCE_LIFETIME_MS = 5 * 60 * 1000
/** Challenges of one wallet at one address that wait for their signature; a further one puts the oldest out. */
export const NONCES_PER_CALLER_MAX = 128
/** Challenges of everybody; the next is answered 503. */
export const NONCES_MAX = 100_000
/** Namespaces one wallet may claim. */
export const NAMESPACES_PER_WALLET_MAX = 100
/** Apps one namespace may have. */
export const APPS_PER_NAMESPACE_MAX = 1000
export const APP_NAME_MAX_CHARS = 128
/** The newest rows that are kept. */
export const AUDIT_KEEP_ROWS = 100_000
export const AUTH_BODY_MAX_BYTES = 16 * KIB
/** From its first byte to its last: strangers send them. */
export const AUTH_BODY_TIMEOUT_MS = 10_000
/** Requests to the public paths below /v1/auth under way at once, of REQUESTS_MAX; the next is answered 503. */
export const AUTH_REQUESTS_MAX = 256
export const SIWE_MESSAGE_MAX_CHARS = 4096
/** A next signing key is in the JWKS for so long before it signs: twice what copies of it may be old. */
export const SIGNING_KEY_ANNOUNCE_MS = 10 * 60 * 1000
export const JWKS_MAX_AGE_S = 300
export const SIGNING_KEY_DAYS_DEFAULT = 90
/** Between two looks at the key file that nobody has told to have changed. */
export const KEY_FILE_LOOK_MS = 1_000
/** Verified tokens and keys that are remembered. */
export const IDENTITIES_MAX = 20_000
/** Requests to the public paths below /v1/auth an address may make in a minute. */
export const AUTH_RATE_PER_MINUTE_DEFAULT = 120
/** Requests one identity may make in a second. */
export const RATE_PER_SECOND_DEFAULT = 10_000
/** Addresses and identities whose rates are remembered. */
export const RATE_CALLERS_MAX = 20_000

/** SIGTERM to exit. */
export const SHUTDOWN_TIMEOUT_MS = 10_000
/** What requests under way get of it. */
export const DRAIN_TIMEOUT_MS = 7_000
