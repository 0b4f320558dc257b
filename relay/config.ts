/** A relay's configuration, from the environment (names of the ByteCave relay). */
import { isIPv4 } from 'node:net'
import { join } from 'node:path'
import {
  addressProblem,
  DCUTR_MODES,
  type DcutrMode,
  LOG_LEVELS,
  type LogLevel,
  NETWORK_LIMITS,
  type NetworkLimits,
  RELAY_LIMITS,
  type RelayLimits,
  readLimits
} from '../node/index.ts'

export interface RelayConfig {
  /** What it calls itself in logs; NODE_ID. */
  name: string
  dataDir: string
  /** base64 libp2p Ed25519 key; made at the first start when absent. */
  keyFile: string
  listen: string[]
  announce: string[]
  bootstrap: string[]
  /** P2P_DCUTR. */
  dcutr: DcutrMode
  /** TCP port of the HTTP server. */
  healthPort: number
  limits: NetworkLimits
  relayLimits: RelayLimits
  /** Where peers learn as whom they are seen by UDP. */
  reflector: {
    /** UDP ports; empty: there is none. */
    ports: number[]
    /** Addresses of this machine to bind, two where filtering is to be told by another address. */
    hosts: string[]
  }
  logLevel: LogLevel
}

type Environment = Readonly<Record<string, string | undefined>>

/** Two, so that peers can tell address-and-port-dependent mapping and filtering. */
const DEFAULT_REFLECTOR_PORTS = '4003,4004'
const MAX_REFLECTOR_PORTS = 2
/** Peers ask no lower one, whoever names it. */
const FIRST_REFLECTOR_PORT = 1024
const MAX_REFLECTOR_HOSTS = 2
const DEFAULT_LISTEN = '/ip4/0.0.0.0/tcp/4001,/ip4/0.0.0.0/udp/4001/quic-v1,/ip4/0.0.0.0/tcp/4002/ws'
const DEFAULT_HEALTH_PORT = 9090
/** The seed's RELAY_MAX_CONNECTIONS. */
const DEFAULT_MAX_CONNECTIONS = 1000
const MAX_PORT = 65_535

/** Thrown when the environment is wrong; the message has one line a problem. */
export class RelayConfigError extends Error {
  readonly code = 'RELAY_CONFIG'
  /** One line each, naming the variable. */
  readonly problems: string[]

  constructor(problems: string[]) {
    super(`The relay's configuration has problems:\n${problems.map(problem => `  ${problem}`).join('\n')}`)
    this.name = 'RelayConfigError'
    this.problems = problems
  }
}

/** @throws RelayConfigError naming every problem at once */
export function readConfig(env: Environment): RelayConfig {
  const problems: string[] = []
  const list = (name: string, fallback = ''): string[] =>
    (env[name] || fallback)
      .split(',')
      .map(text => text.trim())
      .filter(text => text !== '')
  const addresses = (name: string, needsPeer: boolean, fallback?: string): string[] => {
    const values = list(name, fallback)
    for (const value of values) {
      const problem = addressProblem(value, { needsPeer })
      if (problem !== null) problems.push(`${name}: "${value}" ${problem}`)
    }
    return values
  }
  const number = (name: string, fallback: number, max = Number.MAX_SAFE_INTEGER, min = 1): number => {
    const text = env[name]
    if (text === undefined || text === '') return fallback
    const value = Number(text)
    if (/^\d{1,15}$/.test(text) && value >= min && value <= max) return value
    problems.push(`${name} is "${text}": a whole number from ${min} to ${max} is needed`)
    return fallback
  }
  const logLevel = (env.LOG_LEVEL || 'info') as LogLevel
  if (!LOG_LEVELS.includes(logLevel))
    problems.push(`LOG_LEVEL is "${logLevel}": one of ${LOG_LEVELS.join(', ')} is needed`)

  // An empty list switches it off; only an absent one is the default.
  const reflectorPorts = (env.P2P_REFLECTOR_PORTS ?? DEFAULT_REFLECTOR_PORTS).split(',').flatMap(text => {
    const port = text.trim()
    if (port === '') return []
    const isPort = /^\d{1,5}$/.test(port) && Number(port) <= MAX_PORT
    if (isPort && (Number(port) === 0 || Number(port) >= FIRST_REFLECTOR_PORT)) return [Number(port)]
    problems.push(`P2P_REFLECTOR_PORTS: "${port}" is no UDP port from ${FIRST_REFLECTOR_PORT} to ${MAX_PORT}`)
    return []
  })
  if (reflectorPorts.length > MAX_REFLECTOR_PORTS) {
    problems.push(`P2P_REFLECTOR_PORTS names ${reflectorPorts.length} ports: at most ${MAX_REFLECTOR_PORTS} are used`)
  }
  const reflectorHosts = list('P2P_REFLECTOR_ADDRESSES')
  for (const host of reflectorHosts) {
    if (!isIPv4(host)) problems.push(`P2P_REFLECTOR_ADDRESSES: "${host}" is no IPv4 address`)
  }
  if (reflectorHosts.length > MAX_REFLECTOR_HOSTS) {
    problems.push(`P2P_REFLECTOR_ADDRESSES names ${reflectorHosts.length} addresses: at most two are used`)
  }
  const dcutr = (env.P2P_DCUTR || 'warren') as DcutrMode
  if (!DCUTR_MODES.includes(dcutr)) problems.push(`P2P_DCUTR is "${dcutr}": one of ${DCUTR_MODES.join(', ')} is needed`)

  const dataDir = env.DATA_DIR || './data'
  const healthPort = number('RELAY_HEALTH_PORT', DEFAULT_HEALTH_PORT, MAX_PORT, 0)
  const config: RelayConfig = {
    name: env.NODE_ID || 'relay',
    dataDir,
    keyFile: env.RELAY_PRIVATE_KEY_PATH || join(dataDir, 'relay-key.json'),
    listen: addresses('RELAY_LISTEN_ADDRESSES', false, DEFAULT_LISTEN),
    announce: addresses('RELAY_ANNOUNCE_ADDRESSES', false),
    bootstrap: addresses('RELAY_BOOTSTRAP_PEERS', true),
    dcutr,
    healthPort: number('PORT', healthPort, MAX_PORT, 0),
    limits: {
      ...readLimits(NETWORK_LIMITS, env, problems),
      maxConnections: number('RELAY_MAX_CONNECTIONS', number('P2P_MAX_CONNECTIONS', DEFAULT_MAX_CONNECTIONS))
    },
    relayLimits: readLimits(RELAY_LIMITS, env, problems),
    reflector: { ports: reflectorPorts, hosts: reflectorHosts },
    logLevel
  }
  if (problems.length > 0) throw new RelayConfigError([...new Set(problems)])
  return config
}
