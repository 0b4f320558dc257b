/** `--help` and `--print-config`: the settings in words, and as they are. */
import { SETTINGS } from './config.ts'
import { flagOf, type Settings } from './settings.ts'

/** What every variable means; limits carry their own words. */
const MEANINGS: Readonly<Record<string, string>> = {
  NODE_ENV: 'development, production or test; no effect: no route exists for tests only',
  PORT: 'TCP port of HTTP; a socket handed over by LISTEN_FDS goes before it',
  DATA_DIR: 'the only place it writes; one process at a time',
  HTTP_LIST_BLOBS:
    'answer lists of blobs to all that reach it, not to the operator only: who knows a CID can read the blob',
  HTTP_TRUSTED_PROXIES: 'reverse proxies in front; as many entries of X-Forwarded-For are believed',
  CORS_ORIGIN: 'origins whose pages may use this node: *, none, or a comma list',
  COMPRESSION_ENABLED: 'compress large JSON answers; blobs never are',
  METRICS_ENABLED: 'serve /metrics',
  NODE_URL: 'URL at which clients reach this node; told as the endpoint in /status',
  PUBLIC_KEY: 'the key this node is to have, 0x…; with another one it does not start',
  CONTENT_TYPES: 'classes of content taken: all, or some of messages, posts, media, listings',
  NODE_ID: 'its name, unique; made of the peer id when absent',
  P2P_ENABLED: 'false: no transport is opened',
  P2P_LISTEN_ADDRESSES: 'multiaddrs to listen on, comma separated',
  P2P_ANNOUNCE_ADDRESSES: 'multiaddrs told to others instead; set where it is reached directly',
  P2P_RELAY_PEERS: 'multiaddrs of relays with peer id; required',
  P2P_BOOTSTRAP_PEERS: 'multiaddrs of peers to begin with, with peer id',
  P2P_BOOTSTRAP_NODE: 'the first node of its network: needs no relay to start',
  P2P_ENABLE_RELAY: 'be reached and reach others through relays',
  P2P_ENABLE_DHT: 'announce and find holders in the DHT',
  P2P_ENABLE_MDNS: 'find peers on the local network',
  P2P_PORT_MAPPING: 'ask the own router to open the ports, unless addresses are announced',
  P2P_DCUTR: 'how relayed connections become direct: warren, stock or off',
  P2P_PRIVATE_KEY_FILE: 'base64 libp2p Ed25519 key, imported at the first start',
  P2P_SOCKS5_PROXY: 'socks5://[user:password@]host:port for dials to the internet; TCP only, no hole punching then',
  MAX_STORAGE_MB: 'quota of blob bytes, MiB',
  MAX_BLOB_SIZE_MB: 'largest blob, MiB',
  PACK_SMALL_BLOBS:
    'blobs up to 64 KiB sealed go into packs, many of them at one sync; those of before stay where they are',
  CACHE_SIZE_MB: 'no effect: the page cache of the system holds sealed files, and nothing plain is kept',
  SHARD_COUNT: 'shards of the network; the same on every node',
  NODE_SHARDS:
    'shards of this node: [{"start":0,"end":255}], [0,1,2], 0-255, 0,1,2 or 0-255,512-767; auto: assigned from the registry; all when absent',
  REPLICATION_ENABLED: 'false: one copy, here',
  REPLICATION_FACTOR: 'replicas wanted of every blob',
  REPLICATION_QUORUM: 'replicas on disk before a store is acknowledged',
  REPLICATION_TIMEOUT_MS: 'ms for one attempt; 10 s for every MiB come on top',
  FAILURE_GROUP: 'nodes with the same label are likely to fail together',
  GC_ENABLED: 'collect spare copies',
  GC_RETENTION_MODE: 'time: spare copies go by age; size: by room; hybrid: by either',
  GC_MAX_BLOB_AGE_DAYS: 'a spare copy goes when it is older',
  GC_MAX_STORAGE_MB: 'spare copies go when blobs fill more, MiB; 0: MAX_STORAGE_MB',
  GC_MIN_FREE_DISK_MB: 'room kept free on the disk, MiB',
  GC_RESERVED_FOR_PINNED_MB: 'room that only pinned blobs may fill, MiB',
  GC_INTERVAL_MINUTES: 'minutes between collections',
  GC_VERIFY_REPLICAS: 'ask the other holders first; false: the last copy may go too',
  GC_VERIFY_PROOFS:
    'have the other holders prove all bytes before a copy here goes; true by default without a registry',
  SCRUB_INTERVAL_HOURS: 'hours between scrubs; 0: never',
  SCRUB_RATE_MB: 'MiB a second that a scrub reads; 0: unlimited',
  ENABLE_BLOCKED_CONTENT: 'hold the block list at store and at read',
  ADMIN_TOKEN_FILE: 'the operator’s token; DATA_DIR/keys/admin.token when absent',
  OWNER_ADDRESS: 'account that owns this node; required',
  OWNER_PRIVATE_KEY_FILE: 'its key; without it the registry is only read',
  VAULT_REGISTRY_ADDRESS: 'contract of the registry; required',
  RPC_URL: 'JSON-RPC of the chain; required',
  WARREN_OFFLINE: 'no chain and no relay needed; members are who announces itself, signed',
  LOG_LEVEL: 'least level logged',
  LOG_FILE: 'file below DATA_DIR with the log’s lines besides stderr; none: no file',
  LOG_FILE_MAX_MB: 'MiB after which the log file is put aside as .1, .2 and so on',
  LOG_FILES: 'log files kept, the one written included'
}

