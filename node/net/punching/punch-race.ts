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

/** Makes a connection of a socket, as client of the handshakes or as server. */
export type Upgrade = (
  initiator: boolean,
  socket: Socket,
  remoteAddr: Multiaddr,
  signal: AbortSignal
) => Promise<Connection>

export interface PunchRace {
  readonly initiator: boolean
  /** The direct connection. Never rejects. */
  readonly won: Promise<Connection>
  /**
   * Takes part with a connected socket, which the race owns from then on.
   * @throws Error when no handshake came about on it; the socket is destroyed then
   */
  offer: (socket: Socket, remoteAddr: Multiaddr) => Promise<void>
}

export interface PunchRaces {
  /**
   * Takes part in the race for a peer, which all its addresses share, so that only one connection comes of them. The
   * last that leaves destroys all sockets but the winner's.
   */
  enter: (peerId: string, initiator: boolean) => { race: PunchRace; leave: () => void }
}

interface OwnedRace extends PunchRace {
  members: number
  /** False when another connection was first. */
  win: (connection: Connection) => boolean
  end: () => void
}

/** The races of one transport. */
export function createPunchRaces(upgrade: Upgrade): PunchRaces {
  const races = new Map<string, OwnedRace>()
  const keyOf = (peerId: string, initiator: boolean) => `${peerId} ${initiator}`
  return {
    enter(peerId, initiator) {
      const key = keyOf(peerId, initiator)
      // Behind one address there may be several peers: a connection goes to whoever waits for this one.
      const deliver = (connection: Connection) =>
        races.get(keyOf(connection.remotePeer.toString(), initiator))?.win(connection) ?? false
      const race = races.get(key) ?? createRace(initiator, upgrade, deliver)
      races.set(key, race)
      race.members += 1
      return {
        race,
        leave() {
          race.members -= 1
          if (race.members > 0) return
          race.end()
          races.delete(key)
        }
      }
    }
  }
}

function createRace(initiator: boolean, upgrade: Upgrade, deliver: (connection: Connection) => boolean): OwnedRace {
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
    const timer = initiator
      ? setTimeout(
          () => controller.abort(new Error(`no handshake in ${HANDSHAKE_TIMEOUT_MS} ms`)),
          HANDSHAKE_TIMEOUT_MS
        )
      : undefined
    try {
      controller.signal.throwIfAborted()
      const connection = await upgrade(initiator, socket, remoteAddr, controller.signal)
      running.delete(socket)
      if (over || !deliver(connection)) connection.abort(new Error('another connection was first'))
    } catch (error) {
      running.delete(socket)
      discard(socket)
      throw error
    } finally {
      clearTimeout(timer)
    }
  }

  return {
    initiator,
    members: 0,
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
      if (!initiator) return handshake(socket, remoteAddr, controller)
      const mine = turn.then(() => handshake(socket, remoteAddr, controller))
      turn = mine.catch(() => undefined)
      return mine
    }
  }
}
