/**
 * What two peers do, by the NATs that both have seen. One table; both ends read it and must come to the same.
 *
 * | one \ other          | cone      | sequential | random, block | hash  | unknown |
 * | -------------------- | --------- | ---------- | ------------- | ----- | ------- |
 * | cone, strict         | dcutr     | sandwich   | birthday      | relay | relay   |
 * | cone, lets others in | dcutr     | dcutr      | dcutr         | dcutr | relay   |
 * | any symmetric        | see above | relay      | relay         | relay | relay   |
 *
 * "Cone" is endpoint-independent mapping. One that is known to let another port of the same address in needs no more than
 * the ordinary punch, which learns the symmetric side's port from the packet that arrives (QUIC). A mapping of which only one reflector's address is known
 * counts as cone as long as two ports saw the same: if it is address-dependent after all, the punch fails as before.
 */
import type { NatKindSeen } from './kinds.ts'

export type HardMethod = 'sandwich' | 'birthday'

/** Why a pair is left to the ordinary punch or to the relay. */
export type NoPunchReason =
  | 'both-cone'
  | 'cone-lets-in'
  | 'both-symmetric'
  | 'hash-allocation'
  | 'allocation-unknown'
  | 'kind-unknown'

export type Decision =
  | { method: HardMethod; symmetric: 'own' | 'other' }
  | { method: 'dcutr' | 'relay'; reason: NoPunchReason }

type Side = 'cone' | 'symmetric' | 'unknown'

function sideOf({ mapping, allocation }: NatKindSeen): Side {
  if (mapping === 'unknown') return allocation === 'unknown' ? 'unknown' : 'cone'
  return mapping === 'endpoint-independent' ? 'cone' : 'symmetric'
}

/** Whether other destinations get other mappings. */
export function isSymmetric(kind: NatKindSeen): boolean {
  return sideOf(kind) === 'symmetric'
}

/** Whether a packet from the right address comes in, whatever port it is from. */
function letsIn({ filtering }: NatKindSeen): boolean {
  return filtering === 'endpoint-independent' || filtering === 'address-dependent'
}

/** Symmetric in `own` words: `decide(a, b)` and `decide(b, a)` differ only in who is `own`. */
export function decide(own: NatKindSeen, other: NatKindSeen): Decision {
  const sides = [sideOf(own), sideOf(other)] as const
  if (sides.includes('unknown')) return { method: 'relay', reason: 'kind-unknown' }
  if (sides[0] === 'cone' && sides[1] === 'cone') return { method: 'dcutr', reason: 'both-cone' }
  if (sides[0] === sides[1]) return { method: 'relay', reason: 'both-symmetric' }
  const symmetric = sides[0] === 'symmetric' ? 'own' : 'other'
  if (letsIn(symmetric === 'own' ? other : own)) return { method: 'dcutr', reason: 'cone-lets-in' }
  switch ((symmetric === 'own' ? own : other).allocation) {
    case 'sequential':
      return { method: 'sandwich', symmetric }
    case 'random':
    case 'block':
      return { method: 'birthday', symmetric }
    case 'hash':
      return { method: 'relay', reason: 'hash-allocation' }
    default:
      return { method: 'relay', reason: 'allocation-unknown' }
  }
}
