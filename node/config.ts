/**
 * A node's configuration from its environment, names of the ByteCave document. All problems are found at once. The
 * result is a value that is passed on; nothing else reads the environment. `settings.ts` puts flags and files into it.
 */
import { accessSync, constants, readFileSync } from 'node:fs'
import { relative, resolve } from 'node:path'
import { z } from 'zod'
import { parseShards, SHARD_COUNT_MAX, type ShardRange } from './blobs/shards.ts'
import { ConfigInvalidError } from './errors.ts'
import { HTTP_LIMITS, type HttpLimits } from './http/http-limits.ts'
import { RETENTION_MODES } from './keeping/collect-plan.ts'
import type { KeepConfig } from './keeping/keeping.ts'
import { LOG_LEVELS, type LogLevel } from './log.ts'
import { addressProblem } from './net/addresses.ts'
import { DCUTR_MODES, type DcutrMode } from './net/dcutr-mode.ts'
import { type LimitSpec, NETWORK_LIMITS, type NetworkLimits, readLimits } from './net/limits.ts'
import { HARD_PUNCH_LIMITS, type HardPunchConfig, readHardPunch } from './net/punching/hard/hard-limits.ts'

import { parseSocksProxy, type SocksProxy } from './net/socks/socks.ts'

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

/** What NODE_ENV may be. */
export const NODE_ENVIRONMENTS = ['development', 'production', 'test'] as const
export type NodeEnvironment = (typeof NODE_ENVIRONMENTS)[number]

/** The log's copy on disk. */
export interface LogFileConfig {
  /** Below the data directory. */
  path: string
  /** Bytes after which a file is put aside and a new one begun. */
  maxBytes: number
  /** Files kept, the one that is written included. */
  maxFiles: number
}

/** The face to HTTP clients. */
export interface HttpConfig {
  /** Origins whose pages may read answers; `*` for all. */
  corsOrigins: readonly string[]
  /** Whether large JSON answers are compressed for who takes that. Blobs never are. */
  compression: boolean
  /** Whether /metrics is served. */
  metrics: boolean
  /** Reverse proxies in front: as many entries of X-Forwarded-For, from the right, are believed. */
  trustedProxies: number
  limits: HttpLimits
}

export interface NodeConfig {
  environment: NodeEnvironment
  port: number
  dataDir: string
  /** URL at which clients reach this node's HTTP, without a slash at the end; null: not told. */
  nodeUrl: string | null
  /** The public key this node is to have, `0x…`; null: any. */
  publicKey: `0x${string}` | null
  /** Classes of content taken; null: all. */
  contentTypes: readonly string[] | null
  http: HttpConfig
  logFile: LogFileConfig | null
  /** Whether lists of blobs are answered to everybody, not only to the operator. */
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
    /** The first of its network: it needs nobody to join. */
    isBootstrap: boolean
    enableRelay: boolean
    enableDht: boolean
    enableMdns: boolean
    /** Ask the own router to open the ports we listen on, where no address is announced. */
    portMapping: boolean
    dcutr: DcutrMode
    hardPunch: HardPunchConfig
    privateKeyFile: string | null
    /** Proxy of outgoing dials; null: none. */
    socks: SocksProxy | null
    limits: NetworkLimits
  }
  maxStorageBytes: number
  maxBlobBytes: number
  /** Whether new small blobs go into packs. */
  packSmallBlobs: boolean
  shardCount: number
  /** `auto`: assigned from the registry. */
  shards: ShardRange[] | typeof AUTO_SHARDS
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
const LOG_FILE_MB_MAX = 1024
const LOG_FILES_MAX = 100
const PROXIES_MAX = 8
/** Said for NODE_SHARDS: they are assigned from the registry. */
export const AUTO_SHARDS = 'auto'
/** Said in place of a value: none. */
const NONE = 'none'
/** Classes of content that the ByteCave document knows. */
export const CONTENT_TYPES = ['messages', 'posts', 'media', 'listings'] as const
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

