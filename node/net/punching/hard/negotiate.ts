/**
 * The hard punch: two peers on a relayed connection, one of them behind a symmetric NAT, meet over UDP and hand the pair
 * of sockets to QUIC. An extension of our own, tried where DCUtR cannot succeed.
 *
 * Nothing leaves for an address but the one that a relay of both sides' configuration observed of the peer, after both
 * agreed, never for private ones, and within the caps of hard-limits.ts.
 */
import { createHash, randomBytes } from 'node:crypto'
import type { Connection, IdentifyResult, Libp2p, Stream } from '@libp2p/interface'
import { isPrivateIp } from '@libp2p/utils'
import { multiaddr } from '@multiformats/multiaddr'
import { relayOf } from '../../addresses.ts'
import { deadline, pause } from '../../timings.ts'
import type { AdoptingTransport } from '../punch.types.ts'
import { coneSide } from './cone-side.ts'
import { decide, type HardMethod, isSymmetric } from './decide.ts'
import { DEFAULT_HARD_PUNCH_LIMITS, type HardPunchLimits, withinCeilings } from './hard-limits.ts'
import { createLedger, type LedgerPlace, type LedgerRefusal } from './ledger.ts'
import type { Met } from './meet.ts'
import { HARD_PUNCH_PROTOCOL } from './messages.ts'
import { endpointsOf, type NatSeen } from './observe.ts'
import { createOwnNat } from './own-nat.ts'
import { decodePunch, PUNCH_TOKEN_BYTES } from './packets.ts'
import { HardPunchError, type HardPunchReason } from './reasons.ts'
import { createReflectorClient } from './reflector-client.ts'
import { REFLECTOR_PROTOCOL } from './reflector-protocol.ts'
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
  libp2p: Pick<
    Libp2p,
    'getConnections' | 'peerStore' | 'handle' | 'unhandle' | 'addEventListener' | 'removeEventListener'
  >
  /** What the met sockets are handed to. */
  transport: AdoptingTransport
  /**
   * Whether a peer is one of the relays that were configured here. Only these are believed where they see a peer, and only
   * their reflectors are asked: anybody can pass for the relay of a circuit that it makes up.
   */
  isRelay: (peerId: string) => boolean
  /** `P2P_HARD_PUNCH`. Default true. */
  enabled?: boolean
  limits?: HardPunchLimits
  onOutcome?: (outcome: HardPunchOutcome) => void
  /** How often a peer is asked again that is busy with another, as we may be. Default 0. */
  busyRetries?: number
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

/** After a relay made itself known: others of the same moment are asked together with it. */
const LOOK_AFTER_MS = 300
/** Between two questions to a peer that is busy, and half of it more or less, so that two do not keep step. */
const BUSY_RETRY_MS = 1500
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
  refuseIfBusy: () => void
  /**
   * @param asker the address of a peer that asks, as the relay sees it
   * @throws HardPunchError when another attempt is under way, or the asker's address has had it too often for nothing
   */
  takePlace: (asker?: string) => LedgerPlace
  signal: AbortSignal
  outcome: HardPunchOutcome
  /** Do this when it is over, whatever came of it. */
  onEnd: (end: () => void) => void
}

