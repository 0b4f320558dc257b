/**
 * Every limit of js-libp2p that we set, in one list: its environment name, the default (js-libp2p's own, or the
 * seed's where that is named) and the generous value testnets use. With the defaults 25 of 30 peers behind one
 * address fail to connect, in a way that looks like a NAT bug: plans set them high, tests of limits do not.
 */

/** One limit: what it bounds and its values. */
export interface LimitSpec {
  /** Environment name. */
  env: string
  default: number
  /** For testnets, where many peers share an address and a machine. */
  generous: number
  /** Unit and meaning, for the README and error messages. */
  what: string
}

const KIB = 1024
const MIB = 1024 * KIB

export const NETWORK_LIMITS = {
  maxConnections: {
    env: 'P2P_MAX_CONNECTIONS',
    default: 300,
    generous: 4000,
    what: 'open connections; above it idle ones are pruned and new ones refused'
  },
  maxIncomingPending: {
    env: 'P2P_MAX_INCOMING_PENDING',
    default: 10,
    generous: 1000,
    what: 'incoming connections whose handshake is under way'
  },
  inboundConnectionThreshold: {
    env: 'P2P_INBOUND_CONNECTION_THRESHOLD',
    default: 5,
    generous: 1000,
    what: 'incoming connections a second from one address'
  },
  maxParallelDials: { env: 'P2P_MAX_PARALLEL_DIALS', default: 100, generous: 500, what: 'dials at once' },
  maxDialQueue: { env: 'P2P_MAX_DIAL_QUEUE', default: 500, generous: 5000, what: 'dials that wait' },
  maxPeerAddresses: { env: 'P2P_MAX_PEER_ADDRESSES', default: 25, generous: 25, what: 'addresses tried of one peer' },
  dialTimeoutMs: { env: 'P2P_DIAL_TIMEOUT_MS', default: 10_000, generous: 15_000, what: 'ms for one dial' },
  addressDialTimeoutMs: {
    env: 'P2P_ADDRESS_DIAL_TIMEOUT_MS',
    default: 6000,
    generous: 6000,
    what: 'ms for one address of a dial'
  },
  upgradeTimeoutMs: {
    env: 'P2P_UPGRADE_TIMEOUT_MS',
    default: 10_000,
    generous: 15_000,
    what: 'ms for the handshakes of an incoming connection'
  },
  negotiationTimeoutMs: {
    env: 'P2P_NEGOTIATION_TIMEOUT_MS',
    default: 10_000,
    generous: 15_000,
    what: 'ms to agree on the protocol of a stream'
  },
  pingIntervalMs: {
    env: 'P2P_PING_INTERVAL_MS',
    default: 10_000,
    generous: 10_000,
    what: 'ms between the pings that find dead connections'
  },
  pingTimeoutMs: {
    env: 'P2P_PING_TIMEOUT_MS',
    default: 5000,
    generous: 10_000,
    what: 'least ms a ping may take before its connection is closed'
  },
  maxStreamsPerConnection: {
    env: 'P2P_MAX_STREAMS_PER_CONNECTION',
    default: 1000,
    generous: 1000,
    what: 'streams of one connection, each way'
  },
  maxProtocolStreams: {
    env: 'P2P_MAX_PROTOCOL_STREAMS',
    default: 32,
    generous: 64,
    what: 'incoming streams of one of our protocols on one connection'
  },
  maxEarlyStreams: {
    env: 'P2P_MAX_EARLY_STREAMS',
    default: 10,
    generous: 100,
    what: 'streams opened before the connection is ready'
  },
  streamInactivityMs: {
    env: 'P2P_STREAM_INACTIVITY_MS',
    default: 120_000,
    generous: 120_000,
    what: 'ms after which a silent stream is reset'
  },
  initialWindowBytes: {
    env: 'P2P_INITIAL_WINDOW_BYTES',
    default: 256 * KIB,
    generous: 256 * KIB,
    what: 'yamux window a stream starts with, at least 256 KiB'
  },
  // js-libp2p has 16 MiB here beside a read buffer of 4 MiB: a paused stream would be reset, not held back.
  maxWindowBytes: {
    env: 'P2P_MAX_WINDOW_BYTES',
    default: 2 * MIB,
    generous: 2 * MIB,
    what: 'yamux window a stream may grow to; below P2P_READ_BUFFER_BYTES'
  },
  maxMessageBytes: {
    env: 'P2P_MAX_MESSAGE_BYTES',
    default: 64 * KIB,
    generous: 64 * KIB,
    what: 'bytes of a yamux frame we send'
  },
  readBufferBytes: {
    env: 'P2P_READ_BUFFER_BYTES',
    default: 4 * MIB,
    generous: 4 * MIB,
    what: 'unread bytes of one stream before it is reset'
  },
  // js-libp2p has no bound here.
  writeBufferBytes: {
    env: 'P2P_WRITE_BUFFER_BYTES',
    default: 8 * MIB,
    generous: 16 * MIB,
    what: 'unsent bytes of one stream before it is reset'
  },
  maxInboundTransfers: {
    env: 'P2P_MAX_INBOUND_TRANSFERS',
    default: 64,
    generous: 256,
    what: 'blob requests served at once; more are answered BUSY'
  },
  circuitStreams: {
    env: 'P2P_MAX_CIRCUIT_STREAMS',
    default: 300,
    generous: 2000,
    what: 'relayed connections through one relay connection'
  },
  reservationConcurrency: {
    env: 'P2P_RESERVATION_CONCURRENCY',
    default: 2,
    generous: 2,
    what: 'relay reservations asked for at once'
  },
  dhtK: { env: 'P2P_DHT_K', default: 20, generous: 20, what: 'peers of a DHT bucket and of a look-up' },
  dhtAlpha: { env: 'P2P_DHT_ALPHA', default: 10, generous: 4, what: 'peers asked at once in a DHT look-up' },
  dhtStreams: { env: 'P2P_DHT_MAX_STREAMS', default: 32, generous: 64, what: 'incoming DHT streams of one connection' },
  gossipMaxMessageBytes: {
    env: 'P2P_GOSSIP_MAX_MESSAGE_BYTES',
    default: 256 * KIB,
    generous: 256 * KIB,
    what: 'bytes of one gossip message'
  },
  gossipBufferBytes: {
    env: 'P2P_GOSSIP_BUFFER_BYTES',
    default: 4 * MIB,
    generous: 4 * MIB,
    what: 'unsent gossip for one peer'
  },
  punchesAtOnce: {
    env: 'P2P_PUNCH_MAX_AT_ONCE',
    default: 32,
    generous: 256,
    what: 'hole punches under way; own ones wait, those that peers ask for are refused'
  },
  punchesPerPeer: {
    env: 'P2P_PUNCH_PER_PEER_PER_MINUTE',
    default: 12,
    generous: 120,
    what: 'attempts a minute that one peer may cause'
  },
  punchesPerMinute: {
    env: 'P2P_PUNCH_PER_MINUTE',
    default: 240,
    generous: 6000,
    what: 'attempts a minute that all peers together may cause'
  },
  // A peer names where we punch: one that names a third party finds that its friends have used this up.
  punchesPerHost: {
    env: 'P2P_PUNCH_PER_HOST_PER_MINUTE',
    default: 24,
    generous: 6000,
    what: 'attempts a minute at one host (IPv6: one /64), whichever peers name it'
  },
  punchAddresses: {
    env: 'P2P_PUNCH_MAX_ADDRESSES',
    default: 8,
    generous: 8,
    what: 'addresses of the peer that one attempt sends to'
  },
  punchAttempts: {
    env: 'P2P_PUNCH_ATTEMPTS',
    default: 3,
    generous: 3,
    what: 'attempts for one relayed connection, as DCUtR has it'
  },
  punchTimeoutMs: {
    env: 'P2P_PUNCH_TIMEOUT_MS',
    default: 5000,
    generous: 5000,
    what: 'ms for one attempt from SYNC on, and for CONNECT on a stream that was opened for it'
  },
  // Not as short as an attempt: where many peers meet at once, an answer is late because the machine is busy, and asking
  // again makes it busier. go-libp2p waits a minute.
  punchNegotiationMs: {
    env: 'P2P_PUNCH_NEGOTIATION_MS',
    default: 15_000,
    generous: 15_000,
    what: 'ms for an answer to CONNECT, and for the SYNC that follows it'
  },
  punchUnilateralMs: {
    env: 'P2P_PUNCH_UNILATERAL_MS',
    default: 2000,
    generous: 2000,
    what: 'ms to dial a peer that announces public addresses, before the punch'
  }
} as const satisfies Record<string, LimitSpec>

