/**
 * A node's configuration from its environment, names of the ByteCave document. All problems are found at once. The
 * result is a value that is passed on; nothing else reads the environment.
 */
import { accessSync, constants, readFileSync } from 'node:fs'
import { z } from 'zod'
import { parseShards, SHARD_COUNT_MAX, type ShardRange } from './blobs/shards.ts'
import { ConfigInvalidError } from './errors.ts'
import { RETENTION_MODES } from './keeping/collect-plan.ts'
import type { KeepConfig } from './keeping/keeping.ts'
import { LOG_LEVELS, type LogLevel } from './log.ts'
import { addressProblem } from './net/addresses.ts'
import { DCUTR_MODES, type DcutrMode } from './net/dcutr-mode.ts'
import { NETWORK_LIMITS, type NetworkLimits, readLimits } from './net/limits.ts'
import { type HardPunchConfig, readHardPunch } from './net/punching/hard/hard-limits.ts'

export type Environment = Readonly<Record<string, string | undefined>>

/** The chain's part; null with WARREN_OFFLINE=1. */
export interface ChainConfig {
  rpcUrl: string
  registry: `0x${string}`
  /** Account that owns this node. */
  ownerAddress: `0x${string}`
  /** Its key; null: this node reads the registry and does not register itself. */
  ownerKey: `0x${string}` | null
}

export interface NodeConfig {
  port: number
  dataDir: string
  /** Whether `GET /blobs` is answered to other machines. */
  listBlobs: boolean
  /** Empty: derived from the peer id. */
  nodeId: string
  p2p: {
    /** False: no transport is opened, and the node is alone. */
    enabled: boolean
    listen: string[]
    announce: string[]
    relays: string[]
    bootstrap: string[]
    enableRelay: boolean
    enableDht: boolean
    enableMdns: boolean
    /** Ask the own router to open the ports we listen on, where no address is announced. */
    portMapping: boolean
    dcutr: DcutrMode
    hardPunch: HardPunchConfig
    privateKeyFile: string | null
    limits: NetworkLimits
  }
  maxStorageBytes: number
  maxBlobBytes: number
  shardCount: number
  shards: ShardRange[]
  replicationFactor: number
  replicationQuorum: number
  replicationTimeoutMs: number
  failureGroup: string
  /** Pins, collection, scrub, block list. */
  keep: KeepConfig
  chain: ChainConfig | null
  logLevel: LogLevel
}

const MIB = 1024 * 1024
const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const DAY_MS = 24 * HOUR_MS
/** Longest interval of a timer of ours, minutes; Node's timers end at 24.8 days. */
const INTERVAL_MINUTES_MAX = 20 * 24 * 60
const AGE_DAYS_MAX = 36_500
const PORT_MAX = 65_535
/** Largest MAX_BLOB_SIZE_MB: beyond it one transfer takes longer than its deadlines allow. */
const MAX_BLOB_MB_MAX = 10_240
const MAX_STORAGE_MB_MAX = 1024 * 1024 * 1024
const REPLICAS_MAX = 64
const TIMEOUT_MS_MIN = 100
const TIMEOUT_MS_MAX = 10 * 60_000
const DEFAULT_LISTEN = '/ip4/0.0.0.0/tcp/5011,/ip4/0.0.0.0/udp/5011/quic-v1,/ip4/0.0.0.0/tcp/5012/ws'

const text = (fallback: string) => z.string().trim().max(4096).default(fallback)
const number = (fallback: number, min: number, max: number) =>
  z
    .string()
    .trim()
    .regex(/^\d{1,15}$/, 'is to be a whole number')
    .transform(Number)
    .pipe(z.number().min(min, `is to be at least ${min}`).max(max, `is to be at most ${max}`))
    .default(fallback)
const flag = (fallback: boolean) =>
  z
    .string()
    .trim()
    .toLowerCase()
    .refine(value => ['true', 'false', '1', '0'].includes(value), 'is to be true or false')
    .transform(value => value === 'true' || value === '1')
    .default(fallback)
const addresses = (fallback: string, needsPeer: boolean) =>
  z
    .string()
    .default(fallback)
    .transform(value =>
      value
        .split(',')
        .map(part => part.trim())
        .filter(part => part !== '')
    )
    .superRefine((list, ctx) => {
      for (const address of list) {
        const problem = addressProblem(address, { needsPeer })
        if (problem !== null) ctx.addIssue({ code: 'custom', message: `"${address}" ${problem}` })
      }
    })
const hex = (digits: number, what: string) =>
  z
    .string()
    .trim()
    .regex(new RegExp(`^0x[0-9a-fA-F]{${digits}}$`), `is to be ${what}: 0x and ${digits} hex digits`)
    .transform(value => value as `0x${string}`)
    .optional()

