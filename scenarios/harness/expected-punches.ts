/**
 * Which pairs of NATs two hosts can open to each other by themselves, in the way of RFC 5128 (sections 3.3 and 3.4). The one
 * place where that is said; the control puncher is held against it, and so are products that punch. Pure.
 *
 * The puncher: each side uses one local port, knows of the other the endpoint that a third party saw (`known` below),
 * sends there at the same time, answers whoever it hears from, and takes what comes in. It predicts no ports.
 */
import type { NatBehaviour } from '../../netem/index.ts'

export type PunchProtocol = 'udp' | 'tcp'

export interface ExpectedPunch {
  path: 'direct' | 'none'
  /** Why, in one sentence. */
  why: string
}

type Side = Pick<NatBehaviour, 'mapping' | 'filtering' | 'udpBlocked'>

/** The same both ways: whoever begins, both send. */
export function expectedPunch(a: Side, b: Side, protocol: PunchProtocol): ExpectedPunch {
  if (protocol === 'udp' && (a.udpBlocked || b.udpBlocked)) return { path: 'none', why: 'a side lets no UDP through' }
  const [toB, toA] = [reach(a, b), reach(b, a)]
  // Whatever got in has a session, and its answer leaves by the mapping that it came in through. TCP needs nothing more:
  // the SYN meets a listener or, at an endpoint that is just dialling back, opens simultaneously.
  if (toB.gets) return { path: 'direct', why: toB.why }
  if (toA.gets) return { path: 'direct', why: toA.why }
  return { path: 'none', why: toB.why }
}

/** Whether what `from` sends to the known endpoint of `to`, which sends to that of `from`, gets in. */
function reach(from: Side, to: Side): { gets: boolean; why: string } {
  const fromKeeps = from.mapping === 'endpoint-independent'
  const toKeeps = to.mapping === 'endpoint-independent'
  if (to.filtering === 'address-and-port-dependent') {
    if (fromKeeps && toKeeps) return { gets: true, why: 'each sends from the endpoint that the other sends to' }
    return {
      gets: false,
      why: fromKeeps
        ? 'what it opened for the other is another port than the known one'
        : 'the other comes from a port that nobody was told of'
    }
  }
  // Its own packet to that endpoint went first, by another mapping, and the two flows exclude each other.
  if (fromKeeps && !toKeeps) return { gets: false, why: 'its flow to the other has another port than the known one' }
  return to.filtering === 'endpoint-independent'
    ? { gets: true, why: 'one side lets everybody in by a port that is open' }
    : { gets: true, why: 'one side lets in any port of an address that was sent to' }
}
