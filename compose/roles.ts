/**
 * The one table role → process: environment, files, command and ports. Both runtimes read it, so a role is started
 * with the same words in a container and in a namespace. Pure: nothing here opens a file or a socket.
 */
import type { Plan, PlannedHost, Role } from '../netem/index.ts'
import { openLimits } from './limits.ts'

/** What is the same for every host of a role. */
export interface RoleFacts {
  /** The program, relative to the root that holds `dist/`. */
  program: string
  /** Flags for Node itself. */
  nodeFlags: string[]
  /** TCP port of the role's HTTP server when it is not handed a socket. */
  httpPort: number
  /** TCP ports other lab hosts reach. */
  labPorts: number[]
  /** HTTP path that answers 200 once the role does its work and 503 before. */
  readyPath: string
  /** HTTP path that answers as soon as the role listens. */
  healthPath: string
  /** Its image. */
  image: string
  /** Memory it may take in a container, mebibyte. */
  memoryMiB: number
  /** Processes and threads it may have in a container. */
  maxPids: number
}

/** TCP, and UDP for QUIC. */
const NODE_PORT = 5011
const NODE_WS_PORT = 5012
/** TCP, and UDP for QUIC. */
const RELAY_PORT = 4001
const RELAY_WS_PORT = 4002
/** JSON-RPC of the chain inside the lab. */
const CHAIN_RPC_PORT = 8545

export const roles: Record<Role, RoleFacts> = {
  node: {
    program: 'dist/node.js',
    nodeFlags: [],
    httpPort: 5001,
    labPorts: [NODE_PORT, NODE_WS_PORT],
    readyPath: '/ready',
    healthPath: '/health',
    image: 'warren/node:dev',
    memoryMiB: 768,
    maxPids: 256
  },
  relay: {
    program: 'dist/relay.js',
    nodeFlags: [],
    httpPort: 9090,
    labPorts: [RELAY_PORT, RELAY_WS_PORT],
    readyPath: '/ready',
    healthPath: '/health',
    image: 'warren/relay:dev',
    memoryMiB: 768,
    maxPids: 256
  },
  gateway: {
    program: 'dist/gateway.js',
    nodeFlags: [],
    httpPort: 8080,
    labPorts: [8080],
    readyPath: '/ready',
    healthPath: '/health',
    image: 'warren/gateway:dev',
    memoryMiB: 1024,
    maxPids: 256
  },
  chain: {
    program: 'dist/chain.js',
    nodeFlags: [],
    httpPort: 9545,
    labPorts: [CHAIN_RPC_PORT],
    readyPath: '/ready',
    healthPath: '/health',
    image: 'warren/chain:dev',
    memoryMiB: 1536,
    maxPids: 256
  },
  client: {
    program: 'dist/client.js',
    nodeFlags: [],
    httpPort: 8070,
    labPorts: [],
    readyPath: '/ready',
    healthPath: '/health',
    image: 'warren/client:dev',
    memoryMiB: 256,
    maxPids: 128
  }
}

/** A file a host is given before it starts. Keys of a testnet: INSECURE, derived from the seed. */
export interface RoleFile {
  /** Name within the host's folder of files. */
  name: string
  content: string
}

/** Where a runtime puts things, as the process sees them. */
export interface Places {
  /** The folder that holds `dist/`. */
  root: string
  /** The host's data directory, the only place it writes. */
  data: string
  /** The folder that holds the host's `files`, read-only to it. */
  files: string
}

/** One host's process, complete. */
export interface RoleProcess {
  /** Arguments for Node, the program first after the flags. */
  args: string[]
  env: Record<string, string>
  files: RoleFile[]
  dataDir: string
  readyPath: string
  healthPath: string
}

const endpoints = (prefix: string, port: number, wsPort: number): string[] => [
  `${prefix}/tcp/${port}`,
  `${prefix}/udp/${port}/quic-v1`,
  `${prefix}/tcp/${wsPort}/ws`
]

