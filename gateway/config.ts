/** GatewayConfig from the environment. Every problem is found at once; nothing defaults to a public service. */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { z } from 'zod'
import {
  addressProblem,
  DCUTR_MODES,
  type DcutrMode,
  type HardPunchConfig,
  NETWORK_LIMITS,
  type NetworkLimits,
  readHardPunch,
  readLimits
} from '../node/index.ts'
import {
  AUTH_RATE_PER_MINUTE_DEFAULT,
  DATABASE_MAX_MB_DEFAULT,
  RATE_PER_SECOND_DEFAULT,
  SIGNING_KEY_DAYS_DEFAULT
} from './constants.ts'
import { ConfigInvalidError } from './errors.ts'
import { ADDRESS_SOCKETS_MAX, NAMESPACE_SOCKETS_MAX, SOCKETS_MAX } from './pubsub/limits.ts'
import { SQL_DATABASE_MAX_MB_DEFAULT } from './sql/limits.ts'

/** What a namespace may be called; no colon, so that `ns::<namespace>::` has one reading (D18, P4). */
export const NAMESPACE_PATTERN = /^[a-zA-Z0-9][a-zA-Z0-9_-]{0,63}$/

export const DB_CLIENTS = ['better-sqlite3', 'sqlite3'] as const
/** SQLite drivers the same knex configuration works with. */
export type DbClient = (typeof DB_CLIENTS)[number]

/** One entry of GATEWAY_API_KEYS. The key itself is forgotten after parsing. */
export interface SeededKey {
  namespace: string
  /** SHA-256, hex, of every text that opens it: `key:namespace` as written, and `key` alone (P3). */
  hashes: readonly string[]
}

export interface GatewayConfig {
  /** Name of this gateway among those that share a data directory. */
  nodeId: string
  host: string
  /** 0: any free port. */
  port: number
  /** The namespace of keys without one, and of anonymous callers where auth is not required. */
  namespace: string
  requireAuth: boolean
  apiKeys: readonly SeededKey[]
  /** Origins under which people reach this gateway; an EIP-4361 message must name one. Empty: none is taken. */
  publicUrls: readonly string[]
  /** Chains an EIP-4361 message may name. */
  chainIds: readonly number[]
  /** Pages the login page may hand a key to, beside those on loopback: URLs without query. */
  loginCallbacks: readonly string[]
  /** Requests to the public paths below /v1/auth an address may make in a minute. 0: no limit. */
  authRatePerMinute: number
  /** Requests one identity may make in a second. 0: no limit. */
  ratePerSecond: number
  /** Age at which a signing key gets its successor. */
  signingKeyDays: number
  dataDir: string
  dbClient: DbClient
  /** The database file may grow to here, MiB. */
  databaseMaxMb: number
  /** A namespace's own SQL database may grow to here, MiB. */
  sqlMaxMb: number
  /** Largest value, MiB: the nodes' blob limit. */
  maxBlobSizeMb: number
  /** Multiaddrs with peer id; empty: the gateway runs without a network, for values up to 64 KiB only. */
  bootstrapPeers: readonly string[]
  /** js-libp2p's limits, `P2P_MAX_CONNECTIONS` and its like; the list is the node's. */
  limits: NetworkLimits
  /** How relayed connections become direct ones. */
  dcutr: DcutrMode
  /** Pairs of a cone and a symmetric NAT, `P2P_HARD_PUNCH` and its like. */
  hardPunch: HardPunchConfig
  privateKeyFile: string | undefined
  registryAddress: `0x${string}` | undefined
  rpcUrl: string | undefined
  inventoryFile: string | undefined
  /** What pub/sub seals its gossip with; undefined: DATA_DIR/pubsub.key. */
  pubsubKeyFile: string | undefined
  /** WebSockets of pub/sub open at once: all, of one namespace, from one address. */
  pubsubSockets: { max: number; namespaceMax: number; addressMax: number }
  /** Origins whose pages may open them; empty: all. */
  pubsubOrigins: readonly string[]
  /** Whose `X-Forwarded-For` is believed: a proxy on this machine, everybody's, nobody's. */
  trustProxy: 'loopback' | 'always' | 'never'
  version: string
  commit: string
  buildTime: string
  logLevel: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent'
}

const flag = (name: string) =>
  z
    .string()
    .trim()
    .toLowerCase()
    .refine(text => ['true', '1', 'false', '0'].includes(text), `${name} is neither true nor false`)
    .transform(text => text === 'true' || text === '1')

