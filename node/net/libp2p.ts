/**
 * The one composition of libp2p that all roles share: transports, security, muxer and services, every limit explicit.
 * No public peer, relay or resolver is ever contacted: only what the configuration names and what peers tell.
 */

import { gossipsub, StrictSign } from '@chainsafe/libp2p-gossipsub'
import { quic } from '@chainsafe/libp2p-quic'
import { bootstrap } from '@libp2p/bootstrap'
import { circuitRelayServer, circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { dcutr as stockDcutr } from '@libp2p/dcutr'
import { identify, identifyPush } from '@libp2p/identify'
import type { Connection, ConnectionGater, Libp2p, PeerDiscovery, ServiceMap, Transport } from '@libp2p/interface'
import { kadDHT, passthroughMapper } from '@libp2p/kad-dht'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { webSockets } from '@libp2p/websockets'
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import { createLibp2p, type ServiceFactoryMap } from 'libp2p'
import type { Identity } from '../identity.ts'
import type { Log } from '../log.ts'
import { type Anchors, createAnchors } from './anchors.ts'
import type { DcutrMode } from './dcutr-mode.ts'
import { type DialPrivate, dialPolicy } from './dial-policy.ts'
import { type FollowedTopics, followTopics } from './follow-topics.ts'
import { ignoreGone } from './gone-gossip.ts'
import { lazyTls } from './lazy-tls.ts'
import { libp2pLogger } from './libp2p-log.ts'
import { DEFAULT_LIMITS, DEFAULT_RELAY_LIMITS, type NetworkLimits, type RelayLimits } from './limits.ts'
import { allowManyTopics } from './many-topics.ts'
import { type CircuitWatch, newestFirst } from './newest-first.ts'
import { dcutr } from './punching/dcutr.ts'
import type { Dcutr, DcutrInit } from './punching/dcutr.types.ts'
import type { HardPunchConfig } from './punching/hard/hard-limits.ts'
import { createHardPunch, type HardPunch, type HardPunchInit } from './punching/hard/negotiate.ts'
import type { AdoptingTransport } from './punching/punch.types.ts'
import { type PunchingQuicInit, punchingQuic } from './punching/quic.ts'
import { punchingTcp } from './punching/tcp.ts'
import { autonat } from './reachability/autonat.ts'
import type { SocksProxy } from './socks/socks.ts'
import { socksTcp, withoutProxy } from './socks/socks-tcp.ts'
import { steadyYamux } from './steady-yamux.ts'

/** Our own DHT: never mixed with the public one. */
export const DHT_PROTOCOL = '/warren/kad/1.0.0'

/** Topics of the ByteCave document, and our own of control messages. */
export const TOPICS = {
  announce: 'bytecave-announce',
  broadcast: 'bytecave-broadcast',
  control: 'warren-control'
} as const

const GOSSIP = { D: 6, Dlo: 4, Dhi: 12, Dlazy: 6, heartbeatMs: 1000 } as const

const CLOSE_TIMEOUT_MS = 1000
const BOOTSTRAP_DELAY_MS = 0
const MDNS_INTERVAL_MS = 10_000
/** Pings of one peer at once. js-libp2p has one outgoing and two incoming. */
const PING_STREAMS = 4

/** What a role wants of the network. */
export interface NetworkNodeOptions {
  /** gateway and client only ask the DHT; a relay serves circuits. */
  role: 'node' | 'relay' | 'gateway' | 'client'
  identity: Identity
  /** Multiaddrs to listen on; empty for a client. */
  listen?: readonly string[]
  /** Multiaddrs told to others in place of the own ones; set on hosts that are reached directly. */
  announce?: readonly string[]
  /** Multiaddrs with peer id of relays: kept connected, and reserved on unless `announce` is set. */
  relays?: readonly string[]
  /** Multiaddrs with peer id of peers to begin with: kept connected. */
  bootstrap?: readonly string[]
  /** Circuit relay v2 transport. Default true. */
  enableRelay?: boolean
  /** Default true. */
  enableDht?: boolean
  /** Multicast DNS on the local network. Default false. */
  enableMdns?: boolean
  /** Default `same-subnet`. */
  dialPrivate?: DialPrivate
  /** Default `warren`. */
  dcutr?: DcutrMode
  /**
   * Dials to the internet go through this proxy, and what cannot is not dialled: TCP only, no QUIC, no punches.
   * `isDirect`: which hosts are dialled without it, by default loopback and private ones.
   */
  socks?: (SocksProxy & { isDirect?: (host: string) => boolean }) | undefined
  /** For `warren`: who hears of punches, which addresses are punched. */
  punching?: Omit<DcutrInit, 'limits' | 'hardPunch' | 'isHard'> & Pick<HardPunchInit, 'onOutcome'>
  /** For `warren`: pairs of a cone and a symmetric NAT. Default: tried, within the caps of hard-limits.ts. */
  hardPunch?: Partial<HardPunchConfig>
  limits?: NetworkLimits
  /** Only for the relay. */
  relayLimits?: RelayLimits
  /** Only for the relay: serves circuits in place of js-libp2p's own server. */
  relayServer?: typeof circuitRelayServer
  /** Who may connect to us, besides what the limits say. */
  admission?: Pick<ConnectionGater, 'denyInboundConnection' | 'denyInboundEncryptedConnection'>
  log: Log
}

/** What of js-libp2p's inside the connections' life needs and its public face does not give. */
export interface NetworkParts {
  /** Dials one address now, beside whatever the dial queue does for the same peer. */
  transportManager: {
    dial: (address: Multiaddr, options: { signal: AbortSignal }) => Promise<Connection>
    getTransports: () => Transport[]
  }
  /** Own addresses; a mapped one is told to others once it is confirmed. */
  addressManager: {
    addPublicAddressMapping: MapAddress
    removePublicAddressMapping: MapAddress
    confirmObservedAddr: (address: Multiaddr, options: { type: 'ip-mapping'; ttl: number }) => void
    /** `expires`: ms since the epoch until which the verdict, verified or not, holds. */
    getAddressesWithMetadata: () => Array<{ multiaddr: Multiaddr; verified: boolean; type: string; expires: number }>
  }
}

type MapAddress = (
  internalHost: string,
  internalPort: number,
  externalHost: string,
  externalPort: number,
  protocol: 'tcp' | 'udp'
) => void

/** A libp2p with what keeps it connected. */
export interface NetworkNode {
  readonly libp2p: Libp2p<NetworkServices>
  readonly parts: NetworkParts
  /** Relays and bootstrap peers, kept connected and reserved on. */
  readonly anchors: Anchors
  /** Punches, and what peers observed of us; null unless the mode is `warren`. */
  readonly dcutr: Dcutr | null
  /** Hard pairs, and the kind of our NAT; null unless the mode is `warren`, and for who is reached directly. */
  readonly hardPunch: HardPunch | null
  /** Of a relay: who tells which connections circuits are better not opened on. */
  watchCircuits: (watch: CircuitWatch) => void
  /** Resolves when it listens; relays are dialled in the background. */
  start: () => Promise<void>
  stop: () => Promise<void>
}

/** Services by name; the DHT is absent where it is switched off. */
export interface NetworkServices extends ServiceMap {
  pubsub: ReturnType<ReturnType<typeof gossipsub>>
  parts: NetworkParts
  dcutr?: Dcutr
}

/** Compose libp2p for a role; nothing is opened before `start`. */
export async function createNetworkNode(given: NetworkNodeOptions): Promise<NetworkNode> {
  const options = given.socks === undefined ? given : behindProxy(given)
  const { role, identity, log, listen = [], announce = [], relays = [], bootstrap: bootstrapPeers = [] } = options
  const limits = options.limits ?? DEFAULT_LIMITS
  const enableRelay = options.enableRelay ?? true
  const dcutrMode = options.dcutr ?? 'warren'
  const reserving = enableRelay && role === 'node' && announce.length === 0
  const circuit = circuitRelayTransport({
    reservationConcurrency: limits.reservationConcurrency,
    maxInboundStopStreams: limits.circuitStreams,
    maxOutboundStopStreams: limits.circuitStreams
  })

  let libp2p: Libp2p<NetworkServices> | undefined
  const anchors = createAnchors({ relays: enableRelay ? relays : [], bootstrap: bootstrapPeers, reserving, log })
  const discovery: Array<(components: never) => PeerDiscovery> = []
  const known = [...new Set([...relays, ...bootstrapPeers])]
  if (known.length > 0) discovery.push(bootstrap({ list: known, timeout: BOOTSTRAP_DELAY_MS }))
  if (options.enableMdns === true) {
    const { mdns } = await import('@libp2p/mdns')
    discovery.push(mdns({ interval: MDNS_INTERVAL_MS, serviceTag: 'warren.local' }))
  }

  /** Whom the operator trusts with where our datagrams go. */
  const configured = new Set(known.map(peerOf))
  let hardPunch: HardPunch | null = null
  let circuitWatch: CircuitWatch | null = null
  libp2p = await createLibp2p<NetworkServices>({
    start: false,
    privateKey: identity.privateKey,
    nodeInfo: { name: 'warren', version: '0.1.0', userAgent: `warren/0.1.0 (${role})` },
    logger: libp2pLogger(log),
    addresses: { listen: [...listen], announce: [...announce], announceFilter: withoutLoopback },
    transports: [
      ...directTransports(options, limits),
      options.socks === undefined ? webSockets() : withoutProxy(webSockets(), options.socks.isDirect),
      ...(enableRelay ? [anchors.captureTransport(circuit)] : [])
    ],
    connectionEncrypters: [noise(), lazyTls()],
    streamMuxers: [
      steadyYamux({
        maxInboundStreams: limits.maxStreamsPerConnection,
        maxOutboundStreams: limits.maxStreamsPerConnection,
        maxEarlyStreams: limits.maxEarlyStreams,
        maxMessageSize: limits.maxMessageBytes,
        streamOptions: {
          initialStreamWindowSize: limits.initialWindowBytes,
          maxStreamWindowSize: limits.maxWindowBytes,
          inactivityTimeout: limits.streamInactivityMs,
          maxReadBufferLength: limits.readBufferBytes,
          maxWriteBufferLength: limits.writeBufferBytes
        }
      })
    ],
    connectionGater: {
      ...options.admission,
      ...dialPolicy({
        dialPrivate: options.dialPrivate ?? 'same-subnet',
        trusted: known.map(address => multiaddr(address)),
        connectedTo: peerId =>
          libp2p?.getConnections().some(({ remotePeer }) => remotePeer.toString() === peerId) ?? false
      })
    },
    connectionManager: {
      maxConnections: limits.maxConnections,
      maxIncomingPendingConnections: limits.maxIncomingPending,
      inboundConnectionThreshold: limits.inboundConnectionThreshold,
      maxParallelDials: limits.maxParallelDials,
      maxDialQueueLength: limits.maxDialQueue,
      maxPeerAddrsToDial: limits.maxPeerAddresses,
      dialTimeout: limits.dialTimeoutMs,
      addressDialTimeout: limits.addressDialTimeoutMs,
      inboundUpgradeTimeout: limits.upgradeTimeoutMs,
      inboundStreamProtocolNegotiationTimeout: limits.negotiationTimeoutMs,
      outboundStreamProtocolNegotiationTimeout: limits.negotiationTimeoutMs,
      connectionCloseTimeout: CLOSE_TIMEOUT_MS
    },
    connectionMonitor: {
      pingInterval: limits.pingIntervalMs,
      pingTimeout: { minTimeout: limits.pingTimeoutMs }
    },
    // An address that cannot be had is an error at start, not a node that listens on less than it was told.
    transportManager: { faultTolerance: 0 },
    peerDiscovery: discovery as never,
    services: services(
      options,
      limits,
      () => hardPunch,
      () => circuitWatch
    ) as ServiceFactoryMap<NetworkServices>
  })
  const built = libp2p
  ignoreGone(built)
  const isOurRelay = (peerId: string): boolean => configured.has(peerId)
  const endTelling = allowManyTopics(built, { isOurRelay, gathers: role === 'relay' })
  let followed: FollowedTopics | undefined
  const adopting = built.services.parts.transportManager.getTransports().find(transport => 'adopt' in transport)
  if (adopting !== undefined && role !== 'relay' && announce.length === 0) {
    hardPunch = createHardPunch({
      libp2p: built,
      transport: adopting as AdoptingTransport,
      isRelay: peerId => configured.has(peerId),
      busyRetries: HARD_PUNCH_BUSY_RETRIES,
      ...options.hardPunch,
      ...(options.punching?.onOutcome === undefined ? {} : { onOutcome: options.punching.onOutcome })
    })
  }
  return {
    libp2p: built,
    parts: built.services.parts,
    anchors,
    dcutr: dcutrMode === 'warren' ? (built.services.dcutr ?? null) : null,
    hardPunch,
    watchCircuits(watch) {
      circuitWatch = watch
    },
    async start() {
      await hardPunch?.start()
      await built.start()
      for (const topic of Object.values(TOPICS)) built.services.pubsub.subscribe(topic)
      if (role === 'relay') followed = followTopics(built)
      anchors.start(built)
    },
    async stop() {
      // Dials and reservations under way end with libp2p; waiting for them first could take their timeouts.
      const stopped = anchors.stop()
      followed?.stop()
      endTelling()
      await hardPunch?.stop()
      await built.stop()
      await stopped
    }
  }
}

/** A proxy carries TCP: what leaves by UDP, or from a port of our own, would go past it and tell where we are. */
function behindProxy(options: NetworkNodeOptions): NetworkNodeOptions {
  const listen = (options.listen ?? []).filter(address => !/\/udp\//.test(address))
  return { ...options, listen, dcutr: 'off', hardPunch: { enabled: false } }
}

/** Whoever punches sends from the port that it is observed at; stock transports dial from any. */
function directTransports(options: NetworkNodeOptions, limits: NetworkLimits) {
  const { maxConnections, maxStreamsPerConnection: maxConcurrentStreamLimit } = limits
  if (options.socks !== undefined) {
    const { isDirect, ...proxy } = options.socks
    return [socksTcp({ maxConnections, proxy, ...(isDirect ? { isDirect } : {}) })]
  }
  return (options.dcutr ?? 'warren') === 'warren'
    ? [punchingTcp({ maxConnections }), punchingQuic(quicInit(options, limits))]
    : [tcp({ maxConnections }), quic({ maxConcurrentStreamLimit })]
}

/** Another machine that dials our loopback address meets itself; alone on a machine it is all there is. */
function withoutLoopback(addresses: Multiaddr[]): Multiaddr[] {
  const routable = addresses.filter(address => !/^\/(ip4\/127\.|ip6\/::1\/)/.test(address.toString()))
  return routable.length > 0 ? routable : addresses
}

/** The peer at the end of the address; empty where it names none. */
function peerOf(address: Multiaddr | string): string {
  return /\/p2p\/([^/]+)$/.exec(address.toString())?.[1] ?? ''
}

/** A peer may have several others to punch to, one after another, some seconds each. */
const HARD_PUNCH_BUSY_RETRIES = 6

/** Anchors that are dialled from the punch port: enough that their observations can be compared. */
const MAX_OBSERVERS = 4

/**
 * Who is reached directly gives its port to the package itself and dials at full speed. Everybody else dials a few
 * anchors from the punch port, relays first, to hear how the own NAT maps it; all other dials have full speed as well.
 */
function quicInit(
  { announce = [], relays = [], bootstrap: others = [] }: NetworkNodeOptions,
  limits: NetworkLimits
): PunchingQuicInit {
  const observers = new Set([...new Set([...relays, ...others].map(peerOf))].slice(0, MAX_OBSERVERS))
  const isReachedDirectly = announce.length > 0
  return {
    listen: isReachedDirectly ? 'native' : 'shared',
    fromPunchPort: address => !isReachedDirectly && observers.has(peerOf(address)),
    maxConcurrentStreamLimit: limits.maxStreamsPerConnection,
    limits: { maxFlows: limits.maxConnections * 2 },
    streamOptions: {
      inactivityTimeout: limits.streamInactivityMs,
      maxReadBufferLength: limits.readBufferBytes,
      maxWriteBufferLength: limits.writeBufferBytes
    }
  }
}

function services(
  options: NetworkNodeOptions,
  limits: NetworkLimits,
  hardPunch: () => HardPunch | null,
  circuitWatch: () => CircuitWatch | null
) {
  const { role, announce = [], relays = [] } = options
  // Whoever cannot be dialled is no DHT server: every look-up that meets it would build a circuit for nothing.
  const dhtServer = role === 'relay' || (role === 'node' && (announce.length > 0 || relays.length === 0))
  const all: Record<string, unknown> = {
    identify: identify({ runOnLimitedConnection: true }),
    identifyPush: identifyPush({ runOnLimitedConnection: true }),
    parts: ({ transportManager, addressManager }: NetworkParts): NetworkParts => ({ transportManager, addressManager }),
    // One that asks for a sign of life must not be in the way of js-libp2p's monitor, which ends connections for that.
    ping: ping({
      runOnLimitedConnection: true,
      maxInboundStreams: PING_STREAMS,
      maxOutboundStreams: PING_STREAMS
    }),
    pubsub: gossipsub({
      globalSignaturePolicy: StrictSign,
      allowPublishToZeroTopicPeers: true,
      runOnLimitedConnection: true,
      emitSelf: false,
      D: GOSSIP.D,
      Dlo: GOSSIP.Dlo,
      Dhi: GOSSIP.Dhi,
      Dlazy: GOSSIP.Dlazy,
      heartbeatInterval: GOSSIP.heartbeatMs,
      // Peers behind one NAT share an address: with the default, the eleventh of them is no longer listened to.
      scoreParams: { IPColocationFactorWeight: 0 },
      maxInboundDataLength: limits.gossipMaxMessageBytes,
      maxOutboundBufferSize: limits.gossipBufferBytes
    })
  }
  if (options.enableDht ?? true) {
    all.dht = kadDHT({
      protocol: DHT_PROTOCOL,
      clientMode: !dhtServer,
      // Lab addresses look private to js-libp2p; the dial policy decides which are worth a dial.
      peerInfoMapper: passthroughMapper,
      kBucketSize: limits.dhtK,
      alpha: limits.dhtAlpha,
      maxInboundStreams: limits.dhtStreams,
      maxOutboundStreams: limits.dhtStreams,
      // Provider records only: no namespace of values is accepted besides the public keys that are built in.
      validators: {},
      selectors: {}
    })
  }
  if (role !== 'client') all.autonat = autonat()
  const mode = options.dcutr ?? 'warren'
  if (mode === 'warren') {
    all.dcutr = dcutr({
      ...options.punching,
      hardPunch: async context => (await hardPunch()?.punch(context)) ?? null,
      isHard: () => hardPunch()?.isHard() ?? false,
      limits
    })
  }
  if (mode === 'stock') all.dcutr = stockDcutr()
  if (role === 'relay') {
    const relay = options.relayLimits ?? DEFAULT_RELAY_LIMITS
    all.relay = newestFirst(
      (options.relayServer ?? circuitRelayServer)({
        hopTimeout: relay.hopTimeoutMs,
        maxInboundHopStreams: relay.hopStreams,
        maxOutboundHopStreams: relay.hopStreams,
        maxOutboundStopStreams: relay.hopStreams,
        reservations: {
          maxReservations: relay.maxReservations,
          reservationTtl: relay.reservationTtlMs,
          applyDefaultLimit: true,
          defaultDurationLimit: relay.circuitDurationMs,
          defaultDataLimit: BigInt(relay.circuitDataBytes)
        }
      }),
      circuitWatch
    )
  }
  return all
}
