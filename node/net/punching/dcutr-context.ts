/** What both sides of a DCUtR exchange share: own addresses, the peer's usable ones, the race, the counting. */
import type { Connection, Logger, PeerId, Stream } from '@libp2p/interface'
import type { Multiaddr } from '@multiformats/multiaddr'
import { deadline } from '../timings.ts'
import { RaceLostError, race, type TransportOutcomes } from './address-race.ts'
import type { HostAllowance } from './allowance.ts'
import { type Candidate, candidates, isPublicAddress, type PunchProtocol, punchProtocolOf } from './candidates.ts'
import type { DcutrComponents, DcutrInit, DcutrLimits, PunchReport, PunchRole } from './dcutr.types.ts'
import {
  DcutrError,
  DcutrRateLimitedError,
  DcutrSilentError,
  DcutrStoppedError,
  DcutrTimeoutError,
  PeerGoneError,
  type PunchOutcome
} from './dcutr-errors.ts'
import { MAX_ADDRESSES, type MessageReader } from './dcutr-wire.ts'
import { PunchFailedError } from './errors.ts'
import { type ObservedAddresses, punchingTransports } from './observed.ts'

/** How long a punch goes on after the peer ended its stream: it may have won and said so by the slower relay. */
const PEER_ENDED_MS = 2000
/** Least and most that the responder leaves the losers of a race alone. */
const GRACE_MIN_MS = 100
const GRACE_MAX_MS = 1000

export interface DcutrContext {
  components: DcutrComponents
  init: DcutrInit
  limits: DcutrLimits
  observed: ObservedAddresses
  /** What each host may be punched at. */
  hosts: HostAllowance
  log: Logger
  isUsable: (address: Multiaddr) => boolean
}

/** One attempt with one peer, from its beginning. */
export interface Attempt {
  relayed: Connection
  peerId: string
  role: PunchRole
  attempt: number
  startedAtMs: number
  signal: AbortSignal
  /** Ids of the direct connections that were there before the punch. */
  known: ReadonlySet<string>
  rttMs?: number
  /** Its outcome is in the counters. */
  isCounted?: boolean
}

/** What our own addresses are to a peer that is to punch at them; waits a moment for the first one. */
export async function ownAddresses(
  { components, observed, isUsable }: DcutrContext,
  role: PunchRole,
  waitMs: number,
  signal: AbortSignal
): Promise<Multiaddr[]> {
  const protocols = punchProtocols(components, role)
  const listed = (): Multiaddr[] => {
    const seen = observed
      .list()
      .filter(({ protocol }) => protocols.has(protocol))
      .sort((a, b) => b.seenBy - a.seenBy)
      .map(({ address }) => address)
    // The peer dials as client, which a listener of ours that is announced takes. The other way round it would not do:
    // our server would meet the peer's server.
    const announced = role === 'responder' ? components.addressManager.getAddresses() : []
    return [...seen, ...announced]
      .filter(address => punchProtocolOf(address) !== null && isUsable(address))
      .slice(0, MAX_ADDRESSES)
  }
  const now = listed()
  if (now.length > 0 || waitMs === 0) return now
  const limit = deadline(waitMs, signal)
  await new Promise<void>(resolve => {
    const unsubscribe = observed.subscribe(() => {
      if (listed().length > 0) done()
    })
    const done = () => {
      unsubscribe()
      limit.signal.removeEventListener('abort', done)
      resolve()
    }
    limit.signal.addEventListener('abort', done)
    if (limit.signal.aborted) done()
  })
  limit.clear()
  signal.throwIfAborted()
  return listed()
}

/**
 * The addresses of the peer's CONNECT that we punch at.
 * @throws DcutrRateLimitedError when all there are were punched at too often
 */
export async function peerCandidates(
  { components, limits, hosts, isUsable }: DcutrContext,
  attempt: Attempt,
  named: readonly Uint8Array[],
  own: readonly Multiaddr[]
): Promise<Candidate[]> {
  const found = candidates(named, {
    peerId: attempt.peerId,
    own,
    protocols: punchProtocols(components, attempt.role),
    isUsable,
    max: limits.punchAddresses
  })
  const denied = await Promise.all(
    found.map(({ address }) => components.connectionGater.denyDialMultiaddr?.(address) ?? false)
  )
  const usable = found.filter((_, at) => denied[at] !== true)
  const allowed = hosts.take(usable)
  if (allowed.length === 0 && usable.length > 0) throw new DcutrRateLimitedError(attempt.peerId, 'host')
  return allowed
}

