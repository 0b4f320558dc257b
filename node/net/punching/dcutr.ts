/**
 * DCUtR, the direct connection upgrade through a relay, for `createLibp2p`'s services: standard `/libp2p/dcutr` in both
 * roles, over every transport that punches. One punch with a peer at a time; attempts, addresses and asks are capped.
 *
 * Either side of a relayed connection may open the stream. It does so by itself on the inbound end, as the
 * specification has it, and on either end when `repunch` is called; who opens is responder of the handshakes. When
 * both open at once, the stream of the smaller peer id goes on.
 * @see https://github.com/libp2p/specs/blob/master/relay/DCUtR.md
 */
import { type Connection, type PeerId, type Stream, serviceDependencies } from '@libp2p/interface'
import { DEFAULT_LIMITS } from '../limits.ts'
import { pause } from '../timings.ts'
import { createAllowance, createHostAllowance, createSlots } from './allowance.ts'
import type { Dcutr, DcutrComponents, DcutrInit, HardPunchContext, PunchRole } from './dcutr.types.ts'
import { answer } from './dcutr-answer.ts'
import { ask } from './dcutr-ask.ts'
import {
  type Attempt,
  type DcutrContext,
  defaultIsUsable,
  directTo,
  endStream,
  outcomeOf,
  report
} from './dcutr-context.ts'
import {
  DcutrSilentError,
  DcutrStoppedError,
  NotRelayedError,
  PeerGoneError,
  type PunchOutcome,
  PunchOvertakenError,
  PunchSupersededError
} from './dcutr-errors.ts'
import { DCUTR_PROTOCOL, messageReader } from './dcutr-wire.ts'
import { createObservedAddresses, punchingTransports } from './observed.ts'
import { createObservers, type Observers } from './observers.ts'

/** Streams of this protocol on one connection: one that is ending and its successor. */
const MAX_STREAMS = 2
/** An attempt that failed early is not followed before so long after its beginning. */
const ATTEMPT_SPACING_MS = 1000
/** An ordinary punch that succeeds takes less, on all but the longest lines. */
const HARD_AFTER_MS = 1000
/** After these another attempt with the same peer would end the same way. */
const FINAL: ReadonlySet<PunchOutcome> = new Set(['unsupported', 'protocol', 'stopped', 'superseded', 'rate-limited'])
/** A silent peer too: as many of them as there are places would keep each for all their attempts. */
const isFinal = (failure: unknown) => failure instanceof DcutrSilentError || FINAL.has(outcomeOf(failure))
/** A punch under way with one peer. */
interface Active {
  /** `asking` until the peer answered our CONNECT. */
  phase: 'asking' | 'under way'
  end: AbortController
  done: Promise<Connection>
  /** The punch that took its place, where the peer began another. */
  successor?: Promise<Active>
}

/** The service factory: `services: { identify: identify(), dcutr: dcutr() }`. */
export function dcutr(init: DcutrInit = {}): (components: DcutrComponents) => Dcutr {
  return components => createDcutr(components, init)
}

