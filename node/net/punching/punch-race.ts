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
  readonly peerId: string
  readonly initiator: boolean
  /** The direct connection. Never rejects. */
  readonly won: Promise<Connection>
}

export interface PunchRaces {
  /**
   * Takes part in the race for a peer, which all its addresses share, so that only one connection comes of them. The
   * last that leaves destroys all sockets but the winner's.
   */
  enter: (peerId: string, initiator: boolean) => { race: PunchRace; leave: () => void }
  /**
   * Takes part with a connected socket, which is owned here from then on. One that may be of several peers takes part
   * in all their races, which must be of one role, and counts in that of the peer it turns out to be.
   * @throws Error when no handshake came about on it; the socket is destroyed then
   */
  offer: (candidates: readonly PunchRace[], socket: Socket, remoteAddr: Multiaddr) => Promise<void>
}

interface OwnedRace extends PunchRace {
  members: number
  isOver: boolean
  resolve: (connection: Connection) => void
  /** The initiator's handshakes, one after the other. */
  turn: Promise<unknown>
}

/** A socket in a handshake or waiting for its turn. */
interface Runner {
  controller: AbortController
  races: Set<OwnedRace>
}

/** The races of one transport. */
export function createPunchRaces(upgrade: Upgrade): PunchRaces {
  const races = new Map<string, OwnedRace>()
  const running = new Map<Socket, Runner>()
  const keyOf = (peerId: string, initiator: boolean) => `${peerId} ${initiator}`

  function create(peerId: string, initiator: boolean): OwnedRace {
    const { promise: won, resolve } = Promise.withResolvers<Connection>()
    return { peerId, initiator, won, resolve, members: 0, isOver: false, turn: Promise.resolve() }
  }

  /** False when another connection was first, or nobody waits for this peer. */
  function deliver(connection: Connection, initiator: boolean): boolean {
    const race = races.get(keyOf(connection.remotePeer.toString(), initiator))
    if (race === undefined || race.isOver) return false
    race.isOver = true
    race.resolve(connection)
    return true
  }

  function end(race: OwnedRace): void {
    race.isOver = true
    for (const [socket, runner] of running) {
      if (!runner.races.delete(race) || runner.races.size > 0) continue
      runner.controller.abort(new Error('another connection was first, or the punch ended'))
      running.delete(socket)
      discard(socket)
    }
  }

  async function handshake(
    initiator: boolean,
    socket: Socket,
    remoteAddr: Multiaddr,
    { controller, races: wanted }: Runner
  ): Promise<void> {
    const timer = initiator
      ? setTimeout(
          () => controller.abort(new Error(`no handshake in ${HANDSHAKE_TIMEOUT_MS} ms`)),
          HANDSHAKE_TIMEOUT_MS
        )
      : undefined
    try {
      controller.signal.throwIfAborted()
      if ([...wanted].every(({ isOver }) => isOver)) throw new Error('another connection was first')
      const connection = await upgrade(initiator, socket, remoteAddr, controller.signal)
      running.delete(socket)
      if (!deliver(connection, initiator)) connection.abort(new Error('another connection was first'))
    } catch (error) {
      running.delete(socket)
      discard(socket)
      throw error
    } finally {
      clearTimeout(timer)
    }
  }

  return {
    enter(peerId, initiator) {
      const key = keyOf(peerId, initiator)
      const race = races.get(key) ?? create(peerId, initiator)
      races.set(key, race)
      race.members += 1
      return {
        race,
        leave() {
          race.members -= 1
          if (race.members > 0) return
          races.delete(key)
          end(race)
        }
      }
    },

    async offer(candidates, socket, remoteAddr) {
      const wanted = candidates
        .flatMap(({ peerId, initiator }) => races.get(keyOf(peerId, initiator)) ?? [])
        .filter(
          race => !race.isOver && [...running.values()].filter(runner => runner.races.has(race)).length < MAX_SOCKETS
        )
      const [first] = wanted
      if (first === undefined || socket.destroyed) {
        discard(socket)
        throw new Error('too many sockets, or the race is over')
      }
      const runner: Runner = { controller: new AbortController(), races: new Set(wanted) }
      running.set(socket, runner)
      const go = () => handshake(first.initiator, socket, remoteAddr, runner)
      if (!first.initiator) return go()
      const mine = Promise.all(wanted.map(({ turn }) => turn)).then(go)
      for (const race of wanted) race.turn = mine.catch(() => undefined)
      return mine
    }
  }
}
