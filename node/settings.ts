/**
 * Where settings come from: flags, the environment, a `.env` file, a YAML file. All of them end as one environment, by
 * the names of the variables, which `config.ts` reads; so a setting is described and checked in one place.
 * Precedence: flag > environment > `.env` > YAML > default.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseEnv } from 'node:util'
import { errnoOf } from './blobs/durable.ts'
import { type Environment, SETTINGS } from './config.ts'

/** Where one setting came from. */
export type SettingSource = 'flag' | 'environment' | '.env' | 'yaml'

export interface Settings {
  /** Variables of the node by name, and what else the process was given (LISTEN_FDS). */
  env: Environment
  /** Who said it, for every variable somebody said. */
  sources: ReadonlyMap<string, SettingSource>
  command: 'run' | 'print-config' | 'help'
  /** Everything wrong so far, one line each; `readConfig` adds its own. */
  problems: string[]
  /** What was read and has no effect, and why; one line each. */
  notes: string[]
}

/** Largest settings file read, bytes. */
const FILE_MAX_BYTES = 1024 * 1024
/** Maps and lists within each other in a settings file; those of DeBros have 3. */
const NESTING_MAX = 8
const DEFAULT_ENV_FILE = '.env'
/** Said in place of a file name: no `.env` is read. */
const NO_FILE = 'none'

/** Keys of a DeBros node file that are called otherwise here. */
const YAML_ALIASES: ReadonlyMap<string, string> = new Map(
  Object.entries({
    key_file: 'P2P_PRIVATE_KEY_FILE',
    listen_addresses: 'P2P_LISTEN_ADDRESSES',
    bootstrap_peers: 'P2P_BOOTSTRAP_PEERS',
    max_connections: 'P2P_MAX_CONNECTIONS',
    logging_level: 'LOG_LEVEL',
    logging_file: 'LOG_FILE',
    logging_output_file: 'LOG_FILE',
    node_id: 'NODE_ID',
    node_data_dir: 'DATA_DIR',
    node_key_file: 'P2P_PRIVATE_KEY_FILE',
    node_listen_addresses: 'P2P_LISTEN_ADDRESSES',
    node_max_connections: 'P2P_MAX_CONNECTIONS',
    discovery_bootstrap_peers: 'P2P_BOOTSTRAP_PEERS'
  })
)

/** Keys of a DeBros node file that mean nothing to this role, and why. */
const YAML_IGNORED: ReadonlyMap<string, string> = new Map(
  Object.entries({
    solana_wallet: 'nodes are owned by an account of the registry’s chain, OWNER_ADDRESS',
    rqlite_port: 'databases are served by the gateway and its database hosts, not by storage nodes',
    rqlite_raft_port: 'databases are served by the gateway and its database hosts, not by storage nodes',
    discovery_interval: 'peers are told of as they come, and every 60 s by the announcement the network agrees on',
    logging_format: 'the log is JSON, pretty on a terminal'
  })
)
/** Where a DeBros node joins; without one it is the first of its network. */
const JOIN_ADDRESS = 'rqlite_join_address'

/**
 * Gather the settings of a process.
 * @param options.argv what follows the program
 * @param options.cwd where relative names of settings files begin
 */
export async function gatherSettings(options: {
  argv: readonly string[]
  env: Environment
  cwd: string
}): Promise<Settings> {
  const { argv, env, cwd } = options
  const problems: string[] = []
  const notes: string[] = []
  const flags = readFlags(argv, problems)
  const file = (name: string): string => join(...(name.startsWith('/') ? [name] : [cwd, name]))

  const envFile = flags.envFile ?? env.ENV_FILE ?? ''
  const dotEnv = readDotEnv(file(envFile || DEFAULT_ENV_FILE), envFile, problems)
  const configFile = flags.configFile ?? env.CONFIG_FILE ?? dotEnv.CONFIG_FILE ?? ''
  const yaml = configFile === '' ? {} : await readYaml(file(configFile), problems, notes)

  const merged: Record<string, string | undefined> = { ...env }
  const sources = new Map<string, SettingSource>()
  const layers: Array<[SettingSource, Environment]> = [
    ['flag', flags.values],
    ['environment', env],
    ['.env', dotEnv],
    ['yaml', yaml]
  ]
  for (const name of SETTINGS.keys()) {
    // An empty value counts as not given, as everywhere.
    const layer = layers.find(([, values]) => values[name] !== undefined && values[name].trim() !== '')
    if (layer === undefined) continue
    merged[name] = layer[1][name]
    sources.set(name, layer[0])
  }
  return { env: merged, sources, command: flags.command, problems, notes }
}

/** `MAX_STORAGE_MB` → `--max-storage-mb`. */
export const flagOf = (name: string): string => `--${name.toLowerCase().replaceAll('_', '-')}`

interface Flags {
  values: Record<string, string>
  command: Settings['command']
  configFile: string | undefined
  envFile: string | undefined
}

