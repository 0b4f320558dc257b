/**
 * WebSockets of topics: who may open one, what its client may say, and when it is closed. Raw by default, each message
 * of the client being published as it is (D62); with `warren.pubsub.v1`, JSON both ways (client-message.ts).
 */
import type { Context } from 'koa'
import { type WebSocket, WebSocketServer } from 'ws'
import { customerOf, type Log } from '../../node/index.ts'
import { SOCKET_CLOSE_TIMEOUT_MS, SOCKET_PING_MS } from '../constants.ts'
import {
  BodyTooLargeError,
  GatewayError,
  GatewayStoppingError,
  OriginForbiddenError,
  SocketsFullError
} from '../errors.ts'
import type { GatewayMiddleware, GatewayState, Identity } from '../http.ts'
import { clientIp, type RequestLogOptions } from '../middleware/request-log.ts'
import { CLOSE, offerOf, upgrade } from '../sockets.ts'
import type { Channel } from './channel.ts'
import { type ClientMessage, parseClientMessage } from './client-message.ts'
import { MembersFullError, PublishFailedError, SocketLimitError } from './errors.ts'
import { frameOf, jsonFrame, OPCODE } from './frames.ts'
import {
  ADDRESS_SOCKETS_MAX,
  CLIENT_FRAGMENTS_MAX,
  CLIENT_MESSAGE_MAX_BYTES,
  CLIENT_MESSAGES_BURST,
  CLIENT_MESSAGES_PER_S,
  MESSAGE_MAX_BYTES,
  NAMESPACE_SOCKETS_MAX,
  RESUME_TIMEOUT_MS,
  SOCKETS_MAX,
  STALLED_MAX_MS
} from './limits.ts'
import type { PubsubCounters } from './metrics.ts'
import type { Member } from './presence.ts'
import { createRecheck, type Recheck } from './recheck.ts'
import { createSubscriber, type Subscriber } from './subscriber.ts'

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
  authenticate: GatewayMiddleware
  /** Origins whose pages may open one; empty: all, for a credential is no cookie. */
  origins: readonly string[]
  trustProxy: RequestLogOptions['trustProxy']
  limits?: Partial<PubsubSocketLimits>
  log: Log
}

/** Pings are spread over the interval: ten thousand at once would hold everything else up. */
const PING_SLOTS = 30
/** D63. */
const PING_PAYLOAD = 'ping'
/** D65. */
const PUBLISH_ERROR = frameOf(OPCODE.text, Buffer.from('publish_error'))

interface Connection {
  readonly webSocket: WebSocket
  readonly channel: Channel
  readonly subscriber: Subscriber
  readonly member: Member | null
  readonly address: string
  readonly slot: number
  isAnswering: boolean
  /** What it may still send at once, and when that was reckoned. */
  tokens: number
  tokensMs: number
}

export function createPubsubSockets(options: PubsubSocketsOptions): PubsubSockets {
  const { counters, authenticate, origins, trustProxy, limits: given = {}, log } = options
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
  const connections = new Set<Connection>()
  const byNamespace = createTally()
  const byAddress = createTally()
  const recheck: Recheck<Connection> = createRecheck({
    authenticate,
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
    if (webSocket.readyState !== webSocket.OPEN) return
    counters.closes(code)
    webSocket.close(code, reason)
    const timer = setTimeout(() => webSocket.terminate(), SOCKET_CLOSE_TIMEOUT_MS)
    webSocket.once('close', () => clearTimeout(timer))
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

  /** Whether the connection may send one message more now. */
  function mayPublish(connection: Connection): boolean {
    const now = performance.now()
    const earned = ((now - connection.tokensMs) / 1000) * CLIENT_MESSAGES_PER_S
    connection.tokens = Math.min(CLIENT_MESSAGES_BURST, connection.tokens + earned)
    connection.tokensMs = now
    if (connection.tokens < 1) return false
    connection.tokens -= 1
    return true
  }

  function heard(connection: Connection, data: Buffer, isBinary: boolean): void {
    if (!mayPublish(connection)) close(connection, CLOSE.policy, 'too many messages')
    else if (connection.subscriber.form === 'raw') publishRaw(connection, data)
    else if (isBinary) close(connection, CLOSE.policy, 'JSON text only')
    else understand(connection, data)
  }

  function publishRaw(connection: Connection, data: Buffer): void {
    if (data.byteLength > MESSAGE_MAX_BYTES) close(connection, CLOSE.tooBig, 'message too big')
    else publish(connection, data, () => connection.subscriber.tell(PUBLISH_ERROR))
  }

  function understand(connection: Connection, data: Buffer): void {
    const message = parseClientMessage(data)
    if (message === null) close(connection, CLOSE.policy, 'not a message of warren.pubsub.v1')
    else if (message.type === 'publish') publishNamed(connection, message)
    else if (message.type === 'resume') resume(connection, message)
  }

  function publishNamed(connection: Connection, { data, id }: ClientMessage & { type: 'publish' }): void {
    const { subscriber } = connection
    const failed = ({ code, message }: GatewayError) => subscriber.tell(jsonFrame({ type: 'error', code, message, id }))
    if (data.byteLength > MESSAGE_MAX_BYTES) {
      failed(new BodyTooLargeError(MESSAGE_MAX_BYTES))
      return
    }
    const place = publish(connection, data, failed)
    if (place !== null && id !== undefined) subscriber.tell(jsonFrame({ type: 'published', id, ...place }))
  }

  function resume({ channel, subscriber }: Connection, { after, since }: ClientMessage & { type: 'resume' }): void {
    if (channel.resume(subscriber, after, since)) return
    subscriber.tell(jsonFrame({ type: 'error', code: 'NOT_HELD', message: 'open the socket with ?resume=true' }))
  }

  function publish({ channel }: Connection, data: Buffer, failed: (error: GatewayError) => void) {
    try {
      const { sent, publisher, seq } = channel.publish(data)
      sent.catch(error => {
        log.debug({ err: error }, 'a message did not leave')
        failed(new PublishFailedError(error))
      })
      return { publisher, seq }
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error
      failed(error)
      return null
    }
  }

  function left(connection: Connection): void {
    const { channel, subscriber, member, address } = connection
    const { namespace } = channel.name
    connections.delete(connection)
    byNamespace.remove(namespace)
    byAddress.remove(address)
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
      const address = customerOf(clientIp(context, trustProxy))
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
        address,
        slot: opened % PING_SLOTS,
        isAnswering: true,
        tokens: CLIENT_MESSAGES_BURST,
        tokensMs: performance.now()
      }
      connections.add(connection)
      byNamespace.add(namespace)
      byAddress.add(address)
      counters.opened(namespace)
      recheck.watch(connection, context, identity)
      webSocket.on('message', (data: Buffer, isBinary) => heard(connection, data, isBinary))
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

/** A socket whose credential has ended is closed within about this. */
const RECHECK_MS = 5_000

/** How many there are of each. */
function createTally() {
  const counts = new Map<string, number>()
  return {
    of: (name: string) => counts.get(name) ?? 0,
    add(name: string) {
      counts.set(name, (counts.get(name) ?? 0) + 1)
    },
    remove(name: string) {
      const left = (counts.get(name) ?? 1) - 1
      if (left === 0) counts.delete(name)
      else counts.set(name, left)
    }
  }
}
