/**
 * The life of connections to peers behind NATs. A peer is met through a relay first; once there is a direct connection
 * all moves to it and the relayed one, idle, is closed. When the direct one dies, or this machine's network changes,
 * peers that are still wanted are met through a relay at once and punched to again.
 *
 * Which connection a request takes is `paths.ts`'s; how a transfer moves is `ask.ts`'s.
 */
import type { Connection, Libp2p } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import type { Log } from '../../log.ts'
import type { Anchors } from '../anchors.ts'
import { pause } from '../timings.ts'
import { endConnection } from './end-connection.ts'
import { isGossip, moveGossip } from './gossip-streams.ts'
import { watchInterfaces } from './interfaces.ts'
import type { Liveness } from './liveness.ts'

export interface LifeLimits {
  /** How long a relayed connection stays beside a direct one, and the time between two looks while streams are on it. */
  relayedIdleMs: number
  /** How long after its last use a peer is met again by ourselves. */
  wantedMs: number
  /** Waits before each try to be direct again. */
  againMs: readonly number[]
  /** A peer that stays relayed is punched to again after so long while requests go to it; the last wait goes on. */
  laterMs: readonly [number, ...number[]]
}

export const LIFE: LifeLimits = {
  relayedIdleMs: 1500,
  wantedMs: 60_000,
  againMs: [0, 1000, 2000, 4000, 8000],
  // What failed may have failed by chance: a machine that was busy, a line that was cut just then.
  laterMs: [15_000, 60_000, 300_000, 900_000]
}

/** Peers remembered as wanted; the longest unused is forgotten. */
const MAX_WANTED = 1000
/** Connections asked for a sign of life at once after a network change. */
const MAX_PROBES = 256
const PING_PROTOCOL = '/ipfs/ping/1.0.0'

/** A peer that requests went to lately; the table is in the order of use. */
interface Wanted {
  /** Of the last use. */
  atMs: number
  wasDirect: boolean
  /** Since when it has stayed on a relay, or was last punched to in vain; null: it is direct. */
  relayedSinceMs: number | null
  /** Punches since then. */
  laterTries: number
}

/** What happened since start. */
export interface LifeCounters {
  /** Idle relayed connections that were closed beside a direct one. */
  relayedClosed: number
  /** Direct connections of wanted peers that ended without us. */
  directLost: number
  /** Punches asked for again, later ones included. */
  punchedAgain: number
  /** Of these, to peers that had stayed on a relay. */
  punchedLater: number
  /** Changes of this machine's own addresses. */
  networkChanges: number
}

/** What a hole punching service may offer: try this peer again. Resolves when the attempt is over. */
interface PunchAgain {
  repunch?: (
    peerId: ReturnType<typeof peerIdFromString>,
    options: { signal: AbortSignal }
  ) => Promise<unknown> | unknown
}

export interface ConnectionLife {
  /** A request goes to this peer: it is wanted from now on. */
  want: (peerId: string) => void
  /** A connection in use became silent: look at what a fall-back would need. */
  suspect: (connection: Connection) => void
  counters: () => Readonly<LifeCounters>
  start: () => void
  stop: () => Promise<void>
}

/**
 * @param options.connect makes a connection to a peer, through a relay where it must
 * @param options.onNetworkChange called after this machine's addresses changed
 */