const whole = (name: string, min: number, max: number) =>
  z
    .string()
    .trim()
    .refine(
      text => /^\d+$/.test(text) && Number(text) >= min && Number(text) <= max,
      `${name} is not a whole number from ${min} to ${max}`
    )
    .transform(Number)

const list = z.string().transform(text =>
  text
    .split(',')
    .map(part => part.trim())
    .filter(part => part !== '')
)

const peers = (name: string) =>
  list.superRefine((addresses, context) => {
    for (const address of addresses) {
      const problem = addressProblem(address, { needsPeer: true })
      if (problem !== null) context.addIssue({ code: 'custom', message: `${name}: "${address}" ${problem}` })
    }
  })

/** Whole URLs: of http or https, without user, query and fragment. */
const urls = (name: string, { path }: { path: boolean }) =>
  list.superRefine((texts, context) => {
    for (const text of texts) {
      const url = URL.canParse(text) ? new URL(text) : null
      const plain = url !== null && `${url.origin}${url.pathname}` === url.href && /^https?:$/.test(url.protocol)
      if (plain && (path || url.pathname === '/')) continue
      const what = path ? 'an http(s) URL without user, query and fragment' : 'https://host[:port] and nothing more'
      context.addIssue({ code: 'custom', message: `${name}: "${text}" is not ${what}` })
    }
  })
/** `*`, which allows all, is an empty list. */
const origins = (name: string) =>
  list
    .superRefine((given, context) => {
      for (const text of given) {
        const isOrigin = URL.canParse(text) && new URL(text).origin === text.toLowerCase()
        if (text !== '*' && !isOrigin) {
          context.addIssue({ code: 'custom', message: `${name}: "${text}" is no origin, such as https://example.org` })
        }
      }
    })
    .transform(given => (given.includes('*') ? [] : given.map(text => text.toLowerCase())))

const namespace = (name: string) =>
  z.string().trim().regex(NAMESPACE_PATTERN, `${name} is no namespace: letters, digits, _ and -, at most 64, no colon`)

