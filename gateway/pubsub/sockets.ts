/**
 * WebSockets of topics: who may open one, how many there may be, and when they are closed. Raw by default (D62); with
 * the subprotocol `warren.pubsub.v1`, JSON both ways. What is said on them is conversation.ts's.
 */
import type { Context } from 'koa'
import { type WebSocket, WebSocketServer } from 'ws'
import type { Log } from '../../node/index.ts'
import type { Identify } from '../auth/identify.ts'
import { SOCKET_PING_MS } from '../constants.ts'
import { GatewayStoppingError, OriginForbiddenError, SocketLimitError, SocketsFullError } from '../errors.ts'
import type { GatewayState, Identity } from '../http.ts'
import { CLOSE, closeOpen, offerOf, upgrade } from '../sockets.ts'
import { createTally } from '../tally.ts'
import { fullBucket } from '../token-bucket.ts'
import type { Channel } from './channel.types.ts'
import { createConversations, type Talker } from './conversation.ts'
import { MembersFullError } from './errors.ts'
import {
  ADDRESS_SOCKETS_MAX,
  CLIENT_FRAGMENTS_MAX,
  CLIENT_MESSAGE_MAX_BYTES,
  CLIENT_PACE,
  NAMESPACE_SOCKETS_MAX,
  RECHECK_MS,
  RESUME_TIMEOUT_MS,
  SOCKETS_MAX,
  STALLED_MAX_MS
} from './limits.ts'
import type { PubsubCounters } from './metrics.ts'
import type { Member } from './presence.ts'
import { createRecheck, type Recheck } from './recheck.ts'
import { createSubscriber } from './subscriber.ts'

/** The subprotocol with envelopes. */
export const ENVELOPE_PROTOCOL = 'warren.pubsub.v1'

export interface PubsubSocketLimits {
  max: number
  namespaceMax: number
  addressMax: number
  pingMs: number
  stalledMaxMs: number
  resumeTimeoutMs: number
  recheckMs: number
}

export interface JoinOptions {
  identity: Identity
  /** Who the socket says it is; null: it takes no part in presence. */
  member: Member | null
  /** It sends `resume` before it is told anything. */
  resumes: boolean
}

export interface PubsubSockets {
  /**
   * Makes the request a socket of the topic.
   * @throws UpgradeRequiredError, RequestInvalidError, OriginForbiddenError, GatewayStoppingError, SocketsFullError,
   *   SocketLimitError, MembersFullError
   */
  accept: (context: Context & { state: GatewayState }, channel: Channel, options: JoinOptions) => void
  /** From now on nobody is accepted; all are closed with 1001. */
  drain: () => void
  close: () => void
}

export interface PubsubSocketsOptions {
  counters: PubsubCounters
  /** Asked again from time to time whether the credential of an open socket still holds. */
  identify: Identify
  /** What a socket is counted by. */
  addressOf: (context: Context) => string
  /** Origins whose pages may open one; empty: all, for a credential is no cookie. */
  origins: readonly string[]
  limits?: Partial<PubsubSocketLimits>
  log: Log
}

/** Pings are spread over the interval: ten thousand at once would hold everything else up. */
const PING_SLOTS = 30
/** D63. */
const PING_PAYLOAD = 'ping'

interface Connection extends Talker {
  readonly webSocket: WebSocket
  readonly member: Member | null
  /** Take it off the counts of its namespace and its address. */
  readonly uncount: readonly [() => void, () => void]
  readonly slot: number
  isAnswering: boolean
}

