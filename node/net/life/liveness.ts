/**
 * Finds dead connections fast where somebody waits for them. A connection that carries a transfer, or did a moment ago,
 * is asked for a sign of life as soon as it is silent; any byte that comes is one. js-libp2p's own monitor goes on
 * beside it for all the idle ones, seldom.
 */
import { randomBytes } from 'node:crypto'
import type { Connection, Libp2p, Stream } from '@libp2p/interface'
import type { Log } from '../../log.ts'
import { untilAborted } from '../../until-aborted.ts'
import { PROTOCOLS } from '../protocols.ts'
import { endConnection } from './end-connection.ts'

export interface LivenessLimits {
  /** Silence after which a connection in use is asked, and the time between two looks. */
  intervalMs: number
  /** Least time without any byte after the question that makes a connection dead; a slow one has more. */
  timeoutMs: number
  /** How long after its last use a connection is still watched. */
  wantedMs: number
  /** Between two questions on one connection that others give the reason for. */
  glanceMs: number
}

export const LIVENESS: LivenessLimits = { intervalMs: 300, timeoutMs: 1000, wantedMs: 10_000, glanceMs: 1000 }

/** A slow connection has so many of its round trips (the question needs two, and one packet may be lost). */
const ROUND_TRIPS = 6
/**
 * So many ms, and round trips, are enough where silence is no surprise: the peer has made another connection, our own
 * network changed, or another path fell silent at the same time.
 */
const EXPECTED_TIMEOUT_MS = 600
const EXPECTED_ROUND_TRIPS = 4
/** No connection has longer than this. */
const LONGEST_TIMEOUT_MS = 5000
/** Part of the timeout after which a silent connection is no longer the first choice; of one whose round trip is known, */
const SUSPECT_PART = 0.5
/** so many ms, and round trips, if that is sooner: suspicion costs questions, not the connection. */
const SUSPECT_MS = 300
const SUSPECT_ROUND_TRIPS = 3
/** A silence is counted in steps; one that takes longer tells of this process, not of the peer, and counts once. */
const STEP_MS = 100
const PING_PROTOCOL = '/ipfs/ping/1.0.0'
const PING_BYTES = 32
const TRANSFERS = new Set<string>(Object.values(PROTOCOLS))

/** Why a connection was ended. */
export class ConnectionSilentError extends Error {
  readonly code = 'CONNECTION_SILENT'

  constructor(timeoutMs: number) {
    super(`Nothing was heard for ${Math.round(timeoutMs)} ms, and a question had no answer.`)
    this.name = 'ConnectionSilentError'
  }
}

export interface Liveness {
  /** It is used now: watch it for a while. */
  touch: (connection: Connection) => void
  /** Whether it is silent for so long that another path should be preferred. */
  isSuspect: (connection: Connection) => boolean
  /**
   * Ask now, whoever uses it. Resolves with whether it lives; a dead one is ended.
   * @param isExpected something else says that it may be dead: less patience
   */
  probe: (connection: Connection, isExpected?: boolean) => Promise<boolean>
  /**
   * `probe` for a reason that peers can give without end, as by ever new connections: a connection is asked at once, and
   * then once more for all reasons given within `glanceMs`.
   */
  glance: (connection: Connection, isExpected?: boolean) => void
  /** Connections that were ended because they were silent. */
  readonly ended: () => number
  start: () => void
  stop: () => void
}