const list = (value: string): string[] =>
  value
    .split(',')
    .map(part => part.trim())
    .filter(part => part !== '')
const contentTypes = z
  .string()
  .default('all')
  .transform(value => (value.trim() === 'all' ? null : list(value)))
  .refine(
    types => types === null || types.every(type => (CONTENT_TYPES as readonly string[]).includes(type)),
    `is to be all, or some of ${CONTENT_TYPES.join(', ')}`
  )
const origins = z
  .string()
  .default('http://localhost:3000')
  .transform(value => (value.trim() === NONE ? [] : list(value)))
  .refine(
    all => all.every(origin => origin === '*' || isOrigin(origin)),
    'is to be *, none, or origins such as https://app.example'
  )

const schema = z.object({
  NODE_ENV: z.enum(NODE_ENVIRONMENTS, `is to be one of ${NODE_ENVIRONMENTS.join(', ')}`).default('development'),
  PORT: number(5001, 0, PORT_MAX),
  DATA_DIR: text('./data'),
  HTTP_LIST_BLOBS: flag(false),
  HTTP_TRUSTED_PROXIES: number(0, 0, PROXIES_MAX),
  CORS_ORIGIN: origins,
  COMPRESSION_ENABLED: flag(false),
  METRICS_ENABLED: flag(true),
  NODE_URL: z.url({ protocol: /^https?$/, message: 'is to be an http or https URL' }).optional(),
  PUBLIC_KEY: hex(64, 'the public key of this node'),
  CONTENT_TYPES: contentTypes,
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
  P2P_BOOTSTRAP_NODE: flag(false),
  P2P_ENABLE_RELAY: flag(true),
  P2P_ENABLE_DHT: flag(true),
  P2P_ENABLE_MDNS: flag(false),
  P2P_PORT_MAPPING: flag(true),
  P2P_DCUTR: z.enum(DCUTR_MODES, `is to be one of ${DCUTR_MODES.join(', ')}`).default('warren'),
  P2P_PRIVATE_KEY_FILE: text(''),
  P2P_SOCKS5_PROXY: z
    .string()
    .trim()
    .default('')
    .refine(value => value === '' || parseSocksProxy(value) !== null, 'is to be socks5://[user:password@]host:port'),
  MAX_STORAGE_MB: number(10_240, 1, MAX_STORAGE_MB_MAX),
  MAX_BLOB_SIZE_MB: number(100, 1, MAX_BLOB_MB_MAX),
  PACK_SMALL_BLOBS: flag(false),
  CACHE_SIZE_MB: number(50, 0, MAX_STORAGE_MB_MAX),
  SHARD_COUNT: number(1024, 1, SHARD_COUNT_MAX),
  NODE_SHARDS: z.string().default(''),
  REPLICATION_ENABLED: flag(true),
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
  LOG_LEVEL: z.enum(LOG_LEVELS, `is to be one of ${LOG_LEVELS.join(', ')}`).default('info'),
  LOG_FILE: text('logs/bytecave.log'),
  LOG_FILE_MAX_MB: number(10, 1, LOG_FILE_MB_MAX),
  LOG_FILES: number(5, 1, LOG_FILES_MAX)
})

/** Names of the variables that `readConfig` reads, the limits apart. */
export const CONFIG_VARIABLES: readonly string[] = Object.keys(schema.shape)

/** What is to be known of a variable without its value. */
export interface Setting {
  /** As it would be written; empty when there is none. */
  fallback: string
  /** Whether it is true or false, so that its flag may stand alone. */
  isSwitch: boolean
  /** The fallback without a registry (WARREN_OFFLINE), where it is another. */
  fallbackOffline?: string
  /** Meaning and unit, of the limits only; the others are in `config-help.ts`. */
  what?: string
}