const schema = z.object({
  PORT: number(5001, 0, PORT_MAX),
  DATA_DIR: text('./data'),
  HTTP_LIST_BLOBS: flag(false),
  NODE_ID: z
    .string()
    .trim()
    .regex(/^[\w.:-]{1,128}$/, 'is to have letters, digits and . : - only')
    .default(''),
  P2P_ENABLED: flag(true),
  P2P_LISTEN_ADDRESSES: addresses(DEFAULT_LISTEN, false),
  P2P_ANNOUNCE_ADDRESSES: addresses('', false),
  P2P_RELAY_PEERS: addresses('', true),
  P2P_BOOTSTRAP_PEERS: addresses('', true),
  P2P_ENABLE_RELAY: flag(true),
  P2P_ENABLE_DHT: flag(true),
  P2P_ENABLE_MDNS: flag(false),
  P2P_PORT_MAPPING: flag(true),
  P2P_DCUTR: z.enum(DCUTR_MODES, `is to be one of ${DCUTR_MODES.join(', ')}`).default('warren'),
  P2P_PRIVATE_KEY_FILE: text(''),
  MAX_STORAGE_MB: number(10_240, 1, MAX_STORAGE_MB_MAX),
  MAX_BLOB_SIZE_MB: number(100, 1, MAX_BLOB_MB_MAX),
  SHARD_COUNT: number(1024, 1, SHARD_COUNT_MAX),
  NODE_SHARDS: z.string().default(''),
  REPLICATION_FACTOR: number(3, 1, REPLICAS_MAX),
  REPLICATION_QUORUM: number(2, 1, REPLICAS_MAX),
  REPLICATION_TIMEOUT_MS: number(5000, TIMEOUT_MS_MIN, TIMEOUT_MS_MAX),
  FAILURE_GROUP: text('').pipe(z.string().max(256, 'is to have at most 256 characters')),
  OWNER_ADDRESS: hex(40, 'an account address'),
  OWNER_PRIVATE_KEY_FILE: text(''),
  VAULT_REGISTRY_ADDRESS: hex(40, 'a contract address'),
  RPC_URL: z.url({ protocol: /^https?$/, message: 'is to be an http or https URL' }).optional(),
  GC_ENABLED: flag(true),
  GC_RETENTION_MODE: z.enum(RETENTION_MODES, `is to be one of ${RETENTION_MODES.join(', ')}`).default('hybrid'),
  GC_MAX_BLOB_AGE_DAYS: number(30, 0, AGE_DAYS_MAX),
  GC_MAX_STORAGE_MB: number(0, 0, MAX_STORAGE_MB_MAX),
  GC_MIN_FREE_DISK_MB: number(1000, 0, MAX_STORAGE_MB_MAX),
  GC_RESERVED_FOR_PINNED_MB: number(1000, 0, MAX_STORAGE_MB_MAX),
  GC_INTERVAL_MINUTES: number(10, 1, INTERVAL_MINUTES_MAX),
  GC_VERIFY_REPLICAS: flag(true),
  GC_VERIFY_PROOFS: flag(false),
  SCRUB_INTERVAL_HOURS: number(168, 0, INTERVAL_MINUTES_MAX / 60),
  SCRUB_RATE_MB: number(8, 0, MAX_STORAGE_MB_MAX),
  ENABLE_BLOCKED_CONTENT: flag(true),
  ADMIN_TOKEN_FILE: text(''),
  WARREN_OFFLINE: flag(false),
  LOG_LEVEL: z.enum(LOG_LEVELS, `is to be one of ${LOG_LEVELS.join(', ')}`).default('info')
})

/** Names of the variables that `readConfig` reads, the limits apart. */
export const CONFIG_VARIABLES: readonly string[] = Object.keys(schema.shape)

/**
 * Read the environment. Empty values count as absent.
 * @throws ConfigInvalidError with every problem, each beginning with the variable's name
 */
