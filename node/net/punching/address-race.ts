/** One attempt at all addresses at once: the first direct connection wins, whichever side's packets made it. */
import type { Connection, Libp2pEvents, TypedEventTarget } from '@libp2p/interface'
import { pause } from '../timings.ts'
import { type Candidate, type PunchProtocol, punchProtocolOf } from './candidates.ts'
import type { PunchOutcome } from './dcutr-errors.ts'
import { type PunchCause, PunchFailedError } from './errors.ts'
import type { PunchingTransport } from './punch.types.ts'

/** What became of each transport in one attempt. */
export type TransportOutcomes = Map<PunchProtocol, PunchOutcome>

export interface Race {
  /** The connection that is up. */
  connection: Connection
  outcomes: TransportOutcomes
}

/** Thrown when no address led to a connection. */
export class RaceLostError extends PunchFailedError {
  readonly outcomes: TransportOutcomes

  constructor(reason: PunchCause, address: string, outcomes: TransportOutcomes, options: ErrorOptions) {
    super(reason, address, options)
    this.name = 'RaceLostError'
    this.outcomes = outcomes
  }
}

export interface RaceOptions {
  events: TypedEventTarget<Libp2pEvents>
  peerId: string
  transports: readonly PunchingTransport[]
  candidates: readonly Candidate[]
  initiator: boolean
  /** Ids of direct connections to the peer from before the punch: they may be dead, and win nothing. */
  known: ReadonlySet<string>
  /** What TCP waits before it dials: half the round trip, so that both SYNs leave at the same time. */
  tcpDelayMs: number
  /**
   * How long the losers go on after the first success. The initiator knows first which connection is complete and ends
   * the others at once; the other side waits for its word, or each could end what the other had chosen.
   */
  graceMs: number
  /** Ends the attempt. */
  signal: AbortSignal
}

/**
 * Punch at every candidate in parallel.
 * @throws RaceLostError when all failed; the signal's reason when that ended it
 */
export async function race(options: RaceOptions): Promise<Race> {
  const { events, peerId, initiator, signal, graceMs } = options
  signal.throwIfAborted()
  const losers = new AbortController()
  const stop = AbortSignal.any([signal, losers.signal])
  const failures: Array<{ protocol: PunchProtocol; error: unknown }> = []

  // A connection can also come in by a listener, or because the peer could dial us after all.
  const arrival = Promise.withResolvers<Connection>()
  const onOpen = ({ detail }: CustomEvent<Connection>) => {
    const { id, direct, remotePeer } = detail
    if (direct && !options.known.has(id) && remotePeer.toString() === peerId) arrival.resolve(detail)
  }
  events.addEventListener('connection:open', onOpen)

  const attempts = options.candidates.map(async ({ address, protocol }) => {
    try {
      const transport = options.transports.find(({ punchProtocol }) => punchProtocol === protocol)
      if (transport === undefined) throw new PunchFailedError('no-transport', address.toString())
      // QUIC opens the own NAT at once: a first packet that finds it closed costs the peer a retransmission of 1 s.
      if (protocol === 'tcp' && options.tcpDelayMs > 0) await pause(options.tcpDelayMs, stop)
      if (stop.aborted) throw new PunchFailedError('aborted', address.toString())
      // An own signal each: some transports leave it attached to the socket, and a winner must never be ended by it.
      const own = new AbortController()
      const onStop = () => own.abort(stop.reason)
      stop.addEventListener('abort', onStop, { once: true })
      try {
        const connection = await transport.punch(address, { initiator, signal: own.signal })
        if (!options.known.has(connection.id)) return connection
        throw new PunchFailedError('port-in-use', address.toString())
      } finally {
        stop.removeEventListener('abort', onStop)
      }
    } catch (error) {
      failures.push({ protocol, error })
      throw error
    }
  })
  const settled = Promise.allSettled(attempts)
  const aborted = Promise.withResolvers<never>()
  const onAbort = () => aborted.reject(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  let connection: Connection | undefined
  try {
    connection = await Promise.race([Promise.any(attempts), arrival.promise, aborted.promise])
    return { connection, outcomes: outcomesOf(options, connection, failures) }
  } catch (cause) {
    // Transports give up at the signal; what they say then is that they were told to.
    await settled
    signal.throwIfAborted()
    const outcomes = outcomesOf(options, undefined, failures)
    const [first] = outcomes.values()
    const reason = failures.map(({ error }) => causeOf(error)).find(found => found !== 'aborted') ?? causeOf(first)
    throw new RaceLostError(reason, `${peerId} (${options.candidates.length} addresses)`, outcomes, { cause })
  } finally {
    signal.removeEventListener('abort', onAbort)
    events.removeEventListener('connection:open', onOpen)
    if (connection === undefined || graceMs === 0) losers.abort()
    else void Promise.race([settled, pause(graceMs, signal)]).then(() => losers.abort())
  }
}

/** What is to be said of an error a transport threw. */
export function causeOf(error: unknown): PunchCause {
  return error instanceof PunchFailedError ? error.reason : 'handshake-failed'
}

function outcomesOf(
  { candidates }: RaceOptions,
  winner: Connection | undefined,
  failures: ReadonlyArray<{ protocol: PunchProtocol; error: unknown }>
): TransportOutcomes {
  const won = winner === undefined ? null : punchProtocolOf(winner.remoteAddr)
  const outcomes: TransportOutcomes = new Map()
  for (const { protocol } of candidates) {
    const failed = failures.filter(failure => failure.protocol === protocol).map(({ error }) => causeOf(error))
    const isOver = failed.length === candidates.filter(candidate => candidate.protocol === protocol).length
    const failure = failed.find(cause => cause !== 'aborted') ?? failed[0]
    if (protocol === won) outcomes.set(protocol, 'direct')
    else outcomes.set(protocol, winner === undefined || isOver ? (failure ?? 'aborted') : 'overtaken')
  }
  return outcomes
}