/** Every variable of a node by name, limits included. */
export const SETTINGS: ReadonlyMap<string, Setting> = new Map<string, Setting>([
  ...Object.entries(schema.shape).map(([name, shape]): [string, Setting] => {
    const fallback: unknown = shape.safeParse(undefined).data
    const words = fallback === null ? 'all' : Array.isArray(fallback) ? fallback.join(',') : String(fallback ?? '')
    const offline = name === 'GC_VERIFY_PROOFS' ? { fallbackOffline: 'true' } : {}
    return [name, { fallback: words, isSwitch: typeof fallback === 'boolean', ...offline }]
  }),
  [
    'P2P_HARD_PUNCH',
    { fallback: 'true', isSwitch: true, what: 'whether pairs of a cone and a symmetric NAT are tried' }
  ],
  ...[HTTP_LIMITS, NETWORK_LIMITS, HARD_PUNCH_LIMITS]
    .flatMap(specs => Object.values<LimitSpec>(specs))
    .map((spec): [string, Setting] => [spec.env, { fallback: String(spec.default), isSwitch: false, what: spec.what }])
])

/**
 * Read the environment. Empty values count as absent.
 * @param earlier problems found before, reported with the others
 * @throws ConfigInvalidError with every problem, each beginning with the variable's name
 */
