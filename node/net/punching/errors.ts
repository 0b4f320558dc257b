/** Why a punch did not lead to a connection; one class, the cause is named. */

/** What stopped one punch at one address. */
export type PunchCause =
  | 'timeout'
  | 'refused'
  | 'unreachable'
  | 'port-in-use'
  | 'handshake-failed'
  | 'aborted'
  | 'no-transport'

const ADVICE: Record<PunchCause, string> = {
  timeout: 'nothing came back in time; stay on the relay or try again',
  refused: 'the address answered that nobody is there; ask the peer for its addresses again',
  unreachable: 'the network has no way there; look at the own interfaces and routes',
  'port-in-use': 'the local port already has a connection to this address; close that one first',
  'handshake-failed': 'the address answered, but not as this peer; ask the peer for its addresses again',
  aborted: 'whoever asked for it ended it',
  'no-transport': 'no transport here punches addresses of this kind; add one to createLibp2p'
}

/** Thrown when a punch at an address made no connection. Nothing of the attempt is left open. */
export class PunchFailedError extends Error {
  readonly code = 'PUNCH_FAILED'
  readonly reason: PunchCause

  constructor(reason: PunchCause, address: string, options?: ErrorOptions) {
    super(`No direct connection to ${address}: ${ADVICE[reason]}.`, options)
    this.name = 'PunchFailedError'
    this.reason = reason
  }
}
