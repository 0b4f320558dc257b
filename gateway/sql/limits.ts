/** Every limit of tenants' SQL, with its unit. How large a database may be is configuration. */

const KIB = 1024
const MIB = 1024 * KIB

export const SQL_DATABASE_MAX_MB_DEFAULT = 256
/** Below it, `node:sqlite` cannot bound what a statement may ask for. */
export const SQL_NODE_FLOOR = '24.15.0'

/** Children alive at once, each for one namespace. */
export const SQL_CHILDREN_MAX = 8
/** Where lanes wait for a child, a busy one keeps its own for so long: a start costs more than most statements. */
export const SQL_TURN_MS = 1_000
/** Of the children so many at least are not for lanes whose jobs are long: those of others find one soon. */
export const SQL_CHILDREN_SPARED = 2
/** Jobs are long when they took so much, beyond SQL_NICE_AFTER_MS each, by the half-life. */
export const SQL_LONG_MS = 1_000
export const SQL_SHARE_HALF_LIFE_MS = 60_000
/** Databases of which it is remembered. */
export const SQL_SHARES_MAX = 10_000
/** A child that has nothing to do for so long ends. */
export const SQL_IDLE_MS = 60_000
/** From the start of a child to its open database. */
export const SQL_START_TIMEOUT_MS = 30_000
/** From the end of its input to the end of a child, then SIGKILL. */
export const SQL_END_TIMEOUT_MS = 2_000
/** Resident memory of a child, Node's own share (75 to 100 MiB) in it; looked at so often, then it ends. */
export const SQL_MEMORY_MAX_BYTES = 256 * MIB
export const SQL_MEMORY_CHECK_MS = 50
export const SQL_HEAP_MAX_MB = 64

/** A query or transaction, from its start in the child. */
export const SQL_DEADLINE_MS = 5_000
/** What runs for longer loses its share of the processor to everybody else; its child keeps that for life. */
export const SQL_NICE_AFTER_MS = 250
export const SQL_NICE = 10
/** A COMMIT that has begun gets so much more: a disk may be slow, and to kill it leaves the outcome unknown. */
export const SQL_COMMIT_GRACE_MS = 5_000
/** A backup, restore or export. */
export const SQL_MAINTENANCE_DEADLINE_MS = 120_000
/** How long one may wait for those before it in its namespace, and for a child. */
export const SQL_QUEUE_TIMEOUT_MS = 10_000
/** Waiting for one namespace; the next is answered 429. */
export const SQL_QUEUE_MAX = 64
/** Waiting for another gateway of the host that writes; in the child, so nobody else waits. */
export const SQL_BUSY_TIMEOUT_MS = 2_000

export const SQL_STATEMENT_MAX_BYTES = 128 * KIB
export const SQL_STATEMENTS_MAX = 1_000
export const SQL_ROWS_MAX = 10_000
/** All results of a request together, as JSON. */
export const SQL_RESULT_MAX_BYTES = 2 * MIB
/** A value, a row, and what a function may make. */
export const SQL_VALUE_MAX_BYTES = MIB
/** An export may be so many times the largest database. */
export const SQL_EXPORT_FACTOR = 4

/** Compiled statements a child keeps, and how long their text may be. */
export const SQL_COMPILED_MAX = 100
export const SQL_COMPILED_TEXT_MAX_CHARS = 4_096

/** SQLite's own limits (sqlite3_limit): no second file, no deep or wide statements. */
export const SQLITE_LIMITS = {
  attach: 0,
  length: SQL_VALUE_MAX_BYTES,
  sqlLength: SQL_STATEMENT_MAX_BYTES,
  column: 500,
  exprDepth: 100,
  compoundSelect: 50,
  vdbeOp: 50_000,
  functionArg: 100,
  likePatternLength: 1_000,
  variableNumber: 1_000,
  triggerDepth: 20
} as const