export function readConfig(env: Environment, earlier: readonly string[] = []): NodeConfig {
  const problems: string[] = [...earlier]
  const given: Record<string, string> = {}
  for (const name of Object.keys(schema.shape)) {
    const value = env[name]
    if (value !== undefined && value.trim() !== '') given[name] = value
  }
  const limits = readLimits(NETWORK_LIMITS, env, problems)
  const httpLimits = readLimits(HTTP_LIMITS, env, problems)
  const hardPunch = readHardPunch(env, problems)
  const parsed = schema.safeParse(given)
  if (!parsed.success) {
    for (const issue of parsed.error.issues) problems.push(`${issue.path.join('.')} ${issue.message}`)
  }
  const isOff = (name: string) => given[name] === '0' || given[name]?.trim().toLowerCase() === 'false'
  const isOn = (name: string) => given[name] === '1' || given[name]?.trim().toLowerCase() === 'true'
  if (!isOn('WARREN_OFFLINE')) {
    for (const name of ['OWNER_ADDRESS', 'VAULT_REGISTRY_ADDRESS', 'RPC_URL', 'P2P_RELAY_PEERS']) {
      if (name in given || (name === 'P2P_RELAY_PEERS' && isOn('P2P_BOOTSTRAP_NODE'))) continue
      problems.push(`${name} is required; WARREN_OFFLINE=1 runs without chain and relay`)
    }
  }
  const shardCount = parsed.data?.SHARD_COUNT ?? Number(given.SHARD_COUNT ?? 1024)
  const isAuto = given.NODE_SHARDS?.trim().toLowerCase() === AUTO_SHARDS
  const shards = parseShards(isAuto ? '' : (given.NODE_SHARDS ?? ''), shardCount)
  if (Number.isSafeInteger(shardCount)) problems.push(...shards.problems.map(problem => `NODE_SHARDS: ${problem}`))
  // Who announces itself comes and goes, which is no list to assign shards by.
  if (isAuto && isOn('WARREN_OFFLINE')) {
    problems.push(
      'NODE_SHARDS auto needs the registry, which WARREN_OFFLINE=1 does without; name shards, or leave it out'
    )
  }
  if (isAuto && isOff('P2P_ENABLED')) {
    problems.push('NODE_SHARDS auto shares with other nodes, which P2P_ENABLED=false cannot reach; leave it out')
  }
  for (const name of ['P2P_PRIVATE_KEY_FILE', 'OWNER_PRIVATE_KEY_FILE', 'ADMIN_TOKEN_FILE']) {
    const path = given[name]
    if (path !== undefined && !readable(path.trim())) problems.push(`${name}: ${path} cannot be read`)
  }
  const ownerKey = readOwnerKey(given.OWNER_PRIVATE_KEY_FILE?.trim(), problems)
  const data = parsed.data
  const logFile = data ? logFileOf(data, problems) : null
  if (data && data.REPLICATION_QUORUM > data.REPLICATION_FACTOR) {
    problems.push(
      `REPLICATION_QUORUM ${data.REPLICATION_QUORUM} is above REPLICATION_FACTOR ${data.REPLICATION_FACTOR}`
    )
  }
  if (!data || shards.ranges === null || problems.length > 0) throw new ConfigInvalidError(problems)
  return {
    environment: data.NODE_ENV,
    port: data.PORT,
    dataDir: data.DATA_DIR,
    nodeUrl: data.NODE_URL?.replace(/\/+$/, '') ?? null,
    publicKey: (data.PUBLIC_KEY?.toLowerCase() as `0x${string}` | undefined) ?? null,
    contentTypes: data.CONTENT_TYPES,
    http: {
      corsOrigins: data.CORS_ORIGIN,
      compression: data.COMPRESSION_ENABLED,
      metrics: data.METRICS_ENABLED,
      trustedProxies: data.HTTP_TRUSTED_PROXIES,
      limits: httpLimits
    },
    logFile,
    listBlobs: data.HTTP_LIST_BLOBS,
    nodeId: data.NODE_ID,
    p2p: {
      enabled: data.P2P_ENABLED,
      listen: data.P2P_LISTEN_ADDRESSES,
      announce: data.P2P_ANNOUNCE_ADDRESSES,
      relays: data.P2P_RELAY_PEERS,
      bootstrap: data.P2P_BOOTSTRAP_PEERS,
      isBootstrap: data.P2P_BOOTSTRAP_NODE,
      enableRelay: data.P2P_ENABLE_RELAY,
      enableDht: data.P2P_ENABLE_DHT,
      enableMdns: data.P2P_ENABLE_MDNS,
      portMapping: data.P2P_PORT_MAPPING,
      dcutr: data.P2P_DCUTR,
      hardPunch,
      privateKeyFile: data.P2P_PRIVATE_KEY_FILE || null,
      socks: parseSocksProxy(data.P2P_SOCKS5_PROXY),
      limits
    },
    maxStorageBytes: data.MAX_STORAGE_MB * MIB,
    maxBlobBytes: data.MAX_BLOB_SIZE_MB * MIB,
    packSmallBlobs: data.PACK_SMALL_BLOBS,
    shardCount: data.SHARD_COUNT,
    shards: isAuto ? AUTO_SHARDS : shards.ranges,
    replicationFactor: data.REPLICATION_ENABLED ? data.REPLICATION_FACTOR : 1,
    replicationQuorum: data.REPLICATION_ENABLED ? data.REPLICATION_QUORUM : 1,
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
        // Without a registry anybody is a member by saying so, as often as it likes: its word that it holds a copy is worth nothing.
        verifyProofs: 'GC_VERIFY_PROOFS' in given ? data.GC_VERIFY_PROOFS : data.WARREN_OFFLINE
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

/** A node writes below its data directory only, so its log is there too. */
function logFileOf(
  data: { DATA_DIR: string; LOG_FILE: string; LOG_FILE_MAX_MB: number; LOG_FILES: number },
  problems: string[]
): LogFileConfig | null {
  if (data.LOG_FILE === NONE) return null
  const path = resolve(data.DATA_DIR, data.LOG_FILE)
  const within = relative(resolve(data.DATA_DIR), path)
  if (within === '' || within.startsWith('..')) {
    problems.push(`LOG_FILE ${data.LOG_FILE} is not below DATA_DIR; name a file there, or ${NONE}`)
  }
  return { path, maxBytes: data.LOG_FILE_MAX_MB * MIB, maxFiles: data.LOG_FILES }
}

function isOrigin(text: string): boolean {
  const url = URL.parse(text)
  return url !== null && /^https?:$/.test(url.protocol) && url.origin === text
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
