/** Why a hard punch ended as it did: every end has one of these names. */
import type { NoPunchReason } from './decide.ts'

export type HardPunchReason =
  | NoPunchReason
  /** Switched off here. */
  | 'switched-off'
  /** The connection is not relayed, or not by a relay that was configured here and is connected. */
  | 'no-relay'
  /** The relay, and every other one, has no reflector. */
  | 'no-reflector'
  /** The reflector did not answer, so that UDP is blocked or lost. */
  | 'reflector-silent'
  /** The relay does not say where it sees the peer: no consent of the peer, or no such peer. */
  | 'address-unknown'
  /** What the relay sees is not where our UDP leaves from. */
  | 'address-differs'
  | 'private-address'
  /** The peer does not speak the protocol, or has it switched off. */
  | 'peer-without'
  | 'peer-refused'
  /** The peer has another hard punch under way. */
  | 'peer-busy'
  | 'peer-gone'
  | 'protocol'
  | 'busy'
  | 'too-often'
  /** No probe met a mapping. */
  | 'no-meeting'
  /** A router took our packets for its own and moved the cone side's port. */
  | 'port-moved'
  | 'timeout'
  | 'aborted'
  /** The sockets met, but no connection came of it. */
  | 'handshake'
  /** The machine has no sockets left, or another failure of it. */
  | 'system'

const ADVICE: Partial<Record<HardPunchReason, string>> = {
  'too-often': 'wait an hour, or raise P2P_HARD_PUNCH_PER_PAIR_PER_HOUR, _PER_HOST_PER_HOUR or _PER_HOUR',
  'switched-off': 'set P2P_HARD_PUNCH=true to try',
  'no-reflector': 'give the relay P2P_REFLECTOR_PORTS',
  'no-relay': 'name the relay of this connection among the relays or first peers of both sides, and connect to it',
  'peer-busy': 'the peer has another hard punch under way; try again in some seconds',
  busy: 'another hard punch is under way; try again in some seconds',
  system: 'look at the limit of open files'
}

/** Thrown inside an attempt; callers of `punch` see null and the reason in the outcome. */
export class HardPunchError extends Error {
  readonly code = 'HARD_PUNCH_FAILED'
  readonly reason: HardPunchReason

  constructor(reason: HardPunchReason, options?: ErrorOptions) {
    super(`The hard punch ended (${reason}): ${ADVICE[reason] ?? 'stay on the relay'}.`, options)
    this.name = 'HardPunchError'
    this.reason = reason
  }
}