/** The meaning of a setting in a line, or nothing. */
export const meaningOf = (name: string): string => MEANINGS[name] ?? SETTINGS.get(name)?.what ?? ''

/** The text of `--help`. */
export function helpText(): string {
  const lines = [...SETTINGS].map(([name, { fallback }]) => {
    const shown = fallback === '' ? '' : ` [${fallback}]`
    return `  ${flagOf(name)}, ${name}\n      ${meaningOf(name)}${shown}`
  })
  return [
    'A storage node of Warren. Settings come from flags, the environment, .env and a YAML file, in that order.',
    '',
    '  --config FILE, CONFIG_FILE',
    '      YAML file: the names below in lower case, or the keys of a DeBros node file',
    '  --env-file FILE, ENV_FILE',
    '      file of VARIABLE=value lines; none: no file [.env]',
    '  --print-config',
    '      print every setting as it would be and where it comes from, secrets masked; then end',
    '  --help',
    '      this text',
    '',
    ...lines,
    ''
  ].join('\n')
}

/** Settings whose value is a secret itself; those of files are names only. */
const SECRET = /(TOKEN|SECRET|PASSWORD|PRIVATE_KEY|API_KEY)$/
const MASK = '***'

/** A value that may be printed: no secret, and of a URL neither who asks nor which key it has in its path. */
export function masked(name: string, value: string): string {
  if (SECRET.test(name)) return MASK
  const scheme = /^\s*([a-z0-9]+:\/\/)/i.exec(value)?.[1]
  if (scheme === undefined) return value
  const url = URL.parse(value)
  // One with a slip in it may have a password all the same.
  if (url === null) return `${scheme}${MASK}`
  const secret = url.username !== '' || url.password !== '' || url.search !== '' || url.pathname.length > 1
  return secret ? `${url.protocol}//${url.host}/${MASK}` : value
}

/** The text of `--print-config`: YAML, every setting with where it comes from. */
export function printedConfig({ env, sources }: Pick<Settings, 'env' | 'sources'>): string {
  const isOffline = /^\s*(1|true)\s*$/i.test(env.WARREN_OFFLINE ?? '')
  return [...SETTINGS]
    .map(([name, { fallback, fallbackOffline }]) => {
      const source = sources.get(name)
      const given = isOffline ? (fallbackOffline ?? fallback) : fallback
      const value = source === undefined ? given : masked(name, env[name] ?? '')
      return `${name.toLowerCase()}: ${JSON.stringify(value)} # ${source ?? 'default'}\n`
    })
    .join('')
}
