/**
 * Reservations end with the connection they were made on, as circuit relay v2 asks ("when a peer disconnects, its
 * reservation ends"). js-libp2p keeps them until their time is over, two hours by default: peers that came and went
 * would take all places, and each would hold a receive buffer of 64 KiB by the few bytes of its address.
 */
import type { Libp2p, PeerId } from '@libp2p/interface'

/** What of `circuitRelayServer` is needed here. */
interface RelayService {
  reservations: {
    get: (peer: PeerId) => { signal: AbortSignal & { clear: () => void } } | undefined
    delete: (peer: PeerId) => unknown
    keys: () => Iterable<PeerId>
  }
}

export interface Reservations {
  /** Peer ids that may be reached through this relay. */
  peers: () => string[]
  /** Listen no more. */
  stop: () => void
}

export function followReservations(
  libp2p: Pick<Libp2p, 'services' | 'addEventListener' | 'removeEventListener'>
): Reservations {
  const { relay } = libp2p.services as { relay?: RelayService }
  const onGone = ({ detail }: CustomEvent<PeerId>): void => {
    relay?.reservations.get(detail)?.signal.clear()
    relay?.reservations.delete(detail)
  }
  libp2p.addEventListener('peer:disconnect', onGone)
  return {
    peers: () => (relay === undefined ? [] : [...relay.reservations.keys()].map(String)),
    stop: () => libp2p.removeEventListener('peer:disconnect', onGone)
  }
}
