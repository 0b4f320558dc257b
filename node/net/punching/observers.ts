/**
 * Sees to it that somebody observes us over every transport that punches. A relay is kept connected by one transport,
 * and its observation says nothing of the port of the other one; so a few relays are dialled by the missing one too.
 */
import type { IdentifyResult, PeerId } from '@libp2p/interface'
import { CODE_P2P, type Multiaddr } from '@multiformats/multiaddr'
import { deadline } from '../timings.ts'
import { punchProtocolOf } from './candidates.ts'
import type { DcutrComponents } from './dcutr.types.ts'
import { type ObservedAddresses, punchingTransports } from './observed.ts'

/** Who speaks it carries circuits, and is kept connected by those that it carries them for. */
const HOP_PROTOCOL = '/libp2p/circuit/relay/0.2.0/hop'
/** Observers of one transport; two are what tells NATs apart that map by destination. */
const OBSERVERS = 2
/** Relays that are remembered; the oldest goes first. */
const MAX_RELAYS = 16
const DIAL_TIMEOUT_MS = 5000
/** After a dial, before the same one is tried again. */
const AGAIN_MS = 30_000

export interface Observers {
  stop: () => void
}

export function createObservers(components: DcutrComponents, observed: ObservedAddresses): Observers {
  const { events, connectionManager, connectionGater, transportManager } = components
  const relays = new Map<string, { peerId: PeerId; addresses: Multiaddr[] }>()
  const triedAtMs = new Map<string, number>()
  const stopping = new AbortController()

  const isConnected = (peerId: PeerId) => connectionManager.getConnections(peerId).some(({ direct }) => direct)
  const seenBy = (protocol: string) =>
    observed.list().reduce((sum, address) => sum + (address.protocol === protocol ? address.seenBy : 0), 0)

  async function dial(address: Multiaddr): Promise<void> {
    if ((await connectionGater.denyDialMultiaddr?.(address)) === true) return
    const limit = deadline(DIAL_TIMEOUT_MS, stopping.signal)
    try {
      await connectionManager.openConnection([address], { signal: limit.signal, force: true })
    } catch {
      // It does not listen there, or the way is closed: then nothing is to be punched that way either.
    } finally {
      limit.clear()
    }
  }

  function look(): void {
    if (stopping.signal.aborted) return
    for (const { punchProtocol } of punchingTransports(transportManager.getTransports())) {
      let missing = OBSERVERS - seenBy(punchProtocol)
      for (const [id, { peerId, addresses }] of relays) {
        if (missing <= 0) break
        if (!isConnected(peerId)) {
          relays.delete(id)
          continue
        }
        const connected = connectionManager
          .getConnections(peerId)
          .some(({ direct, remoteAddr }) => direct && punchProtocolOf(remoteAddr) === punchProtocol)
        const address = addresses.find(known => punchProtocolOf(known) === punchProtocol)
        const key = `${id} ${punchProtocol}`
        const nowMs = performance.now()
        if (connected || address === undefined || nowMs - (triedAtMs.get(key) ?? -AGAIN_MS) < AGAIN_MS) continue
        triedAtMs.set(key, nowMs)
        missing--
        void dial(address.decapsulateCode(CODE_P2P).encapsulate(`/p2p/${id}`))
      }
    }
  }

  const onIdentify = ({ detail }: CustomEvent<IdentifyResult>) => {
    const { connection, peerId, protocols, signedPeerRecord, listenAddrs } = detail
    if (!connection.direct || connection.direction !== 'outbound' || !protocols.includes(HOP_PROTOCOL)) return
    const id = peerId.toString()
    relays.delete(id)
    relays.set(id, { peerId, addresses: signedPeerRecord?.addresses ?? listenAddrs })
    for (const oldest of relays.keys()) {
      if (relays.size <= MAX_RELAYS) break
      relays.delete(oldest)
    }
    for (const key of triedAtMs.keys()) if (!relays.has(key.slice(0, key.indexOf(' ')))) triedAtMs.delete(key)
    look()
  }
  events.addEventListener('peer:identify', onIdentify)
  // An observation that went with its connection is to be replaced; after this event, when the connection is away.
  const unsubscribe = observed.subscribe(() => queueMicrotask(look))
  return {
    stop() {
      stopping.abort()
      unsubscribe()
      events.removeEventListener('peer:identify', onIdentify)
    }
  }
}