/** Multiaddrs at which a host on the internet is reached directly, without the peer id. */
const publicAddresses = (host: PlannedHost, port: number, wsPort: number): string[] => {
  const { address, ipv6 } = host.attachment
  const at = [`/ip4/${address}`, ...(ipv6 === undefined ? [] : [`/ip6/${ipv6}`])]
  return at.flatMap(prefix => endpoints(prefix, port, wsPort))
}

const withPeerId = (host: PlannedHost, addresses: string[]): string[] =>
  host.identity === null ? [] : addresses.map(address => `${address}/p2p/${host.identity!.peerId}`)

const isPublic = (host: PlannedHost): boolean => host.nat === null

/** TCP, QUIC and WebSocket addresses of every relay of the plan, as `/ip4/…/tcp/4001/p2p/…`. */
export function relayAddresses(plan: Plan): string[] {
  return plan.hosts
    .filter(host => host.role === 'relay')
    .flatMap(host => withPeerId(host, publicAddresses(host, RELAY_PORT, RELAY_WS_PORT)))
}

/** The same for every storage node that stands on the internet. */
export function publicNodeAddresses(plan: Plan): string[] {
  return plan.hosts
    .filter(host => host.role === 'node' && isPublic(host))
    .flatMap(host => withPeerId(host, publicAddresses(host, NODE_PORT, NODE_WS_PORT)))
}

/** What a gateway's page shows of each host: what an operator would write down about the own network. */
export function inventory(plan: Plan): Array<Record<string, string | null>> {
  return plan.hosts.map(host => ({
    name: host.name,
    role: host.role,
    peerId: host.identity?.peerId ?? null,
    site: host.attachment.network,
    nat: host.nat,
    natKind: host.natKind,
    control: `http://127.0.0.1:${host.controlPort}`
  }))
}

/** Every address of the families the host has. Docker gives all an IPv4 address, its control port is on it. */
const listen = (host: PlannedHost, port: number, wsPort: number): string =>
  [...(host.isIpv6Only ? [] : ['/ip4/0.0.0.0']), ...(host.ipv6 === undefined ? [] : ['/ip6/::'])]
    .flatMap(prefix => endpoints(prefix, port, wsPort))
    .join(',')

/** The chain's URL in a family that the host has. */
const rpcUrl = (plan: Plan, host: PlannedHost): string => {
  const ipv6 = plan.hosts.find(({ name }) => name === plan.chain?.host)?.attachment.ipv6
  return host.isIpv6Only && ipv6 !== undefined ? `http://[${ipv6}]:${CHAIN_RPC_PORT}` : plan.chain!.rpcUrl
}

const chainEnv = (plan: Plan, host: PlannedHost): Record<string, string> =>
  plan.chain === null
    ? { WARREN_OFFLINE: '1' }
    : { RPC_URL: rpcUrl(plan, host), VAULT_REGISTRY_ADDRESS: plan.chain.registry }

type RoleSetup = (plan: Plan, host: PlannedHost, places: Places) => { env: Record<string, string>; files: RoleFile[] }

