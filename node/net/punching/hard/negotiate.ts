/**
 * The hard punch: two peers on a relayed connection, one of them behind a symmetric NAT, meet over UDP and hand the pair
 * of sockets to QUIC. An extension of our own, tried where DCUtR cannot succeed.
 *
 * Nothing leaves for an address but the one the common relay observed of the peer, after both sides agreed, never for
 * private ones, and within the caps of hard-limits.ts.
 */
import { createHash, randomBytes } from 'node:crypto'
import type { Connection, Libp2p, Stream } from '@libp2p/interface'
import { isPrivateIp } from '@libp2p/utils'
import { multiaddr } from '@multiformats/multiaddr'
import { deadline } from '../../timings.ts'
import type { AdoptingTransport } from '../punch.types.ts'
import { coneSide } from './cone-side.ts'
import { decide, type HardMethod, isSymmetric } from './decide.ts'
import { DEFAULT_HARD_PUNCH_LIMITS, type HardPunchLimits, withinCeilings } from './hard-limits.ts'
import { createLedger, type LedgerPlace } from './ledger.ts'
import type { Met } from './meet.ts'
import { HARD_PUNCH_PROTOCOL } from './messages.ts'
import { endpointsOf, type NatSeen, observeNat, type ReflectorPlace } from './observe.ts'
import { decodePunch, PUNCH_TOKEN_BYTES } from './packets.ts'
import { HardPunchError, type HardPunchReason } from './reasons.ts'
import { createReflectorClient, relayOf } from './reflector-client.ts'
import type { SideContext } from './side.types.ts'
import { closeUdp } from './sockets.ts'
import { symmetricSide } from './symmetric-side.ts'
import { createTalk, type Talk } from './talk.ts'

/** Part in the handshakes that follow: the initiator is their client. Whoever asks says which part it takes. */
export type HardPunchRole = 'initiator' | 'responder'

/** What came of an attempt, told once for each. */
export interface HardPunchOutcome {
  peerId: string
  /** Whether we opened the negotiation. */
  asked: boolean
  /** null: it ended before it was decided. */
  method: HardMethod | 'dcutr' | 'relay' | null
  side: 'cone' | 'symmetric' | null
  result: 'direct' | HardPunchReason
  /** Datagrams we sent to the peer and, for the attempt, to reflectors; without those that told the NAT's kind. */
  packets: number
  tookMs: number
  /** What went wrong beneath the reason. */
  cause?: unknown
}

export interface HardPunchInit {
  libp2p: Pick<Libp2p, 'peerId' | 'getConnections' | 'peerStore' | 'handle' | 'unhandle'>
  /** What the met sockets are handed to. */
  transport: AdoptingTransport
  /** `P2P_HARD_PUNCH`. Default true. */
  enabled?: boolean
  limits?: HardPunchLimits
  onOutcome?: (outcome: HardPunchOutcome) => void
  /** Whether an address the relay named may be sent to. Default: every public one. */
  mayProbe?: (host: string) => boolean
}

export interface HardPunch {
  /** Answer peers' questions from now on. */
  start: () => Promise<void>
  /** Ends every attempt. */
  stop: () => Promise<void>
  /**
   * Ask the peer over this relayed connection, and try. The peer answers by itself, as far as it consents.
   * @param options.role our part in the handshakes, whoever dialled through the relay
   * @returns the direct connection, or null: stay on the relay, `onOutcome` says why. Never rejects
   */
  punch: (options: { connection: Connection; role: HardPunchRole; signal: AbortSignal }) => Promise<Connection | null>
  /**
   * Whether our NAT is known to be one that an ordinary punch does not get through, so that this had better come first.
   */
  isHard: () => boolean
  /** The kind of our NAT by the reflectors of the relays we are connected to; null when none of them has one. */
  detect: (signal: AbortSignal) => Promise<NatSeen['kind'] | null>
  /** The network changed: what was seen of the NAT is forgotten. */
  networkChanged: () => void
}

/** What was seen of the own NAT is believed so long. */
const NAT_TTL_MS = 60_000
/** Longest silence of the peer; longer than any step takes. */
const STEP_TIMEOUT_MS = 5000
/** Questions that wait while one attempt is under way are refused; so many streams of one peer are heard at all. */
const MAX_STREAMS = 2

/** One negotiation, as far as both roles have it in common. */
interface Negotiation {
  peerId: string
  /** What we ask for; null: the peer asks. */
  asks: HardPunchRole | null
  relay: string
  talk: Talk
  /** @throws HardPunchError when another attempt is under way */
  takePlace: () => LedgerPlace
  signal: AbortSignal
  outcome: HardPunchOutcome
}

