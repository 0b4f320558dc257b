/**
 * What two Warren peers are expected to come to, by what is between them and by transport: the one table that results
 * are held against. It stands on `harness/expected-punches.ts`, which says what any puncher with one port a side can do,
 * and adds what the product does beyond: hard pairs over UDP, a second port over TCP. Pure.
 */
import { behaviourOf, type NatBehaviour, type NatKind } from '../../netem/index.ts'
import { expectedPunch } from '../harness/expected-punches.ts'

/** What a peer stands behind; `public`: nothing, it says its own address. */
export type Place = NatKind | 'public'

export type PunchTransport = 'tcp' | 'quic'

/** Whose libp2p: the product's, or js-libp2p as it comes. */
export type Stack = 'warren' | 'stock'

/** How a direct connection comes about. RFC 5128 section 3.3 (ordinary) and 3.2 (unilateral); the hard pairs: node/net/punching. */
export type Method = 'ordinary' | 'second-port' | 'unilateral' | 'sandwich' | 'birthday'

export interface Expected {
  path: 'direct' | 'relayed'
  /** null where nothing is expected to open. */
  method: Method | null
  /** Why, in one sentence. */
  why: string
  /** A punch that another puncher could make and this one is known not to, with the reason. */
  knownFailure?: string
}

const PUBLIC: NatBehaviour = { ...behaviourOf('one-to-one'), translation: 'none' }

/** The behaviour between a place and the internet. */
export function behaviourAt(place: Place): NatBehaviour {
  return place === 'public' ? PUBLIC : behaviourOf(place)
}

/** What the control puncher comes to. */
export function expectedControl(a: Place, b: Place, transport: PunchTransport): 'direct' | 'none' {
  return expectedPunch(behaviourAt(a), behaviourAt(b), transport === 'tcp' ? 'tcp' : 'udp').path
}

/**
 * @param a where the peer is that dials through the relay
 * @param b where the one is that holds the reservation
 */
export function expected(a: Place, b: Place, transport: PunchTransport, stack: Stack = 'warren'): Expected {
  const [sideA, sideB] = [behaviourAt(a), behaviourAt(b)]
  const isBlocked = transport === 'quic' && (sideA.udpBlocked || sideB.udpBlocked)
  if (isBlocked) return relayed('a side lets no UDP through')
  if (a === 'public')
    return { path: 'direct', method: 'unilateral', why: 'the far end dials the address that is public' }
  if (stack === 'stock') return relayed('nothing is punched', STOCK_FAILURE[transport])
  const punch = expectedPunch(sideA, sideB, transport === 'tcp' ? 'tcp' : 'udp')
  if (punch.path === 'direct') return { path: 'direct', method: 'ordinary', why: punch.why }
  if (transport === 'tcp') return secondPort(sideA, sideB) ?? relayed(punch.why)
  return hard(sideA, sideB) ?? relayed(punch.why)
}

/**
 * Whether what came of a cell is what was expected; null when it is. Every run must be direct where nothing is left to
 * chance; hard pairs are promised 95 %, which few runs cannot tell from a half. A known failure that succeeds in more
 * than half of its runs is news.
 */
export function judge({ path, method, knownFailure }: Expected, successes: number, runs: number): string | null {
  if (runs === 0) return 'nothing was run'
  if (path === 'direct') {
    const isChance = method === 'sandwich' || method === 'birthday'
    const needed = isChance ? (runs >= MANY_RUNS ? HARD_SHARE : HARD_SHARE_OF_FEW) : 1
    return successes >= needed * runs ? null : `direct in ${successes} of ${runs} only`
  }
  if (knownFailure !== undefined)
    return successes * 2 > runs ? `known to fail, and direct in ${successes} of ${runs}: ${knownFailure}` : null
  return successes === 0 ? null : `direct in ${successes} of ${runs}, though nothing should open it`
}

const MANY_RUNS = 20
const HARD_SHARE = 0.95
const HARD_SHARE_OF_FEW = 0.5

/** Upstream says so itself: js-libp2p issue 2620, js-libp2p-quic issue 68, libp2p test-plans issue 864. */
const STOCK_FAILURE: Record<PunchTransport, string> = {
  tcp: 'js-libp2p dials TCP from a random port and both sides begin the handshake (js-libp2p #2620)',
  quic: 'the QUIC package dials from another socket than it listens on (js-libp2p-quic #68)'
}

function relayed(why: string, knownFailure?: string): Expected {
  return { path: 'relayed', method: null, why, ...(knownFailure === undefined ? {} : { knownFailure }) }
}

/**
 * The control puncher's own SYN stands in its way: it left by another mapping than the known one. A SYN from a port that
 * has sent nothing yet gets in, where any port of an address may that was sent to.
 */
function secondPort(a: NatBehaviour, b: NatBehaviour): Expected | null {
  const [keeping, other] = keeps(a) ? [a, b] : [b, a]
  if (!keeps(keeping) || keeps(other) || other.filtering === 'address-and-port-dependent') return null
  return { path: 'direct', method: 'second-port', why: 'a SYN from another port gets in where the first one clashed' }
}

/** One port for all destinations, one that differs for each: by UDP the ports can be foretold, or many be tried. */
function hard(a: NatBehaviour, b: NatBehaviour): Expected | null {
  const symmetric = keeps(a) ? b : a
  if (keeps(a) === keeps(b)) return null
  switch (symmetric.allocation) {
    case 'sequential':
      return { path: 'direct', method: 'sandwich', why: 'the next port lies between two observed ones' }
    case 'random':
      return { path: 'direct', method: 'birthday', why: 'many ports meet many probes' }
    case 'block':
      return { path: 'direct', method: 'birthday', why: 'many ports meet many probes within one block' }
    case 'deterministic':
      // Of the whole flow: many sockets have many ports. A hash of the destination alone would leave them one.
      return { path: 'direct', method: 'birthday', why: 'many ports meet many probes among those that the hash gives' }
    case 'preserving':
      return null
  }
}

function keeps({ mapping }: NatBehaviour): boolean {
  return mapping === 'endpoint-independent'
}