export function createHardPunch(init: HardPunchInit): HardPunch {
  const { libp2p, transport, isRelay, enabled = true, busyRetries = 0, onOutcome = () => undefined } = init
  const mayProbe = init.mayProbe ?? (host => isPrivateIp(host) === false)
  const limits = withinCeilings(init.limits ?? DEFAULT_HARD_PUNCH_LIMITS)
  const ledger = createLedger(limits)
  const client = createReflectorClient(libp2p, { isRelay })
  const stopping = new AbortController()
  const ownNat = createOwnNat({ places: client.places, signal: stopping.signal })
  const running = new Set<Promise<Connection | null>>()

  /**
   * Both tell their kinds and decide; what has to agree is compared with what the relay says.
   * @throws HardPunchError when there is nothing to try
   */
  async function agree(
    negotiation: Negotiation
  ): Promise<{ method: HardMethod; role: HardPunchRole; context: SideContext }> {
    const { talk, asks, peerId, relay, takePlace, signal, outcome } = negotiation
    const own = randomBytes(PUNCH_TOKEN_BYTES).toString('hex')
    // Who asks says so first, and nothing is done for one that does not, or comes at a bad moment: a stream to the relay
    // would be open for each stranger, and there are only so many.
    const asked = asks === null ? await talk.hear('hello') : undefined
    if (asked !== undefined) negotiation.refuseIfBusy()
    // Everything that takes a round trip begins at once; the kind is told when the relay may tell the peer of us.
    const consenting = client.consent(relay, peerId, signal).catch((cause: unknown) => {
      signal.throwIfAborted()
      throw new HardPunchError('no-relay', { cause })
    })
    const seeing = ownNat.see(relay, signal)
    for (const each of [consenting, seeing]) each.catch(() => undefined)
    negotiation.onEnd(() => void consenting.then(({ end }) => end()).catch(() => undefined))
    const ownRole = asks ?? opposite(asked!.role)
    await talk.say({ type: 'hello', token: own, role: ownRole })
    const ready = Promise.all([seeing, consenting]).then(([seen]) => seen)
    const sayKind = async (): Promise<void> => {
      const { kind, facts } = await ready
      await talk.say({ type: 'kind', kind, host: facts.hosts[0] ?? null })
    }
    // Whoever asks tells its kind at once, not to wait for the answer; whoever is asked first hears who asks.
    const told = asks === null ? undefined : sayKind()
    for (const each of [ready, told]) each?.catch(() => undefined)
    const hello = asked ?? (await talk.hear('hello'))
    const role = opposite(hello.role)
    if (role !== ownRole) throw new HardPunchError('protocol')

    const other = await talk.hear('kind')
    const { kind, facts, places } = await ready
    await told
    const decision = decide(kind, other.kind)
    outcome.method = decision.method
    if ('reason' in decision) {
      if (asks === null) await sayKind()
      throw new HardPunchError(decision.reason)
    }
    outcome.side = decision.symmetric === 'own' ? 'symmetric' : 'cone'
    const { address } = await consenting
    const observed = onlyOnce(async () => {
      const seen = await address()
      if (seen === null) throw new HardPunchError('address-unknown')
      if (seen !== other.host) throw new HardPunchError('address-differs')
      if (!mayProbe(seen)) throw new HardPunchError('private-address')
      return seen
    })
    // Not before the peer told its kind, nor for one that the relay does not see where it says it is: one that says
    // nothing, or goes by many names, would keep all others from it.
    const place = takePlace(asks === null ? await observed() : undefined)
    const networks = `${facts.hosts[0]} ${other.host}`
    refuse(place.refusal(networks, other.host ?? ''))
    if (asks === null) await sayKind()

    let isCounted = false
    // Counted when it is about to send: by then both have taken their places.
    const host = async (): Promise<string> => {
      const seen = await observed()
      if (!isCounted) refuse(place.count(networks, seen))
      isCounted = true
      return seen
    }
    const countAgain = async (): Promise<void> => refuse(place.count(networks, await host()))
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

  function refuseIfBusy(): void {
    refuse(ledger.isTaken() ? 'busy' : null)
  }

  /** One negotiation to its end, and what came of it. Never rejects. */
  async function run(options: {
    connection: Connection
    asks: HardPunchRole | null
    signal: AbortSignal
    stream: Stream | ((signal: AbortSignal) => Promise<Stream>)
  }): Promise<{ direct: Connection | null; result: HardPunchOutcome['result'] }> {
    const { connection, asks, stream } = options
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
    const takePlace = (asker?: string): LedgerPlace => {
      const taken = ledger.begin(peerId, asker)
      if (typeof taken === 'string') throw new HardPunchError(taken)
      place = taken
      return taken
    }
    const ends: Array<() => void> = [() => place?.end()]
    const opened = async () => (typeof stream === 'function' ? await stream(signal) : stream)
    let direct: Connection | null = null
    try {
      const talking = { signal, idleTimeoutMs: STEP_TIMEOUT_MS }
      // Whoever asks us is told why not.
      if (typeof stream !== 'function') talk = createTalk(stream, talking)
      const relay = relayOf(connection.remoteAddr)
      if (!enabled) throw new HardPunchError('switched-off')
      if (relay === null || connection.direct || !isRelay(relay)) throw new HardPunchError('no-relay')
      if (asks !== null) refuseIfBusy()
      refuse(ledger.asked(peerId))
      talk ??= createTalk(await opened(), talking)
      const onEnd = (end: () => void): void => void ends.push(end)
      direct = await attempt({ peerId, asks, relay, talk, refuseIfBusy, takePlace, signal, outcome, onEnd })
      outcome.result = 'direct'
    } catch (error) {
      outcome.result = reasonOf(error, signal)
      outcome.cause = error
    }
    // The next attempt may begin while this one says good-bye.
    for (const end of ends) end()
    limit.clear()
    void talk?.end(outcome.result === 'direct' ? undefined : outcome.result)
    outcome.tookMs = performance.now() - startedAtMs
    onOutcome(outcome)
    return { direct, result: outcome.result }
  }

  /** One attempt at a time in a process: whoever comes at a bad moment comes again. Who had no luck tries once more. */
  async function ask(connection: Connection, role: HardPunchRole, signal: AbortSignal): Promise<Connection | null> {
    const either = AbortSignal.any([signal, stopping.signal])
    let isUnlucky = false
    for (let left = busyRetries; ; ) {
      const { direct, result } = await run({ connection, asks: role, signal, stream: opening(connection) })
      const isBusy = result === 'busy' || result === 'peer-busy'
      if (direct !== null || !(isBusy ? left-- > 0 : result === 'no-meeting' && !isUnlucky)) return direct
      if (isBusy) await pause(BUSY_RETRY_MS * (0.5 + Math.random()), either)
      else isUnlucky = true
      const met = libp2p.getConnections(connection.remotePeer).find(each => each.direct && each.status === 'open')
      if (met !== undefined) return met
      if (either.aborted || connection.status !== 'open') return null
    }
  }

  let looking: NodeJS.Timeout | undefined
  /** The own NAT is seen before somebody waits for it: as soon as there is a reflector. */
  function onIdentify({ detail }: CustomEvent<IdentifyResult>): void {
    if (!detail.connection.direct || !detail.protocols.includes(REFLECTOR_PROTOCOL)) return
    clearTimeout(looking)
    const look = (): void => void ownNat.see(undefined, stopping.signal).catch(() => undefined)
    looking = setTimeout(look, LOOK_AFTER_MS)
    looking.unref()
  }

  function tracked(work: Promise<Connection | null>): Promise<Connection | null> {
    running.add(work)
    void work.finally(() => running.delete(work))
    return work
  }

  return {
    async start() {
      if (!enabled) return
      libp2p.addEventListener('peer:identify', onIdentify)
      await libp2p.handle(
        HARD_PUNCH_PROTOCOL,
        (stream, connection) => {
          const answering = run({ connection, asks: null, signal: stopping.signal, stream })
          void tracked(answering.then(({ direct }) => direct))
        },
        { runOnLimitedConnection: true, maxInboundStreams: MAX_STREAMS, maxOutboundStreams: MAX_STREAMS }
      )
    },
    async stop() {
      stopping.abort(new HardPunchError('aborted'))
      clearTimeout(looking)
      libp2p.removeEventListener('peer:identify', onIdentify)
      if (enabled) await libp2p.unhandle(HARD_PUNCH_PROTOCOL)
      await Promise.all(running)
    },
    punch: ({ connection, role, signal }) => tracked(ask(connection, role, signal)),
    async detect(signal) {
      try {
        return (await ownNat.see(undefined, signal)).kind
      } catch (error) {
        if (error instanceof HardPunchError && error.reason === 'no-reflector') return null
        throw error
      }
    },
    isHard() {
      const kind = ownNat.known()
      return kind !== undefined && isSymmetric(kind)
    },
    networkChanged: ownNat.forget
  }
}

function opposite(role: HardPunchRole): HardPunchRole {
  return role === 'initiator' ? 'responder' : 'initiator'
}

function refuse(refusal: LedgerRefusal | null): void {
  if (refusal !== null) throw new HardPunchError(refusal)
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

/** The same promise for everybody who asks. */
function onlyOnce<T>(work: () => Promise<T>): () => Promise<T> {
  const done = work()
  // Whoever asks for it hears of its failure.
  done.catch(() => undefined)
  return () => done
}
