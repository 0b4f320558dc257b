/**
 * Sees to it that somebody observes us over every transport that punches, and every IP version that we have. A relay is
 * kept connected by one address, and its observation says nothing of the other ones: who is observed over IPv4 alone
 * and who over IPv6 alone have nowhere to meet. So a few relays are dialled by what is missing too.
 */

import { isIP } from 'node:net'
import { RELAY_V2_HOP_CODEC } from '@libp2p/circuit-relay-v2'
import type { IdentifyResult, PeerId } from '@libp2p/interface'
import { CODE_IP4, CODE_IP6, CODE_P2P, type Multiaddr } from '@multiformats/multiaddr'
import { ownAddresses } from '../life/interfaces.ts'
import { deadline } from '../timings.ts'
import { pairing } from './candidates.ts'
import type { DcutrComponents } from './dcutr.types.ts'
import { type ObservedAddresses, punchingTransports } from './observed.ts'

/** Observers of one transport; two are what tells NATs apart that map by destination, and IPv6 has hardly any. */
const OBSERVERS = { 4: 2, 6: 1 } as const
/** Relays that are remembered; the oldest goes first. */
const MAX_RELAYS = 16
const DIAL_TIMEOUT_MS = 5000
/** After a dial that failed, and after one whose observation went, before the same one is tried again. */
const FAILED_AGAIN_MS = 30_000
const AGAIN_MS = 2000

export interface Observers {
  /** What failed may work from where we are now. */
  networkChanged: () => void
  stop: () => void
}

/** @param options.ownHosts for tests: the IP addresses of this machine */
export function createObservers(
  components: DcutrComponents,
  observed: ObservedAddresses,
  options: { ownHosts?: () => string[] } = {}
): Observers {
  const { events, connectionManager, connectionGater, transportManager } = components
  const relays = new Map<string, { peerId: PeerId; addresses: Multiaddr[] }>()
  /** Relay and what it is dialled by → from when on that may be tried again. */
  const againAtMs = new Map<string, number>()
  const stopping = new AbortController()

  const isConnected = (peerId: PeerId) => connectionManager.getConnections(peerId).some(({ direct }) => direct)
  const seenBy = (pair: string) =>
    observed.list().reduce((sum, { address, seenBy }) => sum + (pairing(address) === pair ? seenBy : 0), 0)

  function forget(id: string): void {
    relays.delete(id)
    // One that is lost and met again observes another network, or another mapping.
    for (const key of againAtMs.keys()) if (key.startsWith(`${id} `)) againAtMs.delete(key)
  }

  async function dial(address: Multiaddr, key: string): Promise<void> {
    if ((await connectionGater.denyDialMultiaddr?.(address)) === true) return
    const limit = deadline(DIAL_TIMEOUT_MS, stopping.signal)
    try {
      // Beside the dial queue, where whoever wants the relay by another address would wait for this one first.
      await transportManager.dial(address, { signal: limit.signal })
      if (againAtMs.has(key)) againAtMs.set(key, performance.now() + AGAIN_MS)
    } catch {
      // It does not listen there, or the way is closed: then nothing is to be punched that way either.
    } finally {
      limit.clear()
    }
  }

  function look(): void {
    if (stopping.signal.aborted) return
    for (const pair of pairs()) {
      let missing = OBSERVERS[pair.family] - seenBy(pair.name)
      for (const [id, { peerId, addresses }] of relays) {
        if (missing <= 0) break
        if (!isConnected(peerId)) {
          forget(id)
          continue
        }
        const connected = connectionManager
          .getConnections(peerId)
          .some(({ direct, remoteAddr }) => direct && pairing(remoteAddr) === pair.name)
        const address = addresses.find(known => pairing(known) === pair.name)
        const key = `${id} ${pair.name}`
        const nowMs = performance.now()
        if (connected || address === undefined || nowMs < (againAtMs.get(key) ?? 0)) continue
        againAtMs.set(key, nowMs + FAILED_AGAIN_MS)
        missing--
        void dial(address.decapsulateCode(CODE_P2P).encapsulate(`/p2p/${id}`), key)
      }
    }
  }

  /** What others may observe us by. */
  function pairs(): Array<{ name: string; family: 4 | 6 }> {
    const own = (options.ownHosts ?? ownAddresses)()
    const families = ([4, 6] as const).filter(family => own.length === 0 || own.some(host => isIP(host) === family))
    return punchingTransports(transportManager.getTransports()).flatMap(({ punchProtocol }) =>
      families.map(family => ({ name: `${family === 4 ? CODE_IP4 : CODE_IP6} ${punchProtocol}`, family }))
    )
  }

  const onIdentify = ({ detail }: CustomEvent<IdentifyResult>) => {
    const { connection, peerId, protocols, signedPeerRecord, listenAddrs } = detail
    // A relay is kept connected by those that it carries circuits for.
    if (!connection.direct || connection.direction !== 'outbound' || !protocols.includes(RELAY_V2_HOP_CODEC)) return
    const id = peerId.toString()
    relays.delete(id)
    relays.set(id, { peerId, addresses: signedPeerRecord?.addresses ?? listenAddrs })
    for (const oldest of relays.keys()) {
      if (relays.size <= MAX_RELAYS) break
      forget(oldest)
    }
    look()
  }
  events.addEventListener('peer:identify', onIdentify)
  // An observation that went with its connection is to be replaced; after this event, when the connection is away.
  const unsubscribe = observed.subscribe(() => queueMicrotask(look))
  return {
    networkChanged() {
      againAtMs.clear()
      look()
    },
    stop() {
      stopping.abort()
      unsubscribe()
      events.removeEventListener('peer:identify', onIdentify)
    }
  }
}
