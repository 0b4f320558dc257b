/**
 * The upgrade that needs no punch: the peer announces public addresses, so we dial one. Only what it announces itself
 * (its listeners, what it verified), never what it names for a punch: a dial to an address behind a NAT takes its
 * whole deadline and leaves states in the routers that the punch then meets.
 * @see https://github.com/libp2p/specs/blob/master/relay/DCUtR.md#the-protocol
 */
import type { Connection, IdentifyResult } from '@libp2p/interface'
import { CODE_IP4, CODE_IP6, CODE_P2P, CODE_P2P_CIRCUIT, type Multiaddr } from '@multiformats/multiaddr'
import { deadline } from '../timings.ts'
import type { DcutrContext } from './dcutr-context.ts'

/** How much longer than the peer's CONNECT its identify may take; it was asked for first. */
const IDENTIFY_WAIT_MS = 500

/** Resolves when this connection was identified; `stop` when nobody waits any more. */
export function identified(
  { components: { events } }: DcutrContext,
  connection: Connection
): { done: Promise<void>; stop: () => void } {
  const done = Promise.withResolvers<void>()
  const onIdentify = ({ detail }: CustomEvent<IdentifyResult>) => {
    if (detail.connection.id === connection.id) done.resolve()
  }
  events.addEventListener('peer:identify', onIdentify)
  return {
    done: done.promise,
    stop() {
      events.removeEventListener('peer:identify', onIdentify)
      done.resolve()
    }
  }
}

/** A direct connection to an address the peer announces, or null when there is none. */
export async function dialAnnounced(
  context: DcutrContext,
  relayed: Connection,
  identify: Promise<void>,
  signal: AbortSignal
): Promise<Connection | null> {
  const { components, limits, log } = context
  const patience = deadline(IDENTIFY_WAIT_MS, signal)
  await Promise.race([
    identify,
    new Promise(resolve => patience.signal.addEventListener('abort', resolve, { once: true }))
  ])
  patience.clear()
  signal.throwIfAborted()
  const announced = await announcedAddresses(context, relayed)
  if (announced.length === 0) return null
  // The signal of a dial stays with the connection that it made: this one is aborted only while the dial runs.
  const limit = deadline(limits.punchUnilateralMs, signal)
  try {
    const connection = await components.connectionManager.openConnection(announced, {
      signal: limit.signal,
      force: true
    })
    return connection.direct ? connection : null
  } catch (error) {
    signal.throwIfAborted()
    log('%p announces %d public addresses and answers at none - %e', relayed.remotePeer, announced.length, error)
    return null
  } finally {
    limit.clear()
  }
}

/** An IP address and no relay. Whatever `isUsable` says: a peer's name may lead into our own network. */
function isBareHost(address: Multiaddr): boolean {
  const codes = address.getComponents().map(({ code }) => code)
  return (codes[0] === CODE_IP4 || codes[0] === CODE_IP6) && !codes.includes(CODE_P2P_CIRCUIT)
}

/** Whether we announce an address ourselves that a peer could dial without a punch. */
export function announcesBareHost({ components, isUsable }: DcutrContext): boolean {
  return components.addressManager.getAddresses().some(address => isBareHost(address) && isUsable(address))
}

async function announcedAddresses(
  { components, limits, isUsable }: DcutrContext,
  { remotePeer }: Connection
): Promise<Multiaddr[]> {
  const known = await components.peerStore.get(remotePeer).then(
    ({ addresses }) => addresses,
    () => []
  )
  return known
    .map(({ multiaddr }) => multiaddr)
    .filter(address => isBareHost(address) && isUsable(address))
    .map(address => address.decapsulateCode(CODE_P2P).encapsulate(`/p2p/${remotePeer.toString()}`))
    .filter(address => components.transportManager.dialTransportForMultiaddr(address) !== undefined)
    .slice(0, limits.punchAddresses)
}