/** What only a relay has: the circuits it serves. */
export const RELAY_LIMITS = {
  maxReservations: {
    env: 'RELAY_MAX_RESERVATIONS',
    default: 1000,
    generous: 4000,
    what: 'peers that may be reached through this relay'
  },
  // Many a carrier gives a subscriber 512 ports of an address, so that 128 share it: a peer each. It takes eight addresses
  // to hold all reservations there are.
  reservationsPerHost: {
    env: 'RELAY_MAX_RESERVATIONS_PER_IP',
    default: 128,
    generous: 4000,
    what: 'peers at one address (IPv6: one /64) that may be reached through this relay'
  },
  reservationTtlMs: {
    env: 'RELAY_RESERVATION_TTL_MS',
    default: 2 * 60 * 60 * 1000,
    generous: 2 * 60 * 60 * 1000,
    what: 'ms a reservation holds unless it is renewed'
  },
  circuitDurationMs: {
    env: 'RELAY_CIRCUIT_DURATION_MS',
    default: 120_000,
    generous: 120_000,
    what: 'ms after which a circuit is cut'
  },
  circuitDataBytes: {
    env: 'RELAY_CIRCUIT_DATA_BYTES',
    default: 10 * MIB,
    generous: 10 * MIB,
    what: 'bytes, both ways together, after which a circuit is cut'
  },
  hopTimeoutMs: {
    env: 'RELAY_HOP_TIMEOUT_MS',
    default: 30_000,
    generous: 30_000,
    what: 'ms to build a circuit'
  },
  hopStreams: {
    env: 'RELAY_MAX_HOP_STREAMS',
    default: 300,
    generous: 2000,
    what: 'circuits that one peer may have through this relay'
  },
  // Identities are free: without this few machines hold every circuit there is.
  circuitsPerHost: {
    env: 'RELAY_MAX_CIRCUITS_PER_IP',
    default: 300,
    generous: 8000,
    what: 'circuits that peers at one address (IPv6: one /64) may have together'
  },
  circuits: {
    env: 'RELAY_MAX_CIRCUITS',
    default: 1000,
    generous: 8000,
    what: 'circuits at once; with more, idle ones make room or new ones are refused'
  },
  circuitIdleMs: {
    env: 'RELAY_CIRCUIT_IDLE_MS',
    default: 5000,
    generous: 5000,
    what: 'ms without a byte after which a circuit makes room for another, when places run out'
  },
  // Longer than two of the pings by which peers find dead connections: what lives is not silent for so long.
  circuitStaleMs: {
    env: 'RELAY_CIRCUIT_STALE_MS',
    default: 25_000,
    generous: 25_000,
    what: 'ms without a byte after which a circuit makes room for an address that has none'
  },
  circuitStallMs: {
    env: 'RELAY_CIRCUIT_STALL_MS',
    default: 30_000,
    generous: 30_000,
    what: 'ms a peer may take no bytes before its circuit is cut'
  },
  connectionsPerPeer: {
    env: 'RELAY_MAX_CONNECTIONS_PER_PEER_PER_MINUTE',
    default: 5,
    generous: 6000,
    what: 'new connections a minute of one peer; with more it is blocked'
  },
  connectionsPerHost: {
    env: 'RELAY_MAX_CONNECTIONS_PER_IP_PER_MINUTE',
    default: 20,
    generous: 60_000,
    what: 'new connections a minute from one address (IPv6: one /64); with more it is blocked'
  },
  // Two for each of the 128 peers that may have a reservation: one that moves to another transport has both for a while.
  openPerHost: {
    env: 'RELAY_MAX_CONNECTIONS_PER_IP',
    default: 256,
    generous: 4000,
    what: 'open connections from one address (IPv6: one /64); more are refused'
  },
  pendingPerHost: {
    env: 'RELAY_MAX_PENDING_PER_IP',
    default: 5,
    generous: 1000,
    what: 'connections from one address whose handshake is under way; more are refused'
  },
  blockMs: {
    env: 'RELAY_BLOCK_MS',
    default: 300_000,
    generous: 300_000,
    what: 'ms a peer or address stays blocked'
  },
  peerBitsPerSecond: {
    env: 'RELAY_PEER_BITS_PER_SECOND',
    default: 10_000_000,
    generous: 100_000_000_000,
    what: 'relayed bits a second of one peer, each way; with more its senders are held back'
  },
  peerBurstBytes: {
    env: 'RELAY_PEER_BURST_BYTES',
    default: MIB,
    generous: 64 * MIB,
    what: 'relayed bytes, each way, that an idle peer may have at once'
  },
  directoryPeers: {
    env: 'RELAY_DIRECTORY_MAX_PEERS',
    default: 1000,
    generous: 4000,
    what: 'peers the directory keeps and answers with'
  },
  accountedPeers: {
    env: 'RELAY_MAX_ACCOUNTS',
    default: 10_000,
    generous: 10_000,
    what: 'peers whose bytes are counted one by one; those longest unused are added up as one'
  }
} as const satisfies Record<string, LimitSpec>

