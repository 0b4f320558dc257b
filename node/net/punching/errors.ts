/** Why an attempt to open a direct connection ended without one. */
export type PunchCause =
  | 'timeout'
  | 'refused'
  | 'unreachable'
  | 'port-in-use'
  | 'handshake-failed'
  | 'aborted'
  | 'no-transport'

const ADVICE: Record<PunchCause, string> = {
  timeout: 'no answer came in time; the NATs of both sides may be of kinds that cannot be punched: stay on the relay',
  refused: 'the other side refused; both sides have to punch at the same moment: try again',
  unreachable: 'there is no route to it; look at the own network',
  'port-in-use': 'the port to punch from is taken by another program; free it or configure another',
  'handshake-failed': 'packets passed but the handshake failed; look at the versions of both sides',
  aborted: 'the attempt was given up',
  'no-transport': 'no transport here can punch towards this address'
}

/** Thrown when an address could not be punched. Nothing of the attempt stays open. */
export class PunchFailedError extends Error {
  readonly code = 'PUNCH_FAILED'
  readonly reason: PunchCause

  constructor(reason: PunchCause, address: string, options?: ErrorOptions) {
    super(`Punching ${address} failed (${reason}): ${ADVICE[reason]}.`, options)
    this.name = 'PunchFailedError'
    this.reason = reason
  }
}
