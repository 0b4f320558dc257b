/**
 * WebSockets of the gateway: an upgrade is a request like any other, which passes the same middleware and is answered
 * by a row of the table of routes; the row's handler calls `accept`. Knows nothing of what is said on a socket.
 */
import { type IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Context } from 'koa'
import { type WebSocket, WebSocketServer } from 'ws'
import type { Log, Metrics } from '../node/index.ts'
import {
  ADDRESS_SOCKETS_MAX,
  SOCKET_BUFFER_MAX_BYTES,
  SOCKET_CLOSE_TIMEOUT_MS,
  SOCKET_MESSAGE_MAX_BYTES,
  SOCKET_PING_MS,
  SOCKETS_MAX
} from './constants.ts'
import {
  GatewayStoppingError,
  OriginForbiddenError,
  RequestInvalidError,
  SocketLimitError,
  SocketsFullError,
  UpgradeRequiredError
} from './errors.ts'
import { createTally } from './tally.ts'

/** Why the gateway closes a socket (RFC 6455 section 7.4.1 and IANA's registry of close codes). */
export const CLOSE = { goingAway: 1001, policy: 1008, tooBig: 1009, internal: 1011, tryLater: 1013 } as const

export type Handle = (request: IncomingMessage, response: ServerResponse) => Promise<void>

/** The part of a request that `http.Server` gives to its `upgrade` listener only. */
const offers = new WeakMap<IncomingMessage, Offer>()

/** For `shouldUpgradeCallback`. Any other offer (`h2c`, which curl makes) is ignored, RFC 9110 section 7.8. */
export function offersWebSocket(request: IncomingMessage): boolean {
  return request.method === 'GET' && request.headers.upgrade?.toLowerCase() === 'websocket'
}

/** The server's `upgrade` listener. Whatever `handle` answers instead of accepting ends the connection. */
export function upgradesBy(handle: Handle): (request: IncomingMessage, socket: Duplex, head: Buffer) => void {
  return (request, duplex, head) => {
    // A TCP connection, as every one of our server's.
    const socket = duplex as Socket
    // Node's own listener is gone by now, and without one an ECONNRESET would end the process.
    socket.on('error', () => socket.destroy())
    const response = new ServerResponse(request)
    response.shouldKeepAlive = false
    response.once('finish', () => socket.destroySoon())
    try {
      response.assignSocket(socket)
    } catch {
      // The caller did not wait for the answer to its request before on this connection.
      socket.destroy()
      return
    }
    offers.set(request, { socket, head })
    void handle(request, response)
  }
}

/** A request's offer to become a WebSocket. */
export interface Offer {
  readonly socket: Socket
  readonly head: Buffer
}

/** @throws UpgradeRequiredError, RequestInvalidError where there is none, or none that can be taken */
export function offerOf({ req: request }: Context): Offer {
  const offer = offers.get(request)
  if (offer === undefined || request.headers['sec-websocket-version'] !== '13') throw new UpgradeRequiredError()
  if (!isHandshakeKey(request.headers['sec-websocket-key'])) {
    throw new RequestInvalidError('Sec-WebSocket-Key is not 16 bytes of base64')
  }
  return offer
}

/**
 * Takes the offer; the handler answers nothing then.
 * @throws RequestInvalidError
 */
export function upgrade(context: Context, offer: Offer, server: WebSocketServer): WebSocket {
  const { req: request, res: response } = context
  response.detachSocket(offer.socket)
  context.respond = false
  let accepted: WebSocket | null = null
  server.handleUpgrade(request, offer.socket, offer.head, socket => {
    accepted = socket
  })
  response.statusCode = accepted === null ? 400 : 101
  // Here the exchange is over for HTTP: it is logged, and is no request under way any more.
  response.emit('close')
  if (accepted === null) throw new RequestInvalidError('the WebSocket handshake failed')
  return accepted
}

/** Closes a socket, and cuts the connection when the other end does not answer in time. False: it was not open. */
export function closeOpen(socket: WebSocket, code: number, reason: string): boolean {
  if (socket.readyState !== socket.OPEN) return false
  socket.close(code, reason)
  const timer = setTimeout(() => socket.terminate(), SOCKET_CLOSE_TIMEOUT_MS)
  socket.once('close', () => clearTimeout(timer))
  return true
}

export interface SocketLimits {
  socketsMax: number
  addressMax: number
  bufferMaxBytes: number
  pingMs: number
}