function createDcutr(components: DcutrComponents, init: DcutrInit): Dcutr {
  const limits = { ...DEFAULT_LIMITS, ...init.limits }
  const log = components.logger.forComponent('libp2p:dcutr')
  const transports = () => components.transportManager.getTransports()
  const observed = init.observed ?? createObservedAddresses({ events: components.events, transports })
  const context: DcutrContext = {
    components,
    init,
    limits,
    observed,
    hosts: createHostAllowance({ perHostPerMinute: limits.punchesPerHost }),
    log,
    isUsable: init.isUsable ?? defaultIsUsable
  }
  const allowance = createAllowance({ perPeerPerMinute: limits.punchesPerPeer, perMinute: limits.punchesPerMinute })
  const slots = createSlots(limits.punchesAtOnce)
  const active = new Map<string, Active>()
  let stopping = new AbortController()
  let observers: Observers | undefined
  let isStarted = false

  /** The work of one punch, in the table while it runs. */
  function begin(
    peerId: string,
    phase: Active['phase'],
    work: (entry: Active) => Promise<Connection>,
    signal?: AbortSignal
  ): Active {
    const end = new AbortController()
    const entry: Active = { phase, end, done: Promise.resolve(null as never) }
    const stop = stopping.signal
    const onStop = () => end.abort(stop.reason)
    const onSignal = () => end.abort(signal?.reason)
    stop.addEventListener('abort', onStop, { once: true })
    signal?.addEventListener('abort', onSignal, { once: true })
    active.set(peerId, entry)
    entry.done = Promise.resolve(entry)
      .then(work)
      .finally(() => {
        stop.removeEventListener('abort', onStop)
        signal?.removeEventListener('abort', onSignal)
        active.delete(peerId)
      })
    entry.done.catch(() => undefined)
    return entry
  }

  /** What comes of a punch, or of the one that took its place. */
  async function result(entry: Active): Promise<Connection> {
    try {
      return await entry.done
    } catch (error) {
      if (entry.successor === undefined || !(error instanceof PunchSupersededError)) throw error
      return await result(await entry.successor)
    }
  }

  function startAttempt(
    relayed: Connection,
    role: PunchRole,
    signal: AbortSignal,
    number = 1,
    known = directIds(relayed)
  ): Attempt {
    const peerId = relayed.remotePeer.toString()
    return { relayed, peerId, role, attempt: number, startedAtMs: performance.now(), signal, known }
  }

  function directIds({ remotePeer }: Connection): ReadonlySet<string> {
    return new Set(directTo(components, remotePeer).map(({ id }) => id))
  }

  /** Count an attempt that failed, unless each of its transports was counted. */
  function failed(attempt: Attempt, error: unknown): void {
    const outcome = attempt.signal.aborted ? outcomeOf(attempt.signal.reason) : outcomeOf(error)
    if (attempt.isCounted !== true) report(context, attempt, 'none', outcome)
    log('attempt %d with %p as %s: %s - %e', attempt.attempt, attempt.relayed.remotePeer, attempt.role, outcome, error)
  }

  function open(relayed: Connection, isRequested: boolean, signal?: AbortSignal): Promise<Connection> {
    const peerId = relayed.remotePeer.toString()
    const entry =
      active.get(peerId) ?? begin(peerId, 'asking', entry => askUntilDirect(relayed, entry, isRequested), signal)
    return result(entry)
  }

  async function askUntilDirect(relayed: Connection, entry: Active, isRequested: boolean): Promise<Connection> {
    const { signal } = entry.end
    const known = directIds(relayed)
    const context: HardPunchContext = { connection: relayed, role: 'responder', signal }
    if (init.hardPunch === undefined) return won(relayed, await attempts(relayed, entry, isRequested, known, signal))
    if (init.isHard?.(context) === true) {
      const connection = (await hard(context)) ?? (await attempts(relayed, entry, isRequested, known, signal))
      return won(relayed, connection)
    }
    return won(relayed, await besideAttempts(context, stop => attempts(relayed, entry, isRequested, known, stop)))
  }

  /** Whoever is behind a cone cannot tell that the peer is not: the method for hard pairs does not wait for failures. */
  async function besideAttempts(
    given: HardPunchContext,
    ordinary: (signal: AbortSignal) => Promise<Connection>
  ): Promise<Connection> {
    const over = new AbortController()
    const attempted = new AbortController()
    const signal = AbortSignal.any([given.signal, over.signal])
    const trying = ordinary(signal)
    const failing = () => attempted.abort()
    trying.catch(failing)
    const hardly = async (): Promise<Connection> => {
      await pause(init.hardAfterMs ?? HARD_AFTER_MS, AbortSignal.any([signal, attempted.signal]))
      const isOver = signal.aborted || given.connection.status !== 'open'
      const connection = isOver ? null : await hard({ ...given, signal })
      return connection ?? (await trying)
    }
    try {
      return await Promise.any([trying, hardly()])
    } catch {
      return await trying
    } finally {
      over.abort(new PunchOvertakenError())
    }
  }

  async function attempts(
    relayed: Connection,
    entry: Active,
    isRequested: boolean,
    known: ReadonlySet<string>,
    signal: AbortSignal
  ): Promise<Connection> {
    let failure: unknown
    for (let number = 1; number <= limits.punchAttempts; number++) {
      const attempt = startAttempt(relayed, 'responder', signal, number, known)
      let release: (() => void) | undefined
      try {
        const met = directTo(components, relayed.remotePeer).find(({ id }) => !known.has(id))
        if (met !== undefined) {
          report(context, attempt, 'other', 'met')
          return met
        }
        if (relayed.status !== 'open') throw new PeerGoneError('before the attempt')
        if (!isRequested) allowance.take(attempt.peerId)
        release = await slots.wait(signal)
        attempt.startedAtMs = performance.now()
        entry.phase = 'asking'
        const onAnswered = () => {
          entry.phase = 'under way'
        }
        return await ask(context, attempt, { isNew: !isRequested && number === 1, onAnswered })
      } catch (error) {
        failure = signal.aborted ? signal.reason : error
        failed(attempt, failure)
        if (isFinal(failure) || signal.aborted || relayed.status !== 'open') break
      } finally {
        release?.()
      }
      if (number < limits.punchAttempts) {
        await pause(Math.max(0, attempt.startedAtMs + ATTEMPT_SPACING_MS - performance.now()), signal)
        if (signal.aborted) throw signal.reason
      }
    }
    throw failure
  }

  async function hard(given: HardPunchContext): Promise<Connection | null> {
    const attempt = startAttempt(given.connection, given.role, given.signal)
    try {
      const connection = (await init.hardPunch?.(given)) ?? null
      if (connection !== null) report(context, attempt, 'other', 'hard')
      return connection
    } catch (error) {
      failed(attempt, error)
      return null
    }
  }

  function won(relayed: Connection, connection: Connection): Connection {
    log('direct connection to %p at %a', relayed.remotePeer, connection.remoteAddr)
    init.onDirect?.(relayed.remotePeer, connection)
    return connection
  }

  async function onStream(stream: Stream, relayed: Connection): Promise<void> {
    const reader = messageReader(stream)
    const peerId = relayed.remotePeer.toString()
    let attempt = startAttempt(relayed, 'initiator', stopping.signal)
    let release: (() => void) | undefined
    const taken = Promise.withResolvers<Active>()
    taken.promise.catch(() => undefined)
    try {
      if (relayed.direct) throw new NotRelayedError(peerId)
      allowance.take(peerId)
      for (let other = active.get(peerId); other !== undefined; other = active.get(peerId)) {
        if (other.phase === 'asking' && components.peerId.toString() < peerId) throw new PunchSupersededError()
        other.successor = taken.promise
        other.end.abort(new PunchSupersededError())
        await other.done.catch(() => undefined)
      }
      stopping.signal.throwIfAborted()
      release = slots.take()
      const entry = begin(peerId, 'under way', ({ end }) => {
        attempt = startAttempt(relayed, 'initiator', end.signal)
        return answer(context, attempt, stream, reader)
      })
      taken.resolve(entry)
      won(relayed, await entry.done)
    } catch (error) {
      taken.reject(error)
      failed(attempt, error)
      endStream(stream, error)
    } finally {
      release?.()
      reader.release()
    }
  }

  const onOpen = ({ detail: connection }: CustomEvent<Connection>) => {
    const { direction, direct, remotePeer } = connection
    if (direct || direction !== 'inbound' || directTo(components, remotePeer).length > 0) return
    if (punchingTransports(transports()).length === 0) return
    open(connection, false).catch(() => undefined)
  }

  return {
    [Symbol.toStringTag]: '@warren/dcutr',
    [serviceDependencies]: ['@libp2p/identify'],
    observed,
    active: () => active.size,
    networkChanged: () => observers?.networkChanged(),
    async repunch(peerId: PeerId, { signal } = {}) {
      signal?.throwIfAborted()
      if (!isStarted) throw new DcutrStoppedError()
      const relayed = components.connectionManager
        .getConnections(peerId)
        .find(({ direct, status }) => !direct && status === 'open')
      if (relayed === undefined) throw new NotRelayedError(peerId.toString())
      return await open(relayed, true, signal)
    },
    async start() {
      if (isStarted) return
      isStarted = true
      stopping = new AbortController()
      await components.registrar.handle(DCUTR_PROTOCOL, onStream, {
        maxInboundStreams: MAX_STREAMS,
        maxOutboundStreams: MAX_STREAMS,
        runOnLimitedConnection: true
      })
      components.events.addEventListener('connection:open', onOpen)
      observers = createObservers(components, observed)
    },
    async stop() {
      if (!isStarted) return
      isStarted = false
      components.events.removeEventListener('connection:open', onOpen)
      observers?.stop()
      stopping.abort(new DcutrStoppedError())
      await Promise.allSettled([...active.values()].map(({ done }) => done))
      await components.registrar.unhandle(DCUTR_PROTOCOL)
    }
  }
}
