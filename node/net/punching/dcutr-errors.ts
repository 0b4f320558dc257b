/** Errors of the DCUtR service: one class a condition, `code` is stable, `outcome` is what the counters call it. */
import type { PunchCause } from './errors.ts'

/** How an attempt ended, as the counters have it. */
export type PunchOutcome =
  /** This transport made the direct connection. */
  | 'direct'
  /** Another transport of the same attempt was faster. */
  | 'overtaken'
  /** One side could be dialled: no punch was needed. */
  | 'unilateral'
  /** The method for hard pairs made it. */
  | 'hard'
  /** A direct connection came while nothing of ours was making it. */
  | 'met'
  | PunchCause
  | 'busy'
  | 'no-addresses'
  | 'not-relayed'
  | 'peer-gone'
  | 'protocol'
  | 'rate-limited'
  | 'refused-by-peer'
  | 'superseded'
  | 'stopped'
  | 'unsupported'
  /** A mistake of ours; the log has it. */
  | 'internal'

/** Base of what this service throws on purpose. */
export class DcutrError extends Error {
  readonly code: string
  readonly outcome: PunchOutcome

  constructor(code: string, outcome: PunchOutcome, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = new.target.name
    this.code = code
    this.outcome = outcome
  }
}

/** Thrown when a message is malformed, over its limit, or not the one whose turn it is (a replay, an unasked SYNC). */
export class DcutrProtocolError extends DcutrError {
  constructor(why: string, options?: ErrorOptions) {
    super('DCUTR_PROTOCOL', 'protocol', `The peer does not speak /libp2p/dcutr: ${why}.`, options)
  }
}

const USED_UP = {
  peer: 'P2P_PUNCH_PER_PEER_PER_MINUTE',
  all: 'P2P_PUNCH_PER_MINUTE',
  host: 'P2P_PUNCH_PER_HOST_PER_MINUTE'
} as const

/** Thrown when a peer, or all together, asked for more punches than are allowed, or for more at the hosts it named. */
export class DcutrRateLimitedError extends DcutrError {
  /** Whose allowance is used up. */
  readonly whose: keyof typeof USED_UP

  constructor(peerId: string, whose: keyof typeof USED_UP) {
    const why = `No punch with ${peerId} now: ${USED_UP[whose]} is used up. Ask in a minute.`
    super('DCUTR_RATE_LIMITED', 'rate-limited', why)
    this.whose = whose
  }
}

/** Thrown when as many punches as are allowed are under way or waiting. */
export class DcutrBusyError extends DcutrError {
  constructor() {
    super('DCUTR_BUSY', 'busy', 'Too many punches at once (P2P_PUNCH_MAX_AT_ONCE). Ask again in a moment.')
  }
}

/** Thrown when there is no pair of addresses to punch between. */
export class NoPunchAddressesError extends DcutrError {
  /** Who has none: we were observed by nobody, or nothing the peer named is usable. */
  readonly whose: 'own' | 'peer'

  constructor(whose: 'own' | 'peer') {
    super(
      'DCUTR_NO_ADDRESSES',
      'no-addresses',
      whose === 'own'
        ? 'No peer has observed an address of ours. Keep a relay connected by a punching transport.'
        : 'The peer named no public address of a transport that we share. Stay on the relay.'
    )
    this.whose = whose
  }
}

/** Thrown when the peer, its stream or the relayed connection is gone in the middle. */
export class PeerGoneError extends DcutrError {
  constructor(when: string, options?: ErrorOptions) {
    super('DCUTR_PEER_GONE', 'peer-gone', `The peer was gone ${when}. Connect to it again.`, options)
  }
}

/** Thrown when the peer reset the stream before it answered: busy, rate-limited, or it has no use for our addresses. */
export class PunchRefusedError extends DcutrError {
  constructor(options?: ErrorOptions) {
    super('DCUTR_REFUSED', 'refused-by-peer', 'The peer refused to punch. Try again later.', options)
  }
}

/** Thrown when the peer does not speak the protocol. */
export class DcutrUnsupportedError extends DcutrError {
  constructor(options?: ErrorOptions) {
    super('DCUTR_UNSUPPORTED', 'unsupported', 'The peer does not speak /libp2p/dcutr. Stay on the relay.', options)
  }
}

/** Thrown when somebody asks for a punch and there is no relayed connection to agree on it over. */
export class NotRelayedError extends DcutrError {
  constructor(peerId: string) {
    super('DCUTR_NOT_RELAYED', 'not-relayed', `No relayed connection to ${peerId}. Dial it through a relay first.`)
  }
}

/** Thrown when a newer attempt with the same peer took the place of this one. */
export class PunchSupersededError extends DcutrError {
  constructor() {
    super('DCUTR_SUPERSEDED', 'superseded', 'The peer began another punch, which goes before this one.')
  }
}

/** Thrown when the method for hard pairs was faster. */
export class PunchOvertakenError extends DcutrError {
  constructor() {
    super('DCUTR_OVERTAKEN', 'overtaken', 'Another way made the direct connection.')
  }
}

/** Thrown when the peer did not answer in time. */
export class DcutrTimeoutError extends DcutrError {
  constructor(what: string, timeoutMs: number) {
    super('DCUTR_TIMEOUT', 'timeout', `The peer ${what} for ${timeoutMs} ms. Try again.`)
  }
}

/** Thrown when the peer said nothing where an attempt is agreed on: it is given no more of them. */
export class DcutrSilentError extends DcutrTimeoutError {}

/** Thrown when the service stops in the middle. */
export class DcutrStoppedError extends DcutrError {
  constructor() {
    super('DCUTR_STOPPED', 'stopped', 'The service stops.')
  }
}
