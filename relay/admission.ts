/**
 * Who may connect: so many new connections a minute of one peer and from one address, and whoever makes more is blocked
 * for a while; and so many that one address has open, because connections are few and identities free. js-libp2p asks
 * before it answers a connection (address) and again once it knows the peer.
 *
 * Attempts while blocked do not lengthen the block: an honest peer that keeps trying comes back when it ends.
 */
import type { ConnectionGater, MultiaddrConnection } from '@libp2p/interface'
import { CODE_IP4, CODE_IP6, CODE_P2P_CIRCUIT, type Multiaddr } from '@multiformats/multiaddr'
import { hostOf } from '../node/index.ts'

/** Why a connection was refused; `libp2p-limit`: by js-libp2p, over one of the connection limits of node/net. */
export const REFUSALS = [
  'host-rate',
  'host-blocked',
  'host-pending',
  'host-connections',
  'peer-rate',
  'peer-blocked',
  'libp2p-limit'
] as const
export type Refusal = (typeof REFUSALS)[number]

export interface Admission {
  /** For js-libp2p's connection gater. */
  gater: Required<Pick<ConnectionGater, 'denyInboundConnection' | 'denyInboundEncryptedConnection'>>
  /** Counts what js-libp2p refuses before it asks the gater. */
  watch: (manager: { acceptIncomingConnection: (connection: MultiaddrConnection) => boolean }) => void
  /** Refused since the start. */
  refused: () => Readonly<Record<Refusal, number>>
  /** Hosts and peers that are blocked now. */
  blocked: () => { hosts: number; peers: number }
}

const WINDOW_MS = 60_000
/**
 * Hosts, and peers, that are counted, and as many that are blocked; of those counted the one longest known is forgotten for
 * a new one, of those blocked the one whose time is over first.
 */
const MAX_REMEMBERED = 10_000

interface Seen {
  /** When the window began. */
  sinceMs: number
  connections: number
}

/** @param options.nowMs for tests */
export function createAdmission(options: {
  connectionsPerPeer: number
  connectionsPerHost: number
  /** Connections of one host whose handshake is under way. */
  pendingPerHost: number
  /** Connections of one host that are open, those under way included. */
  openPerHost: number
  blockMs: number
  maxRemembered?: number
  nowMs?: () => number
}): Admission {
  const { blockMs, maxRemembered = MAX_REMEMBERED, nowMs = () => performance.now() } = options
  const hosts = createWindows({ perMinute: options.connectionsPerHost, blockMs, max: maxRemembered, nowMs })
  const peers = createWindows({ perMinute: options.connectionsPerPeer, blockMs, max: maxRemembered, nowMs })
  const counts = Object.fromEntries(REFUSALS.map(reason => [reason, 0])) as Record<Refusal, number>

  function refuse(what: 'host' | 'peer', why: 'rate' | 'blocked' | 'pending' | 'connections' | null): boolean {
    if (why === null) return false
    counts[`${what}-${why}` as Refusal]++
    return true
  }

  /** Hosts, and how many of their connections are in their handshake, and open. Silent handshakes would keep all places. */
  const pending = createTally()
  const open = createTally()
  const ending = new WeakMap<MultiaddrConnection, () => void>()

  function begin(connection: MultiaddrConnection, host: string): void {
    // One that is gone already tells its end to nobody.
    if (connection.status !== 'open' && connection.status !== 'closing') return
    const endHandshake = pending.add(host)
    const end = open.add(host)
    ending.set(connection, endHandshake)
    connection.addEventListener(
      'close',
      () => {
        endHandshake()
        end()
      },
      { once: true }
    )
  }

  return {
    gater: {
      denyInboundConnection(connection) {
        if (!isFromHost(connection.remoteAddr)) return false
        const host = hostOf(connection.remoteAddr)
        if (refuse('host', hosts.take(host))) return true
        if (pending.of(host) >= options.pendingPerHost) return refuse('host', 'pending')
        if (open.of(host) >= options.openPerHost) return refuse('host', 'connections')
        begin(connection, host)
        return false
      },
      denyInboundEncryptedConnection(peerId, connection) {
        ending.get(connection)?.()
        return refuse('peer', peers.take(peerId.toString()))
      }
    },
    watch(manager) {
      const accept = manager.acceptIncomingConnection.bind(manager)
      manager.acceptIncomingConnection = connection => {
        const isAccepted = accept(connection)
        if (!isAccepted) counts['libp2p-limit']++
        return isAccepted
      }
    },
    refused: () => counts,
    blocked: () => ({ hosts: hosts.blocked(), peers: peers.blocked() })
  }
}

/** Connections through another relay come from that relay's address: it is not to be blocked for them. */
function isFromHost(address: Multiaddr): boolean {
  const parts = address.getComponents()
  const first = parts[0]?.code
  return (first === CODE_IP4 || first === CODE_IP6) && !parts.some(({ code }) => code === CODE_P2P_CIRCUIT)
}

/** Counts of keys that have any. What `add` gives takes it off again, once. */
function createTally() {
  const counts = new Map<string, number>()
  return {
    of: (key: string): number => counts.get(key) ?? 0,
    add(key: string): () => void {
      counts.set(key, (counts.get(key) ?? 0) + 1)
      let isIn = true
      return () => {
        if (!isIn) return
        isIn = false
        const left = (counts.get(key) ?? 1) - 1
        if (left > 0) counts.set(key, left)
        else counts.delete(key)
      }
    }
  }
}

function createWindows(options: { perMinute: number; blockMs: number; max: number; nowMs: () => number }) {
  const { perMinute, blockMs, max, nowMs } = options
  /** In the order in which their windows began. */
  const counted = new Map<string, Seen>()
  /**
   * Until when each is blocked, in that order. By themselves: others that come in numbers must not make one forgotten, nor
   * these leave no room to count anybody.
   */
  const blockedUntilMs = new Map<string, number>()

  function forgetOver(now: number): void {
    for (const [key, untilMs] of blockedUntilMs) {
      if (now < untilMs) break
      blockedUntilMs.delete(key)
    }
  }

  return {
    /** Counts a connection of `key`; says why it is refused, or null. */
    take(key: string): 'rate' | 'blocked' | null {
      const now = nowMs()
      forgetOver(now)
      if (blockedUntilMs.has(key)) return 'blocked'
      let entry = counted.get(key)
      if (entry === undefined || now - entry.sinceMs >= WINDOW_MS) {
        counted.delete(key)
        makeRoom(counted, max)
        entry = { sinceMs: now, connections: 0 }
        counted.set(key, entry)
      }
      if (entry.connections < perMinute) {
        entry.connections++
        return null
      }
      counted.delete(key)
      makeRoom(blockedUntilMs, max)
      blockedUntilMs.set(key, now + blockMs)
      return 'rate'
    },
    blocked(): number {
      forgetOver(nowMs())
      return blockedUntilMs.size
    }
  }
}

function makeRoom(entries: Map<string, unknown>, max: number): void {
  for (const oldest of entries.keys()) {
    if (entries.size < max) return
    entries.delete(oldest)
  }
}