const setups: Record<Role, RoleSetup> = {
  node(plan, host, places) {
    const relays = relayAddresses(plan)
    const others = publicNodeAddresses(plan).filter(address => !address.endsWith(`/${host.identity?.peerId}`))
    const env: Record<string, string> = {
      P2P_ENABLED: 'true',
      P2P_LISTEN_ADDRESSES: listen(host, NODE_PORT, NODE_WS_PORT),
      P2P_RELAY_PEERS: relays.join(','),
      P2P_BOOTSTRAP_PEERS: [...relays, ...others].join(','),
      P2P_ENABLE_RELAY: 'true',
      P2P_ENABLE_DHT: 'true',
      P2P_ENABLE_MDNS: 'false',
      P2P_PRIVATE_KEY_FILE: `${places.files}/identity.key`,
      MAX_STORAGE_MB: '10240',
      SHARD_COUNT: '1024',
      NODE_SHARDS: '[{"start":0,"end":1023}]',
      REPLICATION_FACTOR: '3',
      REPLICATION_QUORUM: '2',
      FAILURE_GROUP: host.nat ?? host.name,
      // A file of whoever starts the testnet says nothing about its hosts.
      ENV_FILE: 'none',
      ...chainEnv(plan, host)
    }
    if (isPublic(host)) env.P2P_ANNOUNCE_ADDRESSES = publicAddresses(host, NODE_PORT, NODE_WS_PORT).join(',')
    const files: RoleFile[] = [{ name: 'identity.key', content: `${host.identity?.privateKey ?? ''}\n` }]
    if (host.account !== null) {
      env.OWNER_ADDRESS = host.account.address
      env.OWNER_PRIVATE_KEY_FILE = `${places.files}/owner.key`
      files.push({ name: 'owner.key', content: `${host.account.privateKey}\n` })
    }
    return { env, files }
  },

  relay(plan, host, places) {
    const own = `/${host.identity?.peerId}`
    const env: Record<string, string> = {
      RELAY_LISTEN_ADDRESSES: listen(host, RELAY_PORT, RELAY_WS_PORT),
      RELAY_PRIVATE_KEY_PATH: `${places.files}/relay-key.json`,
      RELAY_BOOTSTRAP_PEERS: relayAddresses(plan)
        .filter(address => !address.endsWith(own))
        .join(',')
    }
    if (isPublic(host)) env.RELAY_ANNOUNCE_ADDRESSES = publicAddresses(host, RELAY_PORT, RELAY_WS_PORT).join(',')
    return { env, files: [{ name: 'relay-key.json', content: `${host.identity?.privateKey ?? ''}\n` }] }
  },

  gateway(plan, host, places) {
    return {
      env: {
        GATEWAY_NAMESPACE: 'default',
        GATEWAY_REQUIRE_AUTH: 'true',
        GATEWAY_API_KEYS: `${plan.apiKey}:default`,
        GATEWAY_BOOTSTRAP_PEERS: [...relayAddresses(plan), ...publicNodeAddresses(plan)].join(','),
        GATEWAY_INVENTORY_FILE: `${places.files}/inventory.json`,
        P2P_PRIVATE_KEY_FILE: `${places.files}/identity.key`,
        DB_CLIENT: 'better-sqlite3',
        ...chainEnv(plan, host)
      },
      files: [
        { name: 'identity.key', content: `${host.identity?.privateKey ?? ''}\n` },
        { name: 'inventory.json', content: `${JSON.stringify(inventory(plan), null, 1)}\n` }
      ]
    }
  },

  chain(plan, host, places) {
    const owners = plan.hosts.flatMap(({ account }) => (account === null ? [] : [account]))
    const accounts = plan.chain === null ? owners : [plan.chain.deployer, ...owners]
    return {
      env: {
        CHAIN_RPC_PORT: String(CHAIN_RPC_PORT),
        ...(host.ipv6 === undefined ? {} : { CHAIN_RPC_HOST: '::' }),
        CHAIN_ID: String(plan.chain?.chainId ?? 31337),
        CHAIN_ACCOUNTS_FILE: `${places.files}/accounts.json`
      },
      files: [{ name: 'accounts.json', content: `${JSON.stringify(accounts, null, 1)}\n` }]
    }
  },

  client: () => ({ env: {}, files: [] })
}

/**
 * What to run for one host of a plan.
 *
 * `control` says where its HTTP server listens: `{ port }`, or `'socket'` when the runtime hands it a listening
 * socket on file descriptor 3 (systemd's `LISTEN_FDS`). Order of precedence: the role, the limits set high for a
 * testnet, the host's own `env` of the topology.
 */
export function roleProcess(
  plan: Plan,
  host: PlannedHost,
  places: Places,
  control: { port: number } | 'socket' = { port: roles[host.role].httpPort }
): RoleProcess {
  const facts = roles[host.role]
  const { env, files } = setups[host.role](plan, host, places)
  return {
    args: [...facts.nodeFlags, `${places.root}/${facts.program}`],
    env: {
      ...(control === 'socket' ? { LISTEN_FDS: '1' } : { PORT: String(control.port) }),
      NODE_ID: host.name,
      DATA_DIR: places.data,
      LOG_LEVEL: 'info',
      ...env,
      ...openLimits(host.role),
      ...host.env
    },
    files,
    dataDir: places.data,
    readyPath: facts.readyPath,
    healthPath: facts.healthPath
  }
}