/** @param options.onSuspect called once a silence, before its end: time to look for another path */
export function createLiveness(options: {
  libp2p: Libp2p
  limits?: LivenessLimits
  onSuspect?: (connection: Connection) => void
  log: Log
}): Liveness {
  const { libp2p, log } = options
  const { intervalMs, timeoutMs, wantedMs, glanceMs } = options.limits ?? LIVENESS
  /** Weak: what is known of a connection goes with it. */
  const wantedUntilMs = new WeakMap<Connection, number>()
  const ears = new WeakMap<Connection, { heardAtMs: number }>()
  const probing = new WeakMap<Connection, Promise<boolean>>()
  const suspects = new WeakSet<Connection>()
  /** Connections that were glanced at, until they may be again. */
  const glances = new Map<Connection, { timer: NodeJS.Timeout; isAskedAgain: boolean; isExpected: boolean }>()
  let timer: NodeJS.Timeout | undefined
  let ended = 0

  function earOf(connection: Connection): { heardAtMs: number } {
    const known = ears.get(connection)
    if (known !== undefined) return known
    const ear = { heardAtMs: performance.now() }
    ears.set(connection, ear)
    rawOf(connection)?.addEventListener('message', () => {
      ear.heardAtMs = performance.now()
      suspects.delete(connection)
    })
    return ear
  }

  function isWanted(connection: Connection, nowMs: number): boolean {
    if (connection.streams.some(({ protocol }) => TRANSFERS.has(protocol)))
      wantedUntilMs.set(connection, nowMs + wantedMs)
    return (wantedUntilMs.get(connection) ?? 0) > nowMs
  }

  function look(): void {
    const nowMs = performance.now()
    for (const connection of libp2p.getConnections()) {
      if (connection.status !== 'open' || !isWanted(connection, nowMs)) continue
      if (nowMs - earOf(connection).heardAtMs >= intervalMs) void probe(connection)
    }
  }

  function probe(connection: Connection, isExpected = false): Promise<boolean> {
    const running = probing.get(connection)
    if (running !== undefined) return running
    const begun = ask(connection, isExpected).finally(() => probing.delete(connection))
    probing.set(connection, begun)
    return begun
  }

  function glance(connection: Connection, isExpected = false): void {
    const lately = glances.get(connection)
    if (lately !== undefined) {
      lately.isAskedAgain = true
      lately.isExpected ||= isExpected
      return
    }
    const timer = setTimeout(() => {
      const { isAskedAgain, isExpected } = glances.get(connection) ?? {}
      glances.delete(connection)
      if (isAskedAgain === true && connection.status === 'open') glance(connection, isExpected)
    }, glanceMs)
    timer.unref()
    glances.set(connection, { timer, isAskedAgain: false, isExpected: false })
    void probe(connection, isExpected)
  }

  async function ask(connection: Connection, isExpected: boolean): Promise<boolean> {
    const ear = earOf(connection)
    const askedAtMs = performance.now()
    const hear = () => {
      ear.heardAtMs = performance.now()
      suspects.delete(connection)
    }
    const leastMs = isExpected ? Math.min(EXPECTED_TIMEOUT_MS, timeoutMs) : timeoutMs
    const roundTrips = isExpected ? EXPECTED_ROUND_TRIPS : ROUND_TRIPS
    const waitMs = Math.min(LONGEST_TIMEOUT_MS, Math.max(leastMs, roundTrips * (connection.rtt ?? 0)))
    const suspectMs = Math.min(
      waitMs * SUSPECT_PART,
      connection.rtt === undefined ? waitMs : Math.max(SUSPECT_MS, SUSPECT_ROUND_TRIPS * connection.rtt)
    )
    const controller = new AbortController()
    const question = ping(connection, controller.signal).then(rttMs => {
      if (rttMs !== null) connection.rtt = rttMs
      hear()
    })
    question.catch(() => undefined)
    // A connection without a raw side (QUIC) is heard by its streams.
    const streams = rawOf(connection) === undefined ? [...connection.streams] : []
    for (const stream of streams) stream.addEventListener('message', hear)
    try {
      const isHeard = () => ear.heardAtMs > askedAtMs || connection.status !== 'open'
      await silence(suspectMs, question, isHeard)
      if (!isHeard()) {
        suspects.add(connection)
        options.onSuspect?.(connection)
        await silence(waitMs - suspectMs, question, isHeard)
      }
      if (connection.status !== 'open') return false
      if (isHeard()) return true
      ended++
      log.info(
        { peer: connection.remotePeer.toString(), addr: connection.remoteAddr.toString() },
        'connection is silent'
      )
      endConnection(connection, new ConnectionSilentError(waitMs))
      return false
    } finally {
      for (const stream of streams) stream.removeEventListener('message', hear)
      controller.abort()
    }
  }

  return {
    touch(connection) {
      earOf(connection)
      wantedUntilMs.set(connection, performance.now() + wantedMs)
    },
    isSuspect: connection => suspects.has(connection),
    probe,
    glance,
    ended: () => ended,
    start() {
      timer = setInterval(look, intervalMs)
      timer.unref()
    },
    stop() {
      clearInterval(timer)
      for (const { timer: each } of glances.values()) clearTimeout(each)
      glances.clear()
    }
  }
}

/** What js-libp2p's connection stands on; its `message` events are the bytes that come. QUIC has none. */
function rawOf(connection: Connection): EventTarget | undefined {
  const { maConn, multiplexer } = connection as unknown as { maConn?: EventTarget; multiplexer?: string }
  return multiplexer?.includes('yamux') === true ? maConn : undefined
}

/** Waits for `ms` of silence, or until something is heard. Time in which this process itself stood still is given back. */
async function silence(ms: number, question: Promise<void>, isHeard: () => boolean): Promise<void> {
  const answered = question.catch(() => new Promise<void>(() => undefined))
  for (let leftMs = ms; leftMs > 0 && !isHeard(); ) {
    const stepMs = Math.min(leftMs, STEP_MS)
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, stepMs)
    await Promise.race([promise, answered])
    clearTimeout(timer)
    leftMs -= stepMs
    // What came while we stood still is read before it is judged.
    await new Promise(later => setImmediate(later))
  }
}

/**
 * One echo over this connection. Resolves with its ms, or null from a peer that does not know the protocol: it lives too.
 * A stream whose echo has not come when the signal aborts is reset.
 */
async function ping(connection: Connection, signal: AbortSignal): Promise<number | null> {
  let stream: Stream | undefined
  try {
    stream = await connection.newStream(PING_PROTOCOL, { signal, runOnLimitedConnection: true })
    const asked = stream
    const startMs = performance.now()
    const echo = new Promise<void>((resolve, reject) => {
      asked.addEventListener('message', () => resolve(), { once: true })
      asked.addEventListener('close', () => reject(new Error('the question was cut')), { once: true })
      asked.send(randomBytes(PING_BYTES))
    })
    await untilAborted(echo, signal)
    const rttMs = performance.now() - startMs
    await stream.close({ signal })
    return rttMs
  } catch (error) {
    stream?.abort(error as Error)
    if ((error as Error).name === 'UnsupportedProtocolError') return null
    throw error
  }
}