export function createPubsubSockets(options: PubsubSocketsOptions): PubsubSockets {
  const { counters, identify, addressOf, origins, limits: given = {}, log } = options
  const limits: PubsubSocketLimits = {
    max: SOCKETS_MAX,
    namespaceMax: NAMESPACE_SOCKETS_MAX,
    addressMax: ADDRESS_SOCKETS_MAX,
    pingMs: SOCKET_PING_MS,
    stalledMaxMs: STALLED_MAX_MS,
    resumeTimeoutMs: RESUME_TIMEOUT_MS,
    recheckMs: RECHECK_MS,
    ...given
  }
  // Without compression: it costs memory for every socket and seven times the processor time.
  const server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: CLIENT_MESSAGE_MAX_BYTES,
    maxFragments: CLIENT_FRAGMENTS_MAX,
    handleProtocols: offered => (offered.has(ENVELOPE_PROTOCOL) ? ENVELOPE_PROTOCOL : false)
  })
  const { heard } = createConversations<Connection>({ close, log })
  const connections = new Set<Connection>()
  const byNamespace = createTally()
  const byAddress = createTally()
  const recheck: Recheck<Connection> = createRecheck({
    identify,
    everyMs: limits.recheckMs,
    ended: connection => close(connection, CLOSE.policy, 'the credential has ended'),
    log
  })
  let draining = false
  let slot = 0
  let opened = 0
  const ticking = setInterval(tick, limits.pingMs / PING_SLOTS)
  ticking.unref()

  function close({ webSocket }: Connection, code: number, reason: string): void {
    if (closeOpen(webSocket, code, reason)) counters.closes(code)
  }

  function tick(): void {
    slot = (slot + 1) % PING_SLOTS
    const stalledBefore = performance.now() - limits.stalledMaxMs
    for (const connection of connections) {
      const { webSocket, subscriber } = connection
      const stalledSince = subscriber.stalledSince()
      if (stalledSince !== null && stalledSince < stalledBefore) {
        close(connection, CLOSE.tryLater, 'read faster')
      } else if (connection.slot === slot && webSocket.readyState === webSocket.OPEN) {
        if (connection.isAnswering) {
          connection.isAnswering = false
          webSocket.ping(PING_PAYLOAD)
        } else {
          webSocket.terminate()
        }
      }
    }
  }

  function left(connection: Connection): void {
    const { channel, subscriber, member, uncount } = connection
    const { namespace } = channel.name
    connections.delete(connection)
    for (const each of uncount) each()
    recheck.forget(connection)
    counters.closed(namespace)
    channel.leave(subscriber)
    if (member !== null) channel.leavePresence(member.member_id)
  }

  function permit(context: Context, namespace: string, address: string): void {
    const { origin } = context.req.headers
    if (origin !== undefined && origins.length > 0 && !origins.includes(origin.toLowerCase())) {
      throw new OriginForbiddenError()
    }
    if (draining) throw new GatewayStoppingError()
    if (connections.size >= limits.max) throw new SocketsFullError(limits.max)
    if (byNamespace.of(namespace) >= limits.namespaceMax) {
      throw new SocketLimitError(limits.namespaceMax, 'for this namespace')
    }
    if (byAddress.of(address) >= limits.addressMax) throw new SocketLimitError(limits.addressMax, 'from this address')
  }

  return {
    accept(context, channel, { identity, member, resumes }) {
      const { namespace, topic } = channel.name
      const offer = offerOf(context)
      const address = addressOf(context)
      permit(context, namespace, address)
      if (member !== null && channel.presenceIsFull()) throw new MembersFullError()
      const webSocket = upgrade(context, offer, server)
      const { delivered, dropped } = counters.of(namespace)
      const form = webSocket.protocol === ENVELOPE_PROTOCOL ? 'envelope' : 'raw'
      const subscriber = createSubscriber({
        socket: offer.socket,
        form,
        topic,
        isOpen: () => webSocket.readyState === webSocket.OPEN,
        delivered,
        dropped: count => dropped('slow', count)
      })
      opened += 1
      const connection: Connection = {
        webSocket,
        channel,
        subscriber,
        member,
        uncount: [byNamespace.add(namespace), byAddress.add(address)],
        slot: opened % PING_SLOTS,
        isAnswering: true,
        bucket: fullBucket(CLIENT_PACE)
      }
      connections.add(connection)
      counters.opened(namespace)
      recheck.watch(connection, context, identity)
      // What still comes on a socket that is being closed is not heard.
      webSocket.on('message', (data: Buffer, isBinary) => {
        if (webSocket.readyState === webSocket.OPEN) heard(connection, data, isBinary)
      })
      webSocket.on('pong', () => {
        connection.isAnswering = true
      })
      webSocket.on('error', (error: Error) => log.debug({ err: error }, 'a socket broke'))
      webSocket.once('close', () => left(connection))
      const held = resumes && form === 'envelope'
      channel.join(subscriber, { held })
      if (member !== null) channel.joinPresence(member)
      if (!held) return
      const late = setTimeout(() => {
        if (channel.isHeld(subscriber)) close(connection, CLOSE.policy, 'no resume came')
      }, limits.resumeTimeoutMs)
      late.unref()
      webSocket.once('close', () => clearTimeout(late))
    },
    drain() {
      draining = true
      for (const connection of connections) close(connection, CLOSE.goingAway, 'the gateway is stopping')
    },
    close() {
      clearInterval(ticking)
      recheck.close()
      for (const { webSocket } of connections) webSocket.terminate()
    }
  }
}