const schema = z.object({
  NODE_ID: z
    .string()
    .regex(/^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$/, 'NODE_ID is no name: letters, digits, . _ and -, at most 64')
    .default('gateway'),
  GATEWAY_ADDR: z
    .string()
    .regex(/^(\[[0-9a-fA-F:]+\]|[^:\s]*):\d{1,5}$/, 'GATEWAY_ADDR is not [host]:port')
    .default(':8080'),
  PORT: whole('PORT', 0, 65_535).optional(),
  GATEWAY_NAMESPACE: namespace('GATEWAY_NAMESPACE').default('default'),
  GATEWAY_REQUIRE_AUTH: flag('GATEWAY_REQUIRE_AUTH').default(true),
  GATEWAY_API_KEYS: list.default([]),
  GATEWAY_PUBLIC_URL: urls('GATEWAY_PUBLIC_URL', { path: false }).default([]),
  GATEWAY_CHAIN_IDS: list
    .refine(ids => ids.every(id => /^[1-9]\d{0,14}$/.test(id)), 'GATEWAY_CHAIN_IDS is no list of chain ids')
    .default(['1', '31337']),
  GATEWAY_LOGIN_CALLBACKS: urls('GATEWAY_LOGIN_CALLBACKS', { path: true }).default([]),
  GATEWAY_AUTH_RATE_PER_MINUTE: whole('GATEWAY_AUTH_RATE_PER_MINUTE', 0, 1_000_000_000).default(
    AUTH_RATE_PER_MINUTE_DEFAULT
  ),
  GATEWAY_RATE_PER_SECOND: whole('GATEWAY_RATE_PER_SECOND', 0, 1_000_000_000).default(RATE_PER_SECOND_DEFAULT),
  GATEWAY_SIGNING_KEY_DAYS: whole('GATEWAY_SIGNING_KEY_DAYS', 1, 3650).default(SIGNING_KEY_DAYS_DEFAULT),
  GATEWAY_BOOTSTRAP_PEERS: peers('GATEWAY_BOOTSTRAP_PEERS').default([]),
  P2P_PRIVATE_KEY_FILE: z.string().min(1).optional(),
  P2P_DCUTR: z.enum(DCUTR_MODES, `P2P_DCUTR is none of ${DCUTR_MODES.join(', ')}`).default('warren'),
  DATA_DIR: z.string().min(1, 'DATA_DIR is empty').default('./data/gateway'),
  DB_CLIENT: z.enum(DB_CLIENTS, `DB_CLIENT is none of ${DB_CLIENTS.join(', ')}`).default('better-sqlite3'),
  GATEWAY_DATABASE_MAX_MB: whole('GATEWAY_DATABASE_MAX_MB', 1, 16_777_216).default(DATABASE_MAX_MB_DEFAULT),
  GATEWAY_SQL_MAX_MB: whole('GATEWAY_SQL_MAX_MB', 1, 1_048_576).default(SQL_DATABASE_MAX_MB_DEFAULT),
  MAX_BLOB_SIZE_MB: whole('MAX_BLOB_SIZE_MB', 1, 1_048_576).default(100),
  VAULT_REGISTRY_ADDRESS: z
    .string()
    .regex(/^0x[0-9a-fA-F]{40}$/, 'VAULT_REGISTRY_ADDRESS is no address: 0x and 40 hex digits')
    .transform(text => text as `0x${string}`)
    .optional(),
  RPC_URL: z.url({ protocol: /^https?$/, error: 'RPC_URL is no http(s) URL' }).optional(),
  GATEWAY_INVENTORY_FILE: z.string().min(1).optional(),
  GATEWAY_PUBSUB_KEY_FILE: z.string().min(1).optional(),
  GATEWAY_PUBSUB_MAX_SOCKETS: whole('GATEWAY_PUBSUB_MAX_SOCKETS', 1, 1_000_000).default(SOCKETS_MAX),
  GATEWAY_PUBSUB_MAX_NAMESPACE_SOCKETS: whole('GATEWAY_PUBSUB_MAX_NAMESPACE_SOCKETS', 1, 1_000_000).default(
    NAMESPACE_SOCKETS_MAX
  ),
  GATEWAY_PUBSUB_MAX_ADDRESS_SOCKETS: whole('GATEWAY_PUBSUB_MAX_ADDRESS_SOCKETS', 1, 1_000_000).default(
    ADDRESS_SOCKETS_MAX
  ),
  GATEWAY_PUBSUB_ORIGINS: origins('GATEWAY_PUBSUB_ORIGINS').default([]),
  GATEWAY_TRUST_PROXY: z
    .enum(['loopback', 'always', 'never'], 'GATEWAY_TRUST_PROXY is none of loopback, always, never')
    .default('loopback'),
  WARREN_VERSION: z.string().default('dev'),
  WARREN_COMMIT: z.string().default(''),
  WARREN_BUILD_TIME: z.string().default(''),
  LOG_LEVEL: z
    .enum(
      ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
      'LOG_LEVEL is none of trace, debug, info, warn, error, fatal, silent'
    )
    .default('info')
})

/**
 * The configuration in these variables. Empty variables count as absent.
 * @throws ConfigInvalidError with all problems
 */