/** Punch at all of them; reports what became of each transport. */
export async function punchAll(
  context: DcutrContext,
  attempt: Attempt,
  targets: readonly Candidate[],
  reader: MessageReader
): Promise<Connection> {
  const { components, limits } = context
  const rttMs = attempt.rttMs ?? 0
  const limit = deadline(limits.punchTimeoutMs, attempt.signal)
  let peerEnded: { error: Error | undefined } | undefined
  let timer: NodeJS.Timeout | undefined
  void reader.ended.then(error => {
    if (limit.signal.aborted) return
    peerEnded = { error }
    timer = setTimeout(limit.abort, PEER_ENDED_MS)
  })
  try {
    const { connection, outcomes } = await race({
      events: components.events,
      peerId: attempt.peerId,
      transports: punchingTransports(components.transportManager.getTransports()),
      candidates: targets,
      initiator: attempt.role === 'initiator',
      known: attempt.known,
      tcpDelayMs: attempt.role === 'responder' ? rttMs / 2 : 0,
      graceMs: attempt.role === 'responder' ? Math.min(GRACE_MAX_MS, Math.max(GRACE_MIN_MS, rttMs)) : 0,
      signal: limit.signal
    })
    reportAll(context, attempt, outcomes)
    if (punchProtocolOf(connection.remoteAddr) === null) report(context, attempt, 'other', 'met')
    return connection
  } catch (error) {
    if (error instanceof RaceLostError) {
      reportAll(context, attempt, error.outcomes)
      throw error
    }
    attempt.signal.throwIfAborted()
    const why =
      peerEnded?.error === undefined
        ? new DcutrTimeoutError('was not met', limits.punchTimeoutMs)
        : new PeerGoneError('during the punch', { cause: peerEnded.error })
    reportAll(context, attempt, new Map(targets.map(({ protocol }) => [protocol, why.outcome])))
    throw why
  } finally {
    clearTimeout(timer)
    limit.clear()
  }
}

/**
 * What the peer is to say, with a deadline of its own.
 * @throws DcutrSilentError when that passed first
 */
export async function within<T>(
  signal: AbortSignal,
  timeoutMs: number,
  what: string,
  work: (signal: AbortSignal) => Promise<T>
): Promise<T> {
  const limit = deadline(timeoutMs, signal)
  try {
    return await work(limit.signal)
  } catch (error) {
    signal.throwIfAborted()
    throw limit.signal.aborted ? new DcutrSilentError(what, timeoutMs) : error
  } finally {
    limit.clear()
  }
}

/** The outcome an error stands for. */
export function outcomeOf(error: unknown): PunchOutcome {
  if (error instanceof DcutrError) return error.outcome
  return error instanceof PunchFailedError ? error.reason : 'internal'
}

export function report(
  { init }: DcutrContext,
  counted: Attempt,
  transport: PunchReport['transport'],
  outcome: PunchOutcome
): void {
  counted.isCounted = true
  const { peerId, role, attempt, startedAtMs, rttMs } = counted
  const elapsedMs = performance.now() - startedAtMs
  init.onReport?.({ peerId, role, transport, outcome, attempt, elapsedMs, ...(rttMs === undefined ? {} : { rttMs }) })
}

function reportAll(context: DcutrContext, attempt: Attempt, outcomes: TransportOutcomes): void {
  for (const [protocol, outcome] of outcomes) report(context, attempt, protocol, outcome)
}

/** End a stream: politely after a success, at once after a failure. */
export function endStream(stream: Stream, error?: unknown): void {
  if (error === undefined) stream.close().catch(() => stream.abort(new DcutrStoppedError()))
  else stream.abort(error instanceof Error ? error : new Error(String(error)))
}

/** Open direct connections to a peer. */
export function directTo({ connectionManager }: DcutrComponents, peerId: PeerId): Connection[] {
  return connectionManager.getConnections(peerId).filter(({ direct, status }) => direct && status === 'open')
}

export function defaultIsUsable(address: Multiaddr): boolean {
  return isPublicAddress(address)
}

function punchProtocols({ transportManager }: DcutrComponents, role: PunchRole): Set<PunchProtocol> {
  const found = new Set(punchingTransports(transportManager.getTransports()).map(({ punchProtocol }) => punchProtocol))
  // The responder is QUIC's server, which only a listener is. TCP opens from both sides and needs none.
  const listens = () => transportManager.getAddrs().some(address => punchProtocolOf(address) === 'quic-v1')
  if (role === 'responder' && !listens()) found.delete('quic-v1')
  return found
}
