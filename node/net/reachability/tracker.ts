/**
 * The one observable value of how others reach us. Collects what is told (configuration, mapped ports, what peers see,
 * reflectors, autonat) and judges anew whenever something of it changes.
 */
import type { Connection, IdentifyResult, Libp2p } from '@libp2p/interface'
import { isPrivate } from '@libp2p/utils'
import { CODE_IP4, CODE_IP6, CODE_P2P, CODE_TCP, CODE_UDP, type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import type { Log } from '../../log.ts'
import type { NetworkParts } from '../libp2p.ts'
import { ownAddresses } from '../life/interfaces.ts'
import type { NatKindSeen } from '../punching/hard/kinds.ts'
import { pause } from '../timings.ts'
import { hostOf, portOf, transportOf } from './address-parts.ts'
import { judgeReachability } from './judge.ts'
import type { Gateway } from './mapping/gateway.ts'
import type { MappingClient } from './mapping/mapping.types.ts'
import { createPortMapper, type InnerPort, type MappedPort, type PortMapper } from './mapping/port-mapper.ts'
import type { Reachability, ReachabilityFacts, Sighting } from './reachability.types.ts'

/** Sightings kept, one a connection we dialled; the oldest goes. */
const MAX_SIGHTINGS = 64
/** Between two questions to reflectors: NATs seldom change their kind, and a change of network asks at once. */
const KIND_INTERVAL_MS = 30 * 60_000
/** After a question that told nothing: relays may not be connected yet. Doubles. */
const KIND_RETRY_MS = 1000
const KIND_TIMEOUT_MS = 10_000

/** Asks reflectors for the NAT's kind; null when there is no reflector. */
export type DetectKind = (signal: AbortSignal) => Promise<NatKindSeen | null>

export interface ReachabilityTracker {
  current: () => Reachability
  /** Calls with every new value; gives the function that ends it. */
  subscribe: (listener: (now: Reachability) => void) => () => void
  /** Ports the router opened, and why none if there is none. */
  mapping: () => { ports: readonly MappedPort[]; problem: string | null }
  /** This machine's network changed: what was known of the NAT may be wrong. */
  networkChanged: () => void
  start: () => void
  stop: () => Promise<void>
}

/**
 * @param options.portMapping whether to ask the own router for ports
 * @param options.isOwnPort whether a connection left from the port that others send to; without it no port is compared
 */
export function createReachability(options: {
  libp2p: Libp2p
  parts: Pick<NetworkParts, 'addressManager'>
  announced: readonly string[]
  portMapping: boolean
  detectKind?: DetectKind | undefined
  isOwnPort?: ((connection: Connection) => boolean) | undefined
  gateway?: (() => Gateway | null) | undefined
  mappingClients?: readonly MappingClient[] | undefined
  log: Log
}): ReachabilityTracker {
  const { libp2p, parts, announced, detectKind, isOwnPort = () => false, log } = options
  const stopping = new AbortController()
  let asking = new AbortController()
  /** Connection id → what its far end saw; in the order in which it was told. */
  const sightings = new Map<string, Sighting>()
  const listeners = new Set<(now: Reachability) => void>()
  let natKind: NatKindSeen | null = null
  let detecting: Promise<void> = Promise.resolve()

  const mapper: PortMapper | null =
    options.portMapping && announced.length === 0
      ? createPortMapper({
          listening: innerPorts,
          seenHosts: () => [...sightings.values()].flatMap(({ address }) => hostOf(address) ?? []),
          sink: sinkOf(parts.addressManager),
          onChange: judge,
          ...(options.gateway === undefined ? {} : { gateway: options.gateway }),
          ...(options.mappingClients === undefined ? {} : { clients: options.mappingClients }),
          log
        })
      : null
  let value: Reachability = { ...judgeReachability(facts()), since: new Date().toISOString() }

  function facts(): ReachabilityFacts {
    const told = libp2p.getMultiaddrs().map(withoutPeer)
    const own = parts.addressManager.getAddressesWithMetadata().filter(({ type }) => type === 'transport')
    return {
      announced,
      ownHosts: ownAddresses(),
      listening: own.map(({ multiaddr }) => withoutPeer(multiaddr)).filter(address => !isCircuit(address)),
      relayed: told.filter(isCircuit),
      mapped: mappedAddresses(told, mapperPorts()),
      // Of public addresses only: js-libp2p takes private ones for verified as they are.
      dialledBack: own
        .filter(address => !isPrivate(address.multiaddr) && (address.verified || address.expires > Date.now()))
        .filter(address => !isCircuit(withoutPeer(address.multiaddr)))
        .map(({ multiaddr, verified }) => ({ address: withoutPeer(multiaddr), reached: verified })),
      sightings: [...sightings.values()],
      natKind
    }
  }

  function mapperPorts(): readonly MappedPort[] {
    return mapper?.mapped() ?? []
  }

  function judge(): void {
    if (stopping.signal.aborted) return
    const now = judgeReachability(facts())
    const isSame = now.state === value.state && JSON.stringify(now.kind) === JSON.stringify(value.kind)
    if (isSame && now.why === value.why && now.addresses.join() === value.addresses.join()) return
    if (!isSame) log.info({ ...now }, 'reachability')
    value = { ...now, since: isSame ? value.since : new Date().toISOString() }
    for (const listener of [...listeners]) listener(value)
  }

  function innerPorts(): InnerPort[] {
    const ports = libp2p.getMultiaddrs().flatMap(address => {
      const text = withoutPeer(address)
      const transport = transportOf(text)
      const port = portOf(text)
      if (isCircuit(text) || transport === null || port === null || hostOf(text)?.includes('.') !== true) return []
      return [{ transport, port }]
    })
    const mapped = mapperPorts()
    return ports.filter(
      ({ transport, port }, index) =>
        ports.findIndex(other => other.transport === transport && other.port === port) === index &&
        !mapped.some(each => each.transport === transport && each.outerPort === port && each.port !== port)
    )
  }

  function onIdentify({ detail }: CustomEvent<IdentifyResult>): void {
    const { connection, observedAddr } = detail
    // What a relay sees of a circuit is the relay; what somebody sees who dialled us is where it dialled.
    if (observedAddr === undefined || connection.direction !== 'outbound' || !connection.direct) return
    // It is the peer's word: bytes that are no address, or a name, tell nothing and may not even be readable as text.
    if (!isEndpoint(observedAddr)) return
    sightings.delete(connection.id)
    sightings.set(connection.id, {
      address: withoutPeer(observedAddr),
      observer: connection.remotePeer.toString(),
      fromOwnPort: isOwnPort(connection)
    })
    if (sightings.size > MAX_SIGHTINGS) sightings.delete(sightings.keys().next().value!)
    mapper?.check()
    judge()
  }

  function onClose({ detail: { id } }: CustomEvent<Connection>): void {
    // The last one is kept: between two relays we are where we were.
    if (sightings.size > 1 && sightings.delete(id)) judge()
  }

  async function detect(ask: DetectKind): Promise<void> {
    let retryMs = KIND_RETRY_MS
    while (!stopping.signal.aborted) {
      const woken = asking.signal
      try {
        const limit = AbortSignal.any([stopping.signal, AbortSignal.timeout(KIND_TIMEOUT_MS)])
        natKind = (await ask(limit)) ?? natKind
        judge()
      } catch (error) {
        log.debug({ why: (error as Error).message }, "the NAT's kind is not known")
      }
      const isKnown = natKind !== null && natKind.mapping !== 'unknown'
      await pause(isKnown ? KIND_INTERVAL_MS : retryMs, AbortSignal.any([stopping.signal, woken]))
      retryMs = woken.aborted ? KIND_RETRY_MS : Math.min(2 * retryMs, KIND_INTERVAL_MS)
    }
  }

  function onOwnAddresses(): void {
    mapper?.renew()
    judge()
  }

  return {
    current: () => value,
    subscribe(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    mapping: () => ({ ports: mapperPorts(), problem: mapper?.problem() ?? null }),
    networkChanged() {
      natKind = null
      sightings.clear()
      asking.abort()
      asking = new AbortController()
      mapper?.renew()
      judge()
    },
    start() {
      libp2p.addEventListener('peer:identify', onIdentify)
      libp2p.addEventListener('connection:close', onClose)
      libp2p.addEventListener('self:peer:update', judge)
      libp2p.addEventListener('start', onOwnAddresses)
      if (detectKind !== undefined && announced.length === 0) detecting = detect(detectKind)
      mapper?.start()
      judge()
    },
    async stop() {
      stopping.abort()
      libp2p.removeEventListener('peer:identify', onIdentify)
      libp2p.removeEventListener('connection:close', onClose)
      libp2p.removeEventListener('self:peer:update', judge)
      libp2p.removeEventListener('start', onOwnAddresses)
      await Promise.all([mapper?.stop(), detecting])
      listeners.clear()
    }
  }
}

/** Confirmed mappings as libp2p tells them to others. */
function sinkOf(addresses: NetworkParts['addressManager']) {
  return {
    add(mapped: MappedPort, ttlMs: number) {
      const { innerHost, port, outerHost, outerPort, transport } = mapped
      addresses.removePublicAddressMapping(innerHost, port, outerHost, outerPort, transport)
      addresses.addPublicAddressMapping(innerHost, port, outerHost, outerPort, transport)
      addresses.confirmObservedAddr(outerAddress(mapped), { type: 'ip-mapping', ttl: ttlMs })
    },
    remove({ innerHost, port, outerHost, outerPort, transport }: MappedPort) {
      addresses.removePublicAddressMapping(innerHost, port, outerHost, outerPort, transport)
    }
  }
}

const outerAddress = ({ outerHost, outerPort, transport }: MappedPort): Multiaddr =>
  multiaddr(`/ip4/${outerHost}/${transport}/${outerPort}`)

/** Those of our addresses that lead to a confirmed mapping. */
function mappedAddresses(told: readonly string[], ports: readonly MappedPort[]): string[] {
  return told.filter(address =>
    ports.some(
      ({ confirmed, outerHost, outerPort, transport }) =>
        confirmed &&
        !isCircuit(address) &&
        hostOf(address) === outerHost &&
        portOf(address) === outerPort &&
        transportOf(address) === transport
    )
  )
}

/** An IP address with a TCP or UDP port first. */
function isEndpoint(address: Multiaddr): boolean {
  try {
    const [host, port] = address.getComponents().map(({ code }) => code)
    return (host === CODE_IP4 || host === CODE_IP6) && (port === CODE_TCP || port === CODE_UDP)
  } catch {
    return false
  }
}

/** A relayed address ends with the relay's part; the own peer id at the end is cut off everywhere. */
function withoutPeer(address: Multiaddr): string {
  const last = address.getComponents().at(-1)
  return last?.code === CODE_P2P ? address.toString().replace(/\/p2p\/[^/]+$/, '') : address.toString()
}

const isCircuit = (address: string): boolean => address.includes('/p2p-circuit')
