/** The HTTP server around a gateway: its timeouts and limits, where it listens, how it drains. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import {
  DRAIN_TIMEOUT_MS,
  HEADERS_MAX,
  HEADERS_TIMEOUT_MS,
  KEEP_ALIVE_TIMEOUT_MS,
  REQUEST_TIMEOUT_MS
} from './constants.ts'
import { AddressUnavailableError } from './errors.ts'
import { waitsForContinue } from './middleware/limits.ts'
import { offersWebSocket, upgradesBy } from './sockets.ts'

/** First descriptor of systemd's socket activation. */
const LISTEN_FD = 3

export interface GatewayServer {
  readonly port: number
  /** Stops listening, lets requests under way end, then closes what is left. WebSockets are the gateway's to close. */
  close: () => Promise<void>
}

export interface ServerOptions {
  handle: (request: IncomingMessage, response: ServerResponse) => Promise<void>
  host: string
  /** 0: any free port. */
  port: number
  /** LISTEN_FDS and LISTEN_PID; a socket passed by the parent goes before host and port. */
  environment?: Record<string, string | undefined>
}

/** @throws AddressUnavailableError */
export async function serve({ handle, host, port, environment = {} }: ServerOptions): Promise<GatewayServer> {
  const server = createServer({
    headersTimeout: HEADERS_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    shouldUpgradeCallback: offersWebSocket
  })
  server.maxHeadersCount = HEADERS_MAX
  const answers = createAnswers()
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    answers.watch(request, response)
    void handle(request, response)
  })
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    answers.watch(request, response)
    waitsForContinue(request)
    void handle(request, response)
  })
  server.on('upgrade', upgradesBy(handle))
  const connections = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    connections.add(socket)
    socket.once('close', () => {
      connections.delete(socket)
      answers.end(socket)
    })
  })
  await listening(server, passedSocket(environment) ? { fd: LISTEN_FD } : { host, port })
  const address = server.address()
  return {
    port: typeof address === 'object' && address !== null ? address.port : port,
    close: () => drain(server, connections)
  }
}

/**
 * Answers that wait for those before them on their connection (pipelining). Node ends them with the connection, but not
 * where an upgrade came behind them: nobody would learn that they are over, nor give back what was taken for them.
 */
function createAnswers() {
  const unfinished = new WeakMap<Socket, Set<ServerResponse>>()
  return {
    watch({ socket }: IncomingMessage, response: ServerResponse): void {
      const own = unfinished.get(socket) ?? new Set()
      unfinished.set(socket, own.add(response))
      response.once('close', () => own.delete(response))
    },
    /** The connection is closed. */
    end(socket: Socket): void {
      for (const response of unfinished.get(socket) ?? []) {
        if (response.socket !== null) continue
        response.destroy()
        response.emit('close')
      }
    }
  }
}

function passedSocket({ LISTEN_FDS, LISTEN_PID }: Record<string, string | undefined>): boolean {
  if (LISTEN_FDS === undefined || !(Number(LISTEN_FDS) >= 1)) return false
  return LISTEN_PID === undefined || LISTEN_PID === '' || Number(LISTEN_PID) === process.pid
}

function listening(server: Server, where: { fd: number } | { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error) => {
      reject(
        new AddressUnavailableError('fd' in where ? 'the socket of LISTEN_FDS' : `${where.host}:${where.port}`, error)
      )
    }
    server.once('error', failed)
    server.listen(where, () => {
      server.off('error', failed)
      resolve()
    })
  })
}

function drain(server: Server, connections: ReadonlySet<Socket>): Promise<void> {
  return new Promise(resolve => {
    const timer = setTimeout(() => server.closeAllConnections(), DRAIN_TIMEOUT_MS)
    server.close(() => {
      clearTimeout(timer)
      resolve()
    })
    server.closeIdleConnections()
    // Browsers connect in advance: what was never used does not count as idle, and would take the whole drain.
    for (const socket of connections) if (socket.bytesRead === 0) socket.destroy()
  })
}
