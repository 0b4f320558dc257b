/**
 * The one local TCP port that connections leave from, so that a NAT with endpoint-independent mapping shows every peer
 * the same address. It stands on a fact of Linux and libuv: any number of sockets may be bound to a port with
 * SO_REUSEADDR as long as none of them listens, and one may listen as long as all others are bound already. So whoever
 * connects makes the listening socket step aside for the moment of its bind.
 */
import { randomInt } from 'node:crypto'
import { createServer, connect as netConnect, type Server, type Socket } from 'node:net'

/** Below the ports that systems give out by themselves (from 32768 or 49152), so that nobody else's dial takes it. */
const PICKED_PORTS = { first: 20_000, count: 8_000 } as const
const PICK_TRIES = 16
const LISTEN_BACKLOG = 64
const SOCKET_OPTIONS = { noDelay: true, keepAlive: true } as const

export interface PunchPortInit {
  /** Picked free at first use when absent. */
  port?: number | undefined
  /** Gets every socket accepted while somebody holds the port. */
  onSocket: (socket: Socket) => void
  /** Told when the port cannot be listened on; connections can still leave from it. */
  onListenError: (error: Error) => void
}

export interface PunchPort {
  /**
   * The local port.
   * @throws Error when no port can be had
   */
  number: () => Promise<number>
  /**
   * A connected socket that left from the port. `number` must have resolved before.
   * @throws the system's error, or the signal's reason; the socket is destroyed then
   */
  connect: (host: string, port: number, signal: AbortSignal) => Promise<Socket>
  /** Whether a socket left from the port, or was accepted on it. */
  owns: (socket: Socket) => boolean
  /** Listen on the port until the returned function is called. Call it after `connect` has begun. */
  hold: () => () => void
}

export function createPunchPort(init: PunchPortInit): PunchPort {
  let picked: Promise<number> | undefined
  let local: number | undefined
  let server: Server | undefined
  let holders = 0
  let binding = 0

  function listen(): void {
    if (holders === 0 || binding > 0 || server !== undefined) return
    const created = createServer(SOCKET_OPTIONS, init.onSocket)
    created.on('error', init.onListenError)
    // Without a host it binds at once, for both families: nothing may come between a close and the next listen.
    created.listen({ port: local, backlog: LISTEN_BACKLOG, exclusive: true })
    server = created
  }

  function silence(): void {
    server?.close()
    server = undefined
  }

  return {
    async number() {
      if (local !== undefined) return local
      picked ??= init.port === undefined ? pickPort() : Promise.resolve(init.port)
      try {
        local = await picked
        return local
      } catch (error) {
        picked = undefined
        throw error
      }
    },

    connect(host, port, signal) {
      signal.throwIfAborted()
      silence()
      binding += 1
      const socket = netConnect({ host, port, localPort: local as number, ...SOCKET_OPTIONS })
      let bound = false
      const onBound = () => {
        if (bound) return
        bound = true
        binding -= 1
        listen()
      }
      socket.once('connectionAttempt', () => process.nextTick(onBound))
      socket.once('close', onBound)
      return connected(socket, signal)
    },

    owns: socket => local !== undefined && socket.localPort === local,

    hold() {
      let held = true
      holders += 1
      listen()
      return () => {
        if (!held) return
        held = false
        holders -= 1
        if (holders === 0) silence()
      }
    }
  }
}

/** A connected socket that left from any other port. Throws as `PunchPort.connect`. */
export function connectFromAnyPort(host: string, port: number, signal: AbortSignal): Promise<Socket> {
  signal.throwIfAborted()
  return connected(netConnect({ host, port, ...SOCKET_OPTIONS }), signal)
}

function connected(socket: Socket, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const settle = (error?: unknown) => {
      socket.removeListener('connect', onConnect)
      socket.removeListener('error', settle)
      signal.removeEventListener('abort', onAbort)
      if (error === undefined) {
        resolve(socket)
        return
      }
      socket.destroy()
      reject(error)
    }
    const onConnect = () => settle()
    const onAbort = () => settle(signal.reason)
    // An error that nobody waits for any more must not end the process.
    socket.on('error', () => undefined)
    socket.once('error', settle)
    socket.once('connect', onConnect)
    signal.addEventListener('abort', onAbort, { once: true })
  })
}

/** A connecting socket cannot be reset; any other is, so that no TIME_WAIT keeps its pair of ports from the next try. */
export function discard(socket: Socket): void {
  if (socket.connecting) socket.destroy()
  else socket.resetAndDestroy()
}

async function pickPort(): Promise<number> {
  for (let tries = 0; tries < PICK_TRIES; tries += 1) {
    const port = PICKED_PORTS.first + randomInt(PICKED_PORTS.count)
    if (await isFree(port)) return port
  }
  throw new Error(`no free TCP port in ${PICK_TRIES} tries; configure a punch port`)
}

function isFree(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const probe = createServer()
    probe.once('error', () => resolve(false))
    probe.listen({ port, exclusive: true }, () => probe.close(() => resolve(true)))
  })
}
