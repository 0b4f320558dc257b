/**
 * Anchors: the relays and bootstrap peers of the configuration. Each is kept connected and, on a host that is not
 * reached directly, each relay is kept reserved on, with backoff and for as long as the node runs: a relay that
 * restarts has forgotten its reservations.
 */
import { RELAY_V2_HOP_CODEC } from '@libp2p/circuit-relay-v2'
import type { Connection, Libp2p, Transport } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import { CODE_P2P, type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import type { Log } from '../log.ts'
import { firstOf } from './first-of.ts'
import { pause } from './timings.ts'

const FIRST_RETRY_MS = 250
const LONGEST_RETRY_MS = 10_000
const DIAL_DEADLINE_MS = 15_000
/** How long one address of an anchor is dialled alone. */
const NEXT_ADDRESS_MS = 500
/** A reservation can be lost without its connection: it expires, or the relay forgets it. */
const CHECK_INTERVAL_MS = 5000

/** What is known of one anchor. */
export interface AnchorState {
  peerId: string
  addresses: string[]
  relay: boolean
  connected: boolean
  /** Whether others can reach us through it. */
  reserved: boolean
}

export interface Anchors {
  /** Anchors as they are now. */
  states: () => AnchorState[]
  /** The relay addresses through which a peer may be reached, one a relay, connected ones first. */
  circuitsTo: (peerId: string) => Multiaddr[]
  /** Whoever waits before the next try, or for a dial from where we were, tries now: something of the network changed. */
  retryNow: () => void
  start: (libp2p: Libp2p) => void
  stop: () => Promise<void>
  /** Wraps libp2p's circuit transport so that reservations can be renewed. */
  captureTransport: <C>(factory: (components: C) => Transport) => (components: C) => Transport
}

/** The part of libp2p's circuit transport we use; `reservationStore` is its public member. */
interface CircuitTransport {
  reservationStore: {
    addRelay: (peer: ReturnType<typeof peerIdFromString>, type: 'configured') => Promise<unknown>
    hasReservation: (peer: ReturnType<typeof peerIdFromString>) => boolean
    /** Remembers relays that failed once and refuses them for good, which a restarting relay does not deserve. */
    relayFilter: { remove: (item: Uint8Array) => boolean }
  }
}

/** The part of libp2p's transport manager we use. */
interface Transports {
  dial: (address: Multiaddr, options: { signal: AbortSignal }) => Promise<Connection>
  listen: (addresses: Multiaddr[]) => Promise<void>
}

interface Anchor {
  peerId: string
  addresses: Multiaddr[]
  relay: boolean
  /** It said that it carries circuits. */
  hop: boolean
  /** libp2p listens on it: later reservations renew that listener. */
  listening: boolean
}

export function createAnchors(options: {
  relays: readonly string[]
  bootstrap: readonly string[]
  reserving: boolean
  log: Log
}): Anchors {
  const { log, reserving } = options
  const anchors = new Map<string, Anchor>()
  for (const [texts, relay] of [
    [options.relays, true],
    [options.bootstrap, false]
  ] as const) {
    for (const text of texts) add(anchors, multiaddr(text), relay)
  }
  const stopping = new AbortController()
  let libp2p: Libp2p | undefined
  let circuit: CircuitTransport | undefined
  let transports: Transports | undefined
  let loops: Promise<void>[] = []
  let waiting = new AbortController()

  const connections = (anchor: Anchor): Connection[] =>
    libp2p
      ?.getConnections(peerIdFromString(anchor.peerId))
      .filter(({ direct, status }) => direct && status === 'open') ?? []
  const reserved = (anchor: Anchor): boolean =>
    circuit?.reservationStore.hasReservation(peerIdFromString(anchor.peerId)) ?? false
  const wanted = (anchor: Anchor): boolean =>
    connections(anchor).length > 0 && (!(reserving && anchor.relay) || reserved(anchor))

  async function reserve(anchor: Anchor): Promise<void> {
    const store = circuit?.reservationStore
    const peer = peerIdFromString(anchor.peerId)
    if (store === undefined || transports === undefined || store.hasReservation(peer)) return
    store.relayFilter.remove(peer.toMultihash().bytes)
    if (anchor.listening) {
      await store.addRelay(peer, 'configured')
      return
    }
    await transports.listen([anchor.addresses[0]!.encapsulate('/p2p-circuit')])
    anchor.listening = true
  }

  async function keep(anchor: Anchor, node: Libp2p): Promise<void> {
    let retryMs = FIRST_RETRY_MS
    let isChanged = false
    while (!stopping.signal.aborted) {
      const woken = waiting.signal
      try {
        if (connections(anchor).length === 0) {
          await within([stopping.signal, woken], signal =>
            isChanged && transports !== undefined
              ? dialBeside(transports, anchor.addresses, signal)
              : node.dial(anchor.addresses, { signal })
          )
        }
        if (reserving && anchor.relay) await reserve(anchor)
        if (!wanted(anchor)) throw new Error('the connection or the reservation was lost at once')
        log.info({ peer: anchor.peerId, relay: anchor.relay, reserved: reserved(anchor) }, 'anchor connected')
        retryMs = FIRST_RETRY_MS
        await lost(node, () => wanted(anchor), stopping.signal)
        if (!stopping.signal.aborted) log.warn({ peer: anchor.peerId, relay: anchor.relay }, 'anchor lost')
      } catch (error) {
        if (stopping.signal.aborted) return
        log.debug({ peer: anchor.peerId, why: (error as Error).message, retryMs }, 'anchor not reached')
        isChanged = woken.aborted
        // Half of the wait is random: a hundred nodes must not return to a relay in the same instant.
        await pause(retryMs * (0.5 + Math.random() / 2), AbortSignal.any([stopping.signal, woken]))
        retryMs = woken.aborted ? FIRST_RETRY_MS : Math.min(retryMs * 2, LONGEST_RETRY_MS)
      }
    }
  }

  return {
    states: () =>
      [...anchors.values()].map(anchor => ({
        peerId: anchor.peerId,
        addresses: anchor.addresses.map(String),
        relay: anchor.relay,
        connected: connections(anchor).length > 0,
        reserved: reserved(anchor)
      })),
    circuitsTo: peerId =>
      [...anchors.values()]
        .filter(anchor => (anchor.relay || anchor.hop) && anchor.peerId !== peerId)
        .map(anchor => ({ anchor, connected: connections(anchor).length > 0 }))
        .sort((a, b) => Number(b.connected) - Number(a.connected) || order(peerId, a.anchor) - order(peerId, b.anchor))
        .map(({ anchor }) => anchor.addresses[0]!.encapsulate(`/p2p-circuit/p2p/${peerId}`)),
    retryNow() {
      waiting.abort()
      waiting = new AbortController()
    },
    start(node) {
      libp2p = node
      node.addEventListener('peer:identify', event => {
        const anchor = anchors.get(event.detail.peerId.toString())
        if (anchor !== undefined) anchor.hop = event.detail.protocols.includes(RELAY_V2_HOP_CODEC)
      })
      loops = [...anchors.values()]
        .filter(({ peerId }) => peerId !== node.peerId.toString())
        .map(anchor => keep(anchor, node))
    },
    async stop() {
      stopping.abort()
      await Promise.allSettled(loops)
    },
    captureTransport: factory => components => {
      const transport = factory(components)
      circuit = transport as unknown as CircuitTransport
      transports = (components as { transportManager: Transports }).transportManager
      return transport
    }
  }
}

function add(anchors: Map<string, Anchor>, address: Multiaddr, relay: boolean): void {
  const peerId = address.getComponents().findLast(part => part.code === CODE_P2P)?.value
  if (peerId === undefined) return
  const anchor = anchors.get(peerId) ?? { peerId, addresses: [], relay: false, hop: false, listening: false }
  anchor.relay ||= relay
  if (!anchor.addresses.some(known => known.equals(address))) anchor.addresses.push(address)
  anchors.set(peerId, anchor)
}

/** Peers are spread over the relays, the same peer always in the same order. */
function order(peerId: string, { peerId: relay }: Anchor): number {
  let hash = 0
  for (const char of peerId + relay) hash = (hash * 31 + char.charCodeAt(0)) >>> 0
  return hash
}

/**
 * Dial with a deadline of our own: the signal of a dial stays attached to the connection it made, so it must not
 * be aborted once the dial succeeded.
 */
async function within(
  stops: readonly AbortSignal[],
  dial: (signal: AbortSignal) => Promise<Connection>
): Promise<void> {
  const controller = new AbortController()
  const timer = setTimeout(() => controller.abort(), DIAL_DEADLINE_MS)
  const onStop = () => controller.abort()
  for (const stop of stops) stop.addEventListener('abort', onStop, { once: true })
  try {
    await dial(controller.signal)
  } finally {
    clearTimeout(timer)
    for (const stop of stops) stop.removeEventListener('abort', onStop)
  }
}

/**
 * Beside the dial queue: that has one dial a peer, and others may still wait there for one that began before our network
 * changed and leads nowhere.
 */
async function dialBeside(
  transports: Transports,
  addresses: readonly Multiaddr[],
  signal: AbortSignal
): Promise<Connection> {
  const runners = addresses.map(address => ({
    headStartMs: NEXT_ADDRESS_MS,
    async run(lost: AbortSignal) {
      // Not AbortSignal.any: the winner's signal stays with its connection, and must never abort.
      const controller = new AbortController()
      const end = () => controller.abort()
      for (const each of [signal, lost]) each.addEventListener('abort', end, { once: true })
      try {
        return await transports.dial(address, { signal: controller.signal })
      } finally {
        for (const each of [signal, lost]) each.removeEventListener('abort', end)
      }
    }
  }))
  return await firstOf(runners, signal)
}

/** Resolves when `holds` no longer does, or on stop. */
function lost(node: Libp2p, holds: () => boolean, stop: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const end = () => {
      clearInterval(timer)
      node.removeEventListener('connection:close', check)
      stop.removeEventListener('abort', end)
      resolve()
    }
    const check = () => {
      if (!holds()) end()
    }
    const timer = setInterval(check, CHECK_INTERVAL_MS)
    node.addEventListener('connection:close', check)
    stop.addEventListener('abort', end, { once: true })
    check()
  })
}