export function readConfig(env: Environment): NodeConfig {
  const problems: string[] = []
  const given: Record<string, string> = {}
  for (const name of Object.keys(schema.shape)) {
    const value = env[name]
    if (value !== undefined && value.trim() !== '') given[name] = value
  }
  const limits = readLimits(NETWORK_LIMITS, env, problems)
  const hardPunch = readHardPunch(env, problems)
  const parsed = schema.safeParse(given)
  if (!parsed.success) {
    for (const issue of parsed.error.issues) problems.push(`${issue.path.join('.')} ${issue.message}`)
  }
  const offline = given.WARREN_OFFLINE === '1' || given.WARREN_OFFLINE?.toLowerCase() === 'true'
  if (!offline) {
    for (const name of ['OWNER_ADDRESS', 'VAULT_REGISTRY_ADDRESS', 'RPC_URL', 'P2P_RELAY_PEERS']) {
      if (!(name in given)) problems.push(`${name} is required; WARREN_OFFLINE=1 runs without chain and relay`)
    }
  }
  const shardCount = parsed.data?.SHARD_COUNT ?? Number(given.SHARD_COUNT ?? 1024)
  const shards = parseShards(given.NODE_SHARDS ?? '', shardCount)
  if (Number.isSafeInteger(shardCount)) problems.push(...shards.problems.map(problem => `NODE_SHARDS: ${problem}`))
  for (const name of ['P2P_PRIVATE_KEY_FILE', 'OWNER_PRIVATE_KEY_FILE', 'ADMIN_TOKEN_FILE']) {
    const path = given[name]
    if (path !== undefined && !readable(path.trim())) problems.push(`${name}: ${path} cannot be read`)
  }
  const ownerKey = readOwnerKey(given.OWNER_PRIVATE_KEY_FILE?.trim(), problems)
  const data = parsed.data
  if (data && data.REPLICATION_QUORUM > data.REPLICATION_FACTOR) {
    problems.push(
      `REPLICATION_QUORUM ${data.REPLICATION_QUORUM} is above REPLICATION_FACTOR ${data.REPLICATION_FACTOR}`
    )
  }
  if (!data || shards.ranges === null || problems.length > 0) throw new ConfigInvalidError(problems)
  return {
    port: data.PORT,
    dataDir: data.DATA_DIR,
    listBlobs: data.HTTP_LIST_BLOBS,
    nodeId: data.NODE_ID,
    p2p: {
      enabled: data.P2P_ENABLED,
      listen: data.P2P_LISTEN_ADDRESSES,
      announce: data.P2P_ANNOUNCE_ADDRESSES,
      relays: data.P2P_RELAY_PEERS,
      bootstrap: data.P2P_BOOTSTRAP_PEERS,
      enableRelay: data.P2P_ENABLE_RELAY,
      enableDht: data.P2P_ENABLE_DHT,
      enableMdns: data.P2P_ENABLE_MDNS,
      portMapping: data.P2P_PORT_MAPPING,
      dcutr: data.P2P_DCUTR,
      hardPunch,
      privateKeyFile: data.P2P_PRIVATE_KEY_FILE || null,
      limits
    },
    maxStorageBytes: data.MAX_STORAGE_MB * MIB,
    maxBlobBytes: data.MAX_BLOB_SIZE_MB * MIB,
    shardCount: data.SHARD_COUNT,
    shards: shards.ranges,
    replicationFactor: data.REPLICATION_FACTOR,
    replicationQuorum: data.REPLICATION_QUORUM,
    replicationTimeoutMs: data.REPLICATION_TIMEOUT_MS,
    failureGroup: data.FAILURE_GROUP,
    keep: {
      gc: {
        enabled: data.GC_ENABLED,
        mode: data.GC_RETENTION_MODE,
        maxAgeMs: data.GC_MAX_BLOB_AGE_DAYS * DAY_MS,
        maxBytes: (data.GC_MAX_STORAGE_MB || data.MAX_STORAGE_MB) * MIB,
        minFreeDiskBytes: data.GC_MIN_FREE_DISK_MB * MIB,
        reservedForPinnedBytes: data.GC_RESERVED_FOR_PINNED_MB * MIB,
        intervalMs: data.GC_INTERVAL_MINUTES * MINUTE_MS,
        verifyReplicas: data.GC_VERIFY_REPLICAS,
        verifyProofs: data.GC_VERIFY_PROOFS
      },
      scrub: { intervalMs: data.SCRUB_INTERVAL_HOURS * HOUR_MS, bytesPerSecond: data.SCRUB_RATE_MB * MIB },
      blockedContent: data.ENABLE_BLOCKED_CONTENT,
      adminTokenFile: data.ADMIN_TOKEN_FILE || null
    },
    chain: data.WARREN_OFFLINE
      ? null
      : {
          rpcUrl: data.RPC_URL!,
          registry: data.VAULT_REGISTRY_ADDRESS!,
          ownerAddress: data.OWNER_ADDRESS!,
          ownerKey
        },
    logLevel: data.LOG_LEVEL
  }
}

function readable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK)
    return true
  } catch {
    return false
  }
}

function readOwnerKey(path: string | undefined, problems: string[]): `0x${string}` | null {
  if (!path || !readable(path)) return null
  const key = readFileSync(path, 'utf8').trim()
  if (/^0x[0-9a-fA-F]{64}$/.test(key)) return key as `0x${string}`
  problems.push(`OWNER_PRIVATE_KEY_FILE: ${path} does not hold 0x and 64 hex digits`)
  return null
}