export function createHardPunch(init: HardPunchInit): HardPunch {
  const { libp2p, transport, enabled = true, onOutcome = () => undefined } = init
  const mayProbe = init.mayProbe ?? (host => isPrivateIp(host) === false)
  const limits = withinCeilings(init.limits ?? DEFAULT_HARD_PUNCH_LIMITS)
  const ledger = createLedger({ perPairPerHour: limits.perPairPerHour })
  const client = createReflectorClient(libp2p)
  const stopping = new AbortController()
  let nat: { seen: Promise<NatSeen>; untilMs: number } | undefined
  let known: NatSeen['kind'] | undefined
  const running = new Set<Promise<Connection | null>>()

  /** One observation for all who ask at the same time; `signal` ends the waiting, not the observation. */
  async function ownNat(places: readonly ReflectorPlace[], signal: AbortSignal): Promise<NatSeen> {
    if (nat === undefined || nat.untilMs < performance.now()) {
      const seen = observeNat({ reflectors: places, signal: stopping.signal })
      const fresh = { seen, untilMs: performance.now() + NAT_TTL_MS }
      nat = fresh
      const forget = (): void => {
        if (nat === fresh) nat = undefined
      }
      // What could not be told now may be told next time.
      seen.then(({ kind, facts }) => {
        if (nat === fresh) known = kind
        if (facts.mappings === 0) forget()
      }, forget)
    }
    return await abortable(nat.seen, signal)
  }

  /**
   * Both tell their kinds and decide; what has to agree is compared with what the relay says.
   * @throws HardPunchError when there is nothing to try
   */
  async function agree(
    negotiation: Negotiation
  ): Promise<{ method: HardMethod; role: HardPunchRole; context: SideContext }> {
    const { talk, asks, peerId, relay, takePlace, signal, outcome } = negotiation
    const own = randomBytes(PUNCH_TOKEN_BYTES).toString('hex')
    const consent = async (role: HardPunchRole): Promise<void> => {
      // Before the peer hears us the relay may not, and from now on it may, say where it sees us.
      await client.permit(relay, peerId, signal).catch((cause: unknown) => {
        signal.throwIfAborted()
        throw new HardPunchError('no-relay', { cause })
      })
      await talk.say({ type: 'hello', token: own, role })
    }
    if (asks !== null) await consent(asks)
    const hello = await talk.hear('hello')
    const role = opposite(hello.role)
    if (asks !== null && asks !== role) throw new HardPunchError('protocol')
    const place = takePlace()
    if (asks === null) await consent(role)

    const places = await client.places({ signal, first: relay })
    if (places.length === 0) throw new HardPunchError('no-reflector')
    const { kind, facts } = await ownNat(places, signal)
    await talk.say({ type: 'kind', kind, host: facts.hosts[0] ?? null })
    const other = await talk.hear('kind')
    const decision = decide(kind, other.kind)
    outcome.method = decision.method
    if ('reason' in decision) throw new HardPunchError(decision.reason)
    outcome.side = decision.symmetric === 'own' ? 'symmetric' : 'cone'

    const host = await client.addressOf(relay, peerId, signal)
    if (host === null) throw new HardPunchError('address-unknown')
    if (host !== other.host) throw new HardPunchError('address-differs')
    if (!mayProbe(host)) throw new HardPunchError('private-address')
    const countAgain = (): void => {
      const refused = place.count(`${facts.hosts[0]} ${host}`)
      if (refused !== null) throw new HardPunchError(refused)
    }
    countAgain()
    const tokens = role === 'initiator' ? [own, hello.token] : [hello.token, own]
    const token = createHash('sha256').update(tokens.join(' ')).digest().subarray(0, PUNCH_TOKEN_BYTES)
    const spent = (packets: number): void => {
      outcome.packets += packets
    }
    const endpoints = endpointsOf(places)
    const context = { talk, signal, token, host, endpoints, facts, limits, countAgain, spent }
    return { method: decision.method, role, context }
  }

  /** @throws HardPunchError, or the signal's reason */
  async function attempt(negotiation: Negotiation): Promise<Connection> {
    const { talk, peerId, signal, outcome } = negotiation
    const { method, role, context } = await agree(negotiation)
    const opens = outcome.side === 'symmetric'
    const met = opens ? await symmetricSide(method, context) : await coneSide(context)
    adopt(met, context.token)
    // Both ends have adopted before either dials: the symmetric side before it says that they met.
    if (opens) {
      await talk.say({ type: 'met' })
      await talk.hear('adopted')
    } else await talk.say({ type: 'adopted' })
    const { host, port } = met.remote
    const address = multiaddr(`/ip4/${host}/udp/${port}/quic-v1/p2p/${peerId}`)
    try {
      return await transport.punch(address, { initiator: role === 'initiator', signal })
    } catch (cause) {
      signal.throwIfAborted()
      throw new HardPunchError('handshake', { cause })
    }
  }

  function adopt({ socket, remote }: Met, token: Uint8Array): void {
    try {
      transport.adopt(socket, remote, datagram => decodePunch(datagram, token) !== null)
    } catch (cause) {
      closeUdp(socket)
      throw new HardPunchError('handshake', { cause })
    }
  }

  /** One negotiation to its end, and what came of it. Never rejects. */
  async function run(options: {
    connection: Connection
    asks: HardPunchRole | null
    signal: AbortSignal
    stream: Stream | ((signal: AbortSignal) => Promise<Stream>)
  }): Promise<Connection | null> {
    const { connection, asks } = options
    const peerId = String(connection.remotePeer)
    const startedAtMs = performance.now()
    const outcome: HardPunchOutcome = {
      peerId,
      asked: asks !== null,
      method: null,
      side: null,
      result: 'aborted',
      packets: 0,
      tookMs: 0
    }
    const limit = deadline(limits.deadlineMs, AbortSignal.any([options.signal, stopping.signal]))
    const { signal } = limit
    let talk: Talk | undefined
    let place: LedgerPlace | null = null
    const takePlace = (): LedgerPlace => {
      place ??= ledger.begin(peerId)
      if (place === null) throw new HardPunchError('busy')
      return place
    }
    const endPlace = (): void => place?.end()
    let direct: Connection | null = null
    try {
      const relay = relayOf(connection.remoteAddr)
      if (!enabled) throw new HardPunchError('switched-off')
      if (relay === null || connection.direct) throw new HardPunchError('no-relay')
      if (asks !== null) takePlace()
      const stream = typeof options.stream === 'function' ? await options.stream(signal) : options.stream
      talk = createTalk(stream, { signal, idleTimeoutMs: STEP_TIMEOUT_MS })
      const refused = asks === null ? ledger.asked(peerId) : null
      if (refused !== null) throw new HardPunchError(refused)
      direct = await attempt({ peerId, asks, relay, talk, takePlace, signal, outcome })
      outcome.result = 'direct'
    } catch (error) {
      outcome.result = reasonOf(error, signal)
      outcome.cause = error
      if (talk === undefined && typeof options.stream !== 'function') options.stream.abort(error as Error)
    }
    // The next attempt may begin while this one says good-bye.
    endPlace()
    limit.clear()
    void talk?.end(outcome.result === 'direct' ? undefined : outcome.result)
    outcome.tookMs = performance.now() - startedAtMs
    onOutcome(outcome)
    return direct
  }

  function tracked(work: Promise<Connection | null>): Promise<Connection | null> {
    running.add(work)
    void work.finally(() => running.delete(work))
    return work
  }

  return {
    async start() {
      if (!enabled) return
      await libp2p.handle(
        HARD_PUNCH_PROTOCOL,
        (stream, connection) => {
          void tracked(run({ connection, asks: null, signal: stopping.signal, stream }))
        },
        { runOnLimitedConnection: true, maxInboundStreams: MAX_STREAMS, maxOutboundStreams: MAX_STREAMS }
      )
    },
    async stop() {
      stopping.abort(new HardPunchError('aborted'))
      if (enabled) await libp2p.unhandle(HARD_PUNCH_PROTOCOL)
      await Promise.all(running)
    },
    punch: ({ connection, role, signal }) =>
      tracked(run({ connection, asks: role, signal, stream: opening(connection) })),
    async detect(signal) {
      const places = await client.places({ signal })
      return places.length === 0 ? null : (await ownNat(places, signal)).kind
    },
    isHard: () => known !== undefined && isSymmetric(known),
    networkChanged() {
      nat = undefined
      known = undefined
    }
  }
}

function opposite(role: HardPunchRole): HardPunchRole {
  return role === 'initiator' ? 'responder' : 'initiator'
}

function opening(connection: Connection): (signal: AbortSignal) => Promise<Stream> {
  return async signal => {
    try {
      return await connection.newStream(HARD_PUNCH_PROTOCOL, { signal, runOnLimitedConnection: true })
    } catch (cause) {
      signal.throwIfAborted()
      const isUnknown = (cause as Error).name === 'UnsupportedProtocolError'
      throw new HardPunchError(isUnknown ? 'peer-without' : 'peer-gone', { cause })
    }
  }
}

function reasonOf(error: unknown, signal: AbortSignal): HardPunchReason {
  if (error instanceof HardPunchError) return error.reason
  if (signal.aborted) return (signal.reason as Error)?.name === 'TimeoutError' ? 'timeout' : 'aborted'
  return 'system'
}

/** What `work` gives, or the signal's reason; the work goes on. */
async function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted()
  const { promise, reject } = Promise.withResolvers<never>()
  const onAbort = (): void => reject(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([work, promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
