/** Connections of a peer as they open, carry bytes and close. */
import type { Connection, Libp2p } from '@libp2p/interface'
import type { ClockMs, SeenConnection } from './peer.types.ts'

const NS_PER_MS = 1e6
/** Of one peer: a run makes a handful. */
const MAX_KEPT = 256

export interface Watch {
  of: (peerId: string) => SeenConnection[]
  /** Count bytes from now on. */
  mark: () => void
  /** Bytes that ever came in through relays from the peer. */
  relayedBytes: (peerId: string) => number
  /** Resolves true when there is a direct connection to the peer, false when the signal aborts first. */
  direct: (peerId: string, signal: AbortSignal) => Promise<boolean>
}

/** The machine's monotonic clock: the same in every process of a testnet. */
export function clockMs(): ClockMs {
  return Number(process.hrtime.bigint()) / NS_PER_MS
}

/** Watches from before the node starts, so that no connection is missed. */
export function watchConnections(libp2p: Libp2p): Watch {
  const seen = new Map<string, SeenConnection[]>()
  const relayed = new Map<string, number>()
  const listeners = new Set<() => void>()
  const of = (peerId: string): SeenConnection[] => seen.get(peerId) ?? []

  libp2p.addEventListener('connection:open', ({ detail: connection }) => {
    const peerId = connection.remotePeer.toString()
    const kept = of(peerId)
    const entry: SeenConnection = {
      address: connection.remoteAddr.toString(),
      isDirect: connection.direct,
      openAtMs: clockMs(),
      closedAtMs: null,
      bytesSinceMark: 0
    }
    if (kept.length < MAX_KEPT) seen.set(peerId, [...kept, entry])
    countBytes(connection, bytes => {
      entry.bytesSinceMark += bytes
      if (!entry.isDirect) relayed.set(peerId, (relayed.get(peerId) ?? 0) + bytes)
    })
    connection.addEventListener('close', () => {
      entry.closedAtMs = clockMs()
    })
    for (const listener of listeners) listener()
  })

  return {
    of,
    relayedBytes: peerId => relayed.get(peerId) ?? 0,
    mark() {
      for (const entries of seen.values()) for (const entry of entries) entry.bytesSinceMark = 0
    },
    async direct(peerId, signal) {
      const isDirect = (): boolean => of(peerId).some(each => each.isDirect)
      if (isDirect()) return true
      return await new Promise(resolve => {
        const settle = (): void => {
          if (!isDirect() && !signal.aborted) return
          listeners.delete(settle)
          signal.removeEventListener('abort', settle)
          resolve(isDirect())
        }
        listeners.add(settle)
        signal.addEventListener('abort', settle, { once: true })
        settle()
      })
    }
  }
}

/** What comes in below the multiplexer. js-libp2p's connections hold the way below them without telling its type. */
function countBytes(connection: Connection, count: (bytes: number) => void): void {
  const { maConn } = connection as unknown as { maConn?: EventTarget }
  maConn?.addEventListener('message', event => count((event as unknown as { data: Uint8Array }).data.byteLength))
}
