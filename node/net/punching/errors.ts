/** Why a punch made no direct connection. */
export type PunchCause =
  | 'timeout'
  | 'refused'
  | 'unreachable'
  | 'port-in-use'
  | 'handshake-failed'
  | 'aborted'
  | 'no-transport'

const ADVICE: Record<PunchCause, string> = {
  timeout: 'nothing came back before the deadline. Stay on the relay: the pair of NATs may not be punchable',
  refused: 'every attempt was refused until the end. Stay on the relay, and let routers drop what they do not know',
  unreachable: 'there is no route to it. Stay on the relay, and try again when the network changes',
  'port-in-use': 'the local port is held by somebody else. Free it, or configure another punch port',
  'handshake-failed': 'somebody answered, but not as the peer. Ask the peer for its addresses again',
  aborted: 'it was called off. Try again if it is still wanted',
  'no-transport': 'no transport can punch to such an address. Give an IP address of TCP or QUIC with a peer id'
}

/** Thrown when a punch ends without a direct connection. Nothing of the attempt stays open. */
export class PunchFailedError extends Error {
  readonly code = 'PUNCH_FAILED'
  readonly reason: PunchCause

  constructor(reason: PunchCause, address: string, options?: ErrorOptions) {
    super(`No direct connection to ${address}: ${ADVICE[reason]}.`, options)
    this.name = 'PunchFailedError'
    this.reason = reason
  }
}

/** Thrown when the table of flows is full of live ones. */
export class FlowsFullError extends Error {
  readonly code = 'FLOWS_FULL'

  constructor(max: number) {
    super(`All ${max} UDP flows are in use. Close connections, or raise maxFlows.`)
    this.name = 'FlowsFullError'
  }
}
