/**
 * All sockets of all addresses of one peer that a punch brought together, and the one that becomes the connection. Both
 * ends must choose the same, or each destroys what the other kept. So the client of the handshakes chooses: it upgrades
 * one socket after the other, while the other side is ready on all of them and takes the one that speaks.
 */
import type { Socket } from 'node:net'
import type { Connection } from '@libp2p/interface'
import type { Multiaddr } from '@multiformats/multiaddr'
import { discard } from './punch-port.ts'

/** Connected sockets of one race at a time; more are thrown away. */
const MAX_SOCKETS = 8

/** How long one socket may hold up the others of the initiator. */
const HANDSHAKE_TIMEOUT_MS = 4_000

export interface PunchRaceInit {
  initiator: boolean
  upgrade: (socket: Socket, remoteAddr: Multiaddr, signal: AbortSignal) => Promise<Connection>
  /** What to do with an upgraded connection; usually `win` of this race. False: nobody wants it. */
  deliver: (connection: Connection) => boolean
}

export interface PunchRace {
  readonly initiator: boolean
  /** The direct connection. Never rejects. */
  readonly won: Promise<Connection>
  /**
   * Takes part with a connected socket, which the race owns from then on.
   * @throws Error when no handshake came about on it; the socket is destroyed then
   */
  offer: (socket: Socket, remoteAddr: Multiaddr) => Promise<void>
  /** False when another connection was first. */
  win: (connection: Connection) => boolean
  /** Destroys all sockets but the winner's. */
  end: () => void
}

export function createPunchRace(init: PunchRaceInit): PunchRace {
  const { promise: won, resolve } = Promise.withResolvers<Connection>()
  const running = new Map<Socket, AbortController>()
  let over = false
  let turn: Promise<unknown> = Promise.resolve()

  function end(): void {
    over = true
    for (const [socket, controller] of running) {
      controller.abort(new Error('another connection was first, or the punch ended'))
      discard(socket)
    }
    running.clear()
  }

  async function handshake(socket: Socket, remoteAddr: Multiaddr, controller: AbortController): Promise<void> {
    const timer = init.initiator
      ? setTimeout(
          () => controller.abort(new Error(`no handshake in ${HANDSHAKE_TIMEOUT_MS} ms`)),
          HANDSHAKE_TIMEOUT_MS
        )
      : undefined
    try {
      controller.signal.throwIfAborted()
      const connection = await init.upgrade(socket, remoteAddr, controller.signal)
      running.delete(socket)
      if (over || !init.deliver(connection)) connection.abort(new Error('another connection was first'))
    } catch (error) {
      running.delete(socket)
      discard(socket)
      throw error
    } finally {
      clearTimeout(timer)
    }
  }

  return {
    initiator: init.initiator,
    won,
    end,
    win(connection) {
      if (over) return false
      over = true
      resolve(connection)
      return true
    },
    async offer(socket, remoteAddr) {
      if (over || socket.destroyed || running.size >= MAX_SOCKETS) {
        discard(socket)
        throw new Error('too many sockets, or the race is over')
      }
      const controller = new AbortController()
      running.set(socket, controller)
      if (!init.initiator) return handshake(socket, remoteAddr, controller)
      const mine = turn.then(() => handshake(socket, remoteAddr, controller))
      turn = mine.catch(() => undefined)
      return mine
    }
  }
}