/** A value for every network limit. */
export type NetworkLimits = { readonly [K in keyof typeof NETWORK_LIMITS]: number }
/** A value for every relay limit. */
export type RelayLimits = { readonly [K in keyof typeof RELAY_LIMITS]: number }

function pick<K extends string>(specs: Record<K, LimitSpec>, which: 'default' | 'generous'): Record<K, number> {
  return Object.fromEntries(Object.entries<LimitSpec>(specs).map(([key, spec]) => [key, spec[which]])) as Record<
    K,
    number
  >
}

export const DEFAULT_LIMITS: NetworkLimits = pick(NETWORK_LIMITS, 'default')
export const GENEROUS_LIMITS: NetworkLimits = pick(NETWORK_LIMITS, 'generous')
export const DEFAULT_RELAY_LIMITS: RelayLimits = pick(RELAY_LIMITS, 'default')

/** The generous values as environment, for testnet plans. */
export function generousEnvironment(role: 'node' | 'relay' | 'gateway'): Record<string, string> {
  const specs: LimitSpec[] = [
    ...Object.values(NETWORK_LIMITS),
    ...(role === 'relay' ? Object.values(RELAY_LIMITS) : [])
  ]
  return Object.fromEntries(specs.map(spec => [spec.env, String(spec.generous)]))
}

/**
 * Limits from the environment; what is absent has its default. Problems are pushed on `problems`, one line each, so
 * that a caller reports them together with its own.
 */
export function readLimits<K extends string>(
  specs: Record<K, LimitSpec>,
  env: Readonly<Record<string, string | undefined>>,
  problems: string[]
): Record<K, number> {
  const limits = pick(specs, 'default')
  for (const [key, spec] of Object.entries<LimitSpec>(specs)) {
    const text = env[spec.env]
    if (text === undefined || text === '') continue
    if (/^[1-9]\d{0,14}$/.test(text)) limits[key as K] = Number(text)
    else problems.push(`${spec.env} is "${text}": a whole number above 0 is needed (${spec.what})`)
  }
  return limits
}