function readFlags(argv: readonly string[], problems: string[]): Flags {
  const names = new Map([...SETTINGS.keys()].map(name => [flagOf(name), name]))
  const flags: Flags = { values: {}, command: 'run', configFile: undefined, envFile: undefined }
  const rest = [...argv]
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    const [flag = '', ...parts] = word.split('=')
    if (flag === '--help' || flag === '-h') flags.command = 'help'
    else if (flag === '--print-config') flags.command = flags.command === 'help' ? 'help' : 'print-config'
    else {
      const name = names.get(flag)
      const isFile = flag === '--config' || flag === '--env-file'
      if (name === undefined && !isFile) {
        problems.push(`${word} is not a flag of this program; --help lists them`)
        continue
      }
      let value = parts.length > 0 ? parts.join('=') : undefined
      // A switch may stand alone; everything else takes the next word.
      const isSwitch = name !== undefined && SETTINGS.get(name)?.isSwitch === true
      const next = rest[0]
      if (value === undefined && next !== undefined && !next.startsWith('--')) {
        if (!isSwitch || /^(true|false|1|0)$/i.test(next)) value = rest.shift()
      }
      if (value === undefined && isSwitch) value = 'true'
      if (value === undefined) problems.push(`${flag} needs a value`)
      else if (flag === '--config') flags.configFile = value
      else if (flag === '--env-file') flags.envFile = value
      else flags.values[name!] = value
    }
  }
  return flags
}

/** @param asked the name somebody gave; a default that is not there is no problem */
function readDotEnv(path: string, asked: string, problems: string[]): Environment {
  if (asked === NO_FILE) return {}
  const text = readText(path, 'the environment file', problems, { mayBeAbsent: asked === '' })
  if (text === null) return {}
  return parseEnv(text)
}

async function readYaml(path: string, problems: string[], notes: string[]): Promise<Record<string, string>> {
  const text = readText(path, 'the configuration file', problems)
  if (text === null) return {}
  // Imported here: most nodes have no such file, and start sooner without.
  const { parse: parseYaml } = await import('yaml')
  let document: unknown
  try {
    // No aliases: a map may be within itself by one, and a few lines may stand for millions.
    document = parseYaml(text, { maxAliasCount: 0 })
  } catch (error) {
    problems.push(`${path} ${unreadable(error as Error)}`)
    return {}
  }
  if (isDeeperThan(document, NESTING_MAX)) {
    problems.push(`${path} ${TOO_DEEP}`)
    return {}
  }
  if (document === null) return {}
  if (typeof document !== 'object' || Array.isArray(document)) {
    problems.push(`${path} is to be a map of settings, such as \`max_storage_mb: 10240\``)
    return {}
  }
  const flat = new Map<string, unknown>()
  flatten(document as Record<string, unknown>, '', flat)
  const values: Record<string, string> = {}
  // A file of DeBros names databases and where they join; the first node of a network joins nobody.
  let isDebros = false
  let joins = false
  for (const [key, value] of flat) {
    const short = key.replace(/^(node|database|discovery)_/, '')
    const reason = YAML_IGNORED.get(key) ?? YAML_IGNORED.get(short)
    const name = YAML_ALIASES.get(key) ?? (SETTINGS.has(key.toUpperCase()) ? key.toUpperCase() : undefined)
    isDebros ||= short.startsWith('rqlite_')
    if (short === JOIN_ADDRESS) joins = asText(value).trim() !== ''
    else if (reason !== undefined) notes.push(`${key} of ${path} has no effect: ${reason}`)
    else if (name === undefined) problems.push(`${path}: "${key}" is not a setting; --help lists them`)
    else values[name] = asText(value)
  }
  const joinsPeers = Boolean(values.P2P_BOOTSTRAP_PEERS || values.P2P_RELAY_PEERS)
  if (joins) notes.push(`${JOIN_ADDRESS} of ${path} joins databases only; bootstrap_peers join a node`)
  else if (isDebros && !joinsPeers) values.P2P_BOOTSTRAP_NODE ??= 'true'
  return values
}

/** What the parser calls a stack that is full. */
const EXHAUSTED = 'RESOURCE_EXHAUSTION'
const TOO_DEEP = `is too deep: at most ${NESTING_MAX} maps and lists may be within each other`

/** What is wrong with a file that the parser refuses. */
function unreadable(error: Error): string {
  // The parser has a call for each level, and these are more than the stack holds.
  if (error instanceof RangeError || errnoOf(error) === EXHAUSTED) return TOO_DEEP
  if (error instanceof ReferenceError)
    return 'has aliases (`*name`), which are not read: write the value where it is used'
  return `is not YAML: ${error.message.split('\n')[0]}`
}

function isDeeperThan(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false
  return levels === 0 || Object.values(value).some(inner => isDeeperThan(inner, levels - 1))
}

/** Maps become `outer_inner`; lists and values stay. */
function flatten(map: Record<string, unknown>, prefix: string, into: Map<string, unknown>): void {
  for (const [key, value] of Object.entries(map)) {
    const name = `${prefix}${key.toLowerCase().replaceAll('-', '_')}`
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      flatten(value as Record<string, unknown>, `${name}_`, into)
    } else into.set(name, value)
  }
}

/** As the variable would have it: lists of words with commas, lists of anything else as JSON. */
function asText(value: unknown): string {
  if (value === null || value === undefined) return ''
  if (!Array.isArray(value)) return String(value)
  return value.some(item => typeof item === 'object') ? JSON.stringify(value) : value.join(',')
}

function readText(path: string, what: string, problems: string[], { mayBeAbsent = false } = {}): string | null {
  try {
    const bytes = readFileSync(path)
    if (bytes.length <= FILE_MAX_BYTES) return bytes.toString('utf8')
    problems.push(`${path}: ${what} is over ${FILE_MAX_BYTES} bytes`)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (!(mayBeAbsent && code === 'ENOENT')) problems.push(`${path}: ${what} cannot be read (${code})`)
  }
  return null
}