export function createConnectionLife(options: {
  libp2p: Libp2p
  anchors: Anchors
  liveness: Liveness
  connect: (peerId: string, options: { signal: AbortSignal }) => Promise<unknown>
  onNetworkChange?: () => void
  readInterfaces?: () => string[]
  limits?: LifeLimits
  log: Log
}): ConnectionLife {
  const { libp2p, anchors, liveness, log } = options
  const { relayedIdleMs, wantedMs, againMs, laterMs } = options.limits ?? LIFE
  const services = libp2p.services as { pubsub?: unknown; dcutr?: PunchAgain }
  const stopping = new AbortController()
  const counters: LifeCounters = {
    relayedClosed: 0,
    directLost: 0,
    punchedAgain: 0,
    punchedLater: 0,
    networkChanges: 0
  }
  const wanted = new Map<string, Wanted>()
  const closing = new Map<string, NodeJS.Timeout>()
  const recovering = new Map<string, Promise<void>>()
  /** Apart: a peer that is lost meanwhile is met again without waiting for it. */
  const punchingLater = new Map<string, Promise<void>>()
  let unwatch: (() => void) | undefined

  const connectionsTo = (peerId: string): Connection[] =>
    libp2p.getConnections(peerIdFromString(peerId)).filter(({ status }) => status === 'open')
  const directTo = (peerId: string): Connection | undefined =>
    connectionsTo(peerId).find(connection => connection.direct && !liveness.isSuspect(connection))

  function want(peerId: string): void {
    const known = wanted.get(peerId)
    const isDirect = directTo(peerId) !== undefined
    const now = performance.now()
    const relayedSinceMs = isDirect ? null : (known?.relayedSinceMs ?? now)
    const laterTries = isDirect ? 0 : (known?.laterTries ?? 0)
    const current: Wanted = { atMs: now, wasDirect: known?.wasDirect === true || isDirect, relayedSinceMs, laterTries }
    wanted.delete(peerId)
    wanted.set(peerId, current)
    if (wanted.size > MAX_WANTED) wanted.delete(wanted.keys().next().value!)
    if (relayedSinceMs !== null && now - relayedSinceMs >= laterMs[Math.min(laterTries, laterMs.length - 1)]!)
      punchLater(peerId, current)
  }

  /** A peer that requests go to stayed on the relay: once more, less and less often. */
  function punchLater(peerId: string, current: Wanted): void {
    if (recovering.has(peerId) || punchingLater.has(peerId) || stopping.signal.aborted) return
    if (!connectionsTo(peerId).some(({ direct }) => !direct)) return
    current.relayedSinceMs = performance.now()
    current.laterTries++
    counters.punchedLater++
    const work = punchAgain(peerId)
      .catch((error: Error) => log.debug({ peer: peerId, why: error.message }, 'still relayed'))
      .finally(() => punchingLater.delete(peerId))
    punchingLater.set(peerId, work)
  }

  function isWanted(peerId: string): boolean {
    const known = wanted.get(peerId)
    return known !== undefined && performance.now() - known.atMs < wantedMs
  }

  function onOpen({ detail: connection }: CustomEvent<Connection>): void {
    const peerId = connection.remotePeer.toString()
    if (connection.direct) {
      const known = wanted.get(peerId)
      if (known !== undefined) known.wasDirect = true
    }
    // A peer comes again when it lost the connection we still believe in; a relay would send others into that.
    for (const other of connectionsTo(peerId)) {
      if (other !== connection && other.direct) liveness.glance(other, true)
    }
    if (directTo(peerId) === undefined && !connection.direct) return
    if (!connectionsTo(peerId).some(({ direct }) => !direct)) return
    if (connection.direct) void move(connection)
    closeRelayedSoon(peerId)
  }

  async function move(connection: Connection): Promise<void> {
    await moveGossip(services.pubsub, connection).catch((error: Error) => {
      log.debug({ peer: connection.remotePeer.toString(), why: error.message }, 'gossip did not move')
    })
  }

  function closeRelayedSoon(peerId: string): void {
    if (closing.has(peerId) || stopping.signal.aborted) return
    const timer = setTimeout(() => {
      closing.delete(peerId)
      void closeRelayed(peerId)
    }, relayedIdleMs)
    timer.unref()
    closing.set(peerId, timer)
  }

  async function closeRelayed(peerId: string): Promise<void> {
    const direct = directTo(peerId)
    const relayed = connectionsTo(peerId).filter(connection => !connection.direct)
    if (direct === undefined || relayed.length === 0) return
    // Only beside one that lives: the far end may be back on the relay because it does not.
    if (!(await liveness.probe(direct)) || stopping.signal.aborted) return
    void move(direct)
    for (const connection of relayed.filter(({ status }) => status === 'open').filter(isIdle)) {
      counters.relayedClosed++
      connection.close().catch((error: Error) => endConnection(connection, error))
    }
    if (!relayed.every(isIdle)) closeRelayedSoon(peerId)
  }

  function onClose({ detail: connection }: CustomEvent<Connection>): void {
    const peerId = connection.remotePeer.toString()
    if (stopping.signal.aborted) return
    const [other] = connectionsTo(peerId).sort((a, b) => Number(b.direct) - Number(a.direct))
    if (other !== undefined) void move(other)
    if (!connection.direct || !isWanted(peerId) || directTo(peerId) !== undefined) return
    counters.directLost++
    recover(peerId)
  }

  /** Meet a wanted peer again, and directly if that is possible. */
  function recover(peerId: string): void {
    if (recovering.has(peerId) || stopping.signal.aborted) return
    const work = (async () => {
      for (const waitMs of againMs) {
        if (waitMs > 0) await pause(waitMs, stopping.signal)
        if (stopping.signal.aborted || !isWanted(peerId) || directTo(peerId) !== undefined) return
        try {
          await options.connect(peerId, { signal: stopping.signal })
          if (directTo(peerId) !== undefined) return
          await punchAgain(peerId)
        } catch (error) {
          log.debug({ peer: peerId, why: (error as Error).message }, 'peer not met again')
        }
      }
    })().finally(() => recovering.delete(peerId))
    recovering.set(peerId, work)
  }

  async function punchAgain(peerId: string): Promise<void> {
    if (services.dcutr?.repunch === undefined) return
    counters.punchedAgain++
    await services.dcutr.repunch(peerIdFromString(peerId), { signal: stopping.signal })
  }

  /** Direct connections, those to relays first: without them nothing else is met again. */
  function direct(): Connection[] {
    const isAnchor = new Set(anchors.states().map(({ peerId }) => peerId))
    return libp2p
      .getConnections()
      .filter(connection => connection.direct && connection.status === 'open')
      .sort((a, b) => Number(isAnchor.has(b.remotePeer.toString())) - Number(isAnchor.has(a.remotePeer.toString())))
  }

  function onInterfaces(now: string[], gone: string[]): void {
    counters.networkChanges++
    log.info({ addresses: now, gone }, 'own addresses changed')
    for (const connection of direct().slice(0, MAX_PROBES)) {
      const local = localAddress(connection)
      if (local !== undefined && gone.includes(local))
        endConnection(connection, new Error(`${local} is no longer ours`))
      else void liveness.probe(connection, gone.length > 0)
    }
    anchors.retryNow()
    options.onNetworkChange?.()
    // Peers without a direct connection may be in reach from here.
    for (const [peerId, current] of wanted) {
      current.laterTries = 0
      if (current.wasDirect && directTo(peerId) === undefined) recover(peerId)
    }
  }

  return {
    want,
    counters: () => counters,
    suspect(connection) {
      // A direct path and the relays die together when it is our own network that changed, and with it all other
      // paths to the same peer when it is the peer's.
      const peerId = connection.remotePeer.toString()
      for (const other of connectionsTo(peerId)) if (other !== connection) void liveness.probe(other, true)
      for (const anchor of anchors.states()) {
        if (!anchor.connected || anchor.peerId === peerId) continue
        for (const relay of connectionsTo(anchor.peerId)) if (relay.direct) void liveness.probe(relay, true)
      }
    },
    start() {
      libp2p.addEventListener('connection:open', onOpen)
      libp2p.addEventListener('connection:close', onClose)
      unwatch = watchInterfaces({
        onChange: onInterfaces,
        ...(options.readInterfaces === undefined ? {} : { read: options.readInterfaces })
      })
    },
    async stop() {
      stopping.abort()
      unwatch?.()
      libp2p.removeEventListener('connection:open', onOpen)
      libp2p.removeEventListener('connection:close', onClose)
      for (const timer of closing.values()) clearTimeout(timer)
      await Promise.allSettled([...recovering.values(), ...punchingLater.values()])
    }
  }
}

/** Whether only streams are on it that stay open for as long as it is, or ask for a sign of life. */
function isIdle({ streams }: Connection): boolean {
  return streams.every(({ protocol }) => isGossip(protocol) || protocol === PING_PROTOCOL)
}

/** The own end of a TCP connection, where js-libp2p's transport or ours shows it. */
function localAddress(connection: Connection): string | undefined {
  const { maConn } = connection as unknown as { maConn?: { socket?: { localAddress?: string } } }
  return maConn?.socket?.localAddress?.replace(/^::ffff:/, '')
}
