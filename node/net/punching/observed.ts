/**
 * What other peers saw as our address, kept for punching: only of connections that we dialled, not relayed, and that
 * left from the port which punches leave from. js-libp2p drops observed TCP addresses and gives the others to nobody
 * before they are verified as dialable, which an address behind a NAT never is.
 */
import type { Connection, IdentifyResult, Libp2pEvents, Transport, TypedEventTarget } from '@libp2p/interface'
import { CODE_P2P, type Multiaddr } from '@multiformats/multiaddr'
import { type PunchProtocol, punchProtocolOf } from './candidates.ts'
import { type PunchingTransport, punchingTransport } from './punch.types.ts'

/** Observations kept; the oldest goes first. Each is of a connection we dialled, so few peers can add to it. */
export const MAX_OBSERVATIONS = 64

/** An address of ours as others see it. */
export interface ObservedAddress {
  /** Without peer id. */
  address: Multiaddr
  protocol: PunchProtocol
  /** How many peers see us at this address now. */
  seenBy: number
  /** Peer id of the last one who said so. */
  observer: string
}

export interface ObservedAddresses {
  /** Newest first. Private addresses too: a peer in our own network sees us there. */
  list: () => ObservedAddress[]
  /** Called after the list changed; gives the function that ends it. */
  subscribe: (listener: () => void) => () => void
  /** Forget everything and stop listening. */
  stop: () => void
}

interface Observation {
  address: Multiaddr
  protocol: PunchProtocol
  observer: string
  connectionId: string
}

/**
 * @param init.events the `events` component of libp2p, or libp2p itself
 * @param init.transports asked at each observation: `() => components.transportManager.getTransports()`
 */
export function createObservedAddresses(init: {
  events: TypedEventTarget<Libp2pEvents>
  transports: () => readonly Transport[]
}): ObservedAddresses {
  // Of each observer, protocol and family the newest; in the order in which they came.
  const observations = new Map<string, Observation>()
  const listeners = new Set<() => void>()
  const changed = () => {
    for (const listener of [...listeners]) listener()
  }

  const onIdentify = ({ detail }: CustomEvent<IdentifyResult>) => {
    const { connection, observedAddr } = detail
    if (observedAddr === undefined || connection.direction !== 'outbound' || !connection.direct) return
    const address = observedAddr.decapsulateCode(CODE_P2P)
    const protocol = punchProtocolOf(address)
    if (protocol === null) return
    const transport = punchingTransports(init.transports()).find(({ punchProtocol }) => punchProtocol === protocol)
    if (transport === undefined || !transport.dialledFromPunchPort(connection)) return
    const observer = connection.remotePeer.toString()
    const key = `${observer} ${protocol} ${address.getComponents()[0]?.code}`
    observations.delete(key)
    observations.set(key, { address, protocol, observer, connectionId: connection.id })
    for (const oldest of observations.keys()) {
      if (observations.size <= MAX_OBSERVATIONS) break
      observations.delete(oldest)
    }
    changed()
  }

  // The mapping may end with its last connection: a later one can have another port.
  const onClose = ({ detail: { id } }: CustomEvent<Connection>) => {
    const before = observations.size
    for (const [key, { connectionId }] of observations) if (connectionId === id) observations.delete(key)
    if (observations.size < before) changed()
  }

  init.events.addEventListener('peer:identify', onIdentify)
  init.events.addEventListener('connection:close', onClose)
  return {
    list() {
      const byAddress = new Map<string, ObservedAddress>()
      for (const { address, protocol, observer } of [...observations.values()].reverse()) {
        const known = byAddress.get(address.toString())
        if (known === undefined) byAddress.set(address.toString(), { address, protocol, seenBy: 1, observer })
        else known.seenBy++
      }
      return [...byAddress.values()]
    },
    subscribe(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    stop() {
      init.events.removeEventListener('peer:identify', onIdentify)
      init.events.removeEventListener('connection:close', onClose)
      observations.clear()
      listeners.clear()
    }
  }
}

/** Those of a list that punch. */
export function punchingTransports(transports: readonly Transport[]): PunchingTransport[] {
  return transports.filter((transport): transport is PunchingTransport => punchingTransport in transport)
}