export function readConfig(environment: Record<string, string | undefined>): GatewayConfig {
  const given = Object.fromEntries(
    Object.entries(environment).filter(([, value]) => value !== undefined && value !== '')
  )
  const parsed = schema.safeParse(given)
  const problems = parsed.success ? [] : parsed.error.issues.map(issue => issue.message)
  const defaultNamespace = NAMESPACE_PATTERN.test(given.GATEWAY_NAMESPACE?.trim() ?? '')
    ? given.GATEWAY_NAMESPACE!.trim()
    : 'default'
  const apiKeys = parseApiKeys(given.GATEWAY_API_KEYS ?? '', defaultNamespace, problems)
  const limits = readLimits(NETWORK_LIMITS, given, problems)
  const hardPunch = readHardPunch(given, problems)
  if ((given.VAULT_REGISTRY_ADDRESS === undefined) !== (given.RPC_URL === undefined)) {
    problems.push('VAULT_REGISTRY_ADDRESS and RPC_URL belong together: give both or neither')
  }
  if (!parsed.success || problems.length > 0) throw new ConfigInvalidError(problems)

  const env = parsed.data
  const colon = env.GATEWAY_ADDR.lastIndexOf(':')
  const host = env.GATEWAY_ADDR.slice(0, colon).replace(/^\[|\]$/g, '')
  return {
    nodeId: env.NODE_ID,
    host: host === '' ? '0.0.0.0' : host,
    port: env.PORT ?? Number(env.GATEWAY_ADDR.slice(colon + 1)),
    namespace: env.GATEWAY_NAMESPACE,
    requireAuth: env.GATEWAY_REQUIRE_AUTH,
    apiKeys,
    publicUrls: env.GATEWAY_PUBLIC_URL.map(text => new URL(text).origin),
    chainIds: env.GATEWAY_CHAIN_IDS.map(Number),
    loginCallbacks: env.GATEWAY_LOGIN_CALLBACKS.map(text => new URL(text).href),
    authRatePerMinute: env.GATEWAY_AUTH_RATE_PER_MINUTE,
    ratePerSecond: env.GATEWAY_RATE_PER_SECOND,
    signingKeyDays: env.GATEWAY_SIGNING_KEY_DAYS,
    dataDir: env.DATA_DIR,
    dbClient: env.DB_CLIENT,
    databaseMaxMb: env.GATEWAY_DATABASE_MAX_MB,
    sqlMaxMb: env.GATEWAY_SQL_MAX_MB,
    maxBlobSizeMb: env.MAX_BLOB_SIZE_MB,
    bootstrapPeers: env.GATEWAY_BOOTSTRAP_PEERS,
    limits,
    dcutr: env.P2P_DCUTR,
    hardPunch,
    privateKeyFile: env.P2P_PRIVATE_KEY_FILE,
    registryAddress: env.VAULT_REGISTRY_ADDRESS,
    rpcUrl: env.RPC_URL,
    inventoryFile: env.GATEWAY_INVENTORY_FILE,
    pubsubKeyFile: env.GATEWAY_PUBSUB_KEY_FILE,
    pubsubSockets: {
      max: env.GATEWAY_PUBSUB_MAX_SOCKETS,
      namespaceMax: env.GATEWAY_PUBSUB_MAX_NAMESPACE_SOCKETS,
      addressMax: env.GATEWAY_PUBSUB_MAX_ADDRESS_SOCKETS
    },
    pubsubOrigins: env.GATEWAY_PUBSUB_ORIGINS,
    trustProxy: env.GATEWAY_TRUST_PROXY,
    version: env.WARREN_VERSION,
    commit: env.WARREN_COMMIT,
    buildTime: env.WARREN_BUILD_TIME,
    logLevel: env.LOG_LEVEL
  }
}

/** `key:namespace,…`, split at the last colon; without a colon the key is the default namespace's (P2). */
function parseApiKeys(text: string, defaultNamespace: string, problems: string[]): SeededKey[] {
  const keys: SeededKey[] = []
  const owners = new Map<string, string>()
  const entries = text
    .split(',')
    .map(entry => entry.trim())
    .filter(entry => entry !== '')
  for (const [index, entry] of entries.entries()) {
    // Problems name the entry by its place: a key is a secret and stays out of logs.
    const which = `GATEWAY_API_KEYS entry ${index + 1}`
    const colon = entry.lastIndexOf(':')
    const key = colon < 0 ? entry : entry.slice(0, colon)
    const namespace = colon < 0 ? defaultNamespace : entry.slice(colon + 1)
    if (key === '') problems.push(`${which} has no key before the colon`)
    else if (/\s/.test(entry)) problems.push(`${which} has white space inside`)
    if (!NAMESPACE_PATTERN.test(namespace)) {
      problems.push(`${which} has no namespace after its last colon: letters, digits, _ and -, at most 64`)
    }
    const texts = new Set([entry, key])
    for (const opens of texts) {
      const other = owners.get(opens)
      if (other !== undefined && other !== namespace) {
        problems.push(`${which} opens the namespaces ${other} and ${namespace} with the same text: use another key`)
      }
      owners.set(opens, namespace)
    }
    keys.push({ namespace, hashes: [...texts].map(hashKey) })
  }
  return keys
}

/** How API keys are stored and looked up: SHA-256, hex. Keys are random and long, so a plain hash is enough. */
export function hashKey(key: string): string {
  return createHash('sha256').update(key).digest('hex')
}

/** Where this gateway keeps what it does not share with others on the same data directory. */
export function ownFolder({ dataDir, nodeId }: Pick<GatewayConfig, 'dataDir' | 'nodeId'>): string {
  return join(dataDir, 'gateways', nodeId)
}

/** Where tenants' SQL databases are, shared by the gateways of a data directory. */
export function sqlFolder({ dataDir }: Pick<GatewayConfig, 'dataDir'>): string {
  return join(dataDir, 'sql')
}