export interface Sockets {
  /**
   * Makes the request a socket; the handler answers nothing then. A client that sends something is closed with 1008.
   * @throws UpgradeRequiredError, RequestInvalidError, OriginForbiddenError, SocketsFullError, SocketLimitError,
   *   GatewayStoppingError
   */
  accept: (context: Context) => WebSocket
  /** Sends text, or closes with 1013 a socket whose reader leaves too much unread. A closed socket is passed over. */
  send: (socket: WebSocket, text: Buffer) => void
  /** As `closeOpen`, and counted. */
  close: (socket: WebSocket, code: number, reason: string) => void
  /** From now on nobody is accepted; all are closed with 1001. */
  drain: () => void
}

export interface SocketsOptions {
  /** What a socket is counted by. */
  addressOf: (context: Context) => string
  metrics: Metrics
  log: Log
  /** Where they are other than `constants.ts` has them. */
  limits?: Partial<SocketLimits> | undefined
}

export function createSockets({ addressOf, metrics, log, limits = {} }: SocketsOptions): Sockets {
  const { socketsMax = SOCKETS_MAX, addressMax = ADDRESS_SOCKETS_MAX } = limits
  const { bufferMaxBytes = SOCKET_BUFFER_MAX_BYTES, pingMs = SOCKET_PING_MS } = limits
  // Without compression: it costs memory for every socket, and a secret beside a stranger's text could leak by size.
  const server = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: SOCKET_MESSAGE_MAX_BYTES,
    maxFragments: 1
  })
  const unanswered = new WeakSet<WebSocket>()
  const byAddress = createTally()
  let pinging: NodeJS.Timeout | undefined
  let draining = false

  metrics.gauge('warren_gateway_sockets', 'WebSockets that are open', [], () => server.clients.size)
  const closes = metrics.counter('warren_gateway_socket_closes_total', 'WebSockets the gateway closed', ['code'])

  function close(socket: WebSocket, code: number, reason: string): void {
    if (closeOpen(socket, code, reason)) closes.inc({ code: String(code) })
  }

  function ping(): void {
    for (const socket of server.clients) {
      if (unanswered.has(socket)) {
        socket.terminate()
      } else if (socket.readyState === socket.OPEN) {
        unanswered.add(socket)
        socket.ping()
      }
    }
  }

  function welcome(socket: WebSocket, address: string): void {
    pinging ??= setInterval(ping, pingMs).unref()
    const uncount = byAddress.add(address)
    socket.on('pong', () => unanswered.delete(socket))
    socket.on('message', () => close(socket, CLOSE.policy, 'nothing is to be sent here'))
    socket.on('error', (error: Error) => log.debug({ err: error }, 'a socket broke'))
    socket.once('close', () => {
      uncount()
      if (server.clients.size > 0) return
      clearInterval(pinging)
      pinging = undefined
    })
  }

  return {
    accept(context) {
      const offer = offerOf(context)
      if (!isOwnOrigin(context.req)) throw new OriginForbiddenError()
      if (draining) throw new GatewayStoppingError()
      if (server.clients.size >= socketsMax) throw new SocketsFullError(socketsMax)
      const address = addressOf(context)
      if (byAddress.of(address) >= addressMax) throw new SocketLimitError(addressMax, 'from this address')
      const accepted = upgrade(context, offer, server)
      welcome(accepted, address)
      return accepted
    },
    send(socket, text) {
      if (socket.readyState !== socket.OPEN) return
      if (socket.bufferedAmount > bufferMaxBytes) close(socket, CLOSE.tryLater, 'read faster')
      else socket.send(text, { binary: false })
    },
    close,
    drain() {
      draining = true
      for (const socket of server.clients) close(socket, CLOSE.goingAway, 'the gateway is stopping')
    }
  }
}

/** RFC 6455 section 4.1: 16 bytes, base64. */
function isHandshakeKey(key: string | undefined): boolean {
  return key !== undefined && /^[+/0-9A-Za-z]{22}==$/.test(key)
}

/**
 * CORS does not hold for WebSockets: any page could open one. Programs send no Origin; a browser always does, and
 * only the gateway's own page is let in.
 */
function isOwnOrigin({ headers: { origin, host } }: IncomingMessage): boolean {
  if (origin === undefined) return true
  if (host === undefined || !URL.canParse(origin)) return false
  const { protocol, host: from } = new URL(origin)
  return URL.canParse(`${protocol}//${host}`) && new URL(`${protocol}//${host}`).host === from
}
