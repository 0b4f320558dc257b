/**
 * How two sides agree on one pair of ports. The symmetric side alone chooses: the first of its sockets that hears a
 * probe is it. It says so by that socket until the cone side confirms; the cone side follows the first such word. Two
 * sides that both chose would pick different pairs whenever two probes hit.
 */
import type { Socket } from 'node:dgram'
import type { Budget } from './budget.ts'
import { decodePunch, encodePunch, type PunchKind } from './packets.ts'
import { closeUdp, sendUdp } from './sockets.ts'

/** Two sockets that hear each other. */
export interface Met {
  socket: Socket
  remote: { host: string; port: number }
}

export interface MeetOptions {
  /** Where the other side is, by the relay's word: nothing from elsewhere is heard. */
  host: string
  token: Uint8Array
  budget: Budget
}

/** The choice is repeated so often, and so many times at most: the way back may lose datagrams. */
const CHOOSE_EVERY_MS = 100
const MAX_CHOICES = 30

export interface Chooser {
  /** The chosen pair, once the cone side confirmed it. */
  met: Promise<Met>
  hasChosen: () => boolean
  /** End it. Every socket is closed but the one that met. */
  end: () => void
}

/** The symmetric side: listen on all sockets. */
export function chooseFrom(sockets: readonly Socket[], { host, token, budget }: MeetOptions): Chooser {
  const { promise, resolve } = Promise.withResolvers<Met>()
  const choice = encodePunch('choose', token)
  let chosen: Met | undefined
  let isMet = false
  let timer: NodeJS.Timeout | undefined
  let choices = 0

  const listeners = sockets.map(socket => {
    const onMessage = (bytes: Uint8Array, from: { address: string; port: number }): void => {
      if (from.address !== host) return
      const kind = decodePunch(bytes, token)
      if (kind === 'probe' && chosen === undefined) choose({ socket, remote: { host, port: from.port } })
      if (kind === 'confirm' && chosen?.socket === socket && chosen.remote.port === from.port) confirm(chosen)
    }
    socket.on('message', onMessage)
    return () => socket.off('message', onMessage)
  })

  function choose(met: Met): void {
    chosen = met
    for (const socket of sockets) if (socket !== met.socket) closeUdp(socket)
    const say = (): void => {
      if (choices++ >= MAX_CHOICES || !budget.take()) clearInterval(timer)
      else sendUdp(met.socket, choice, met.remote)
    }
    timer = setInterval(say, CHOOSE_EVERY_MS)
    say()
  }

  function confirm(met: Met): void {
    clearInterval(timer)
    isMet = true
    resolve(met)
  }

  return {
    met: promise,
    hasChosen: () => chosen !== undefined,
    end() {
      clearInterval(timer)
      for (const stop of listeners) stop()
      for (const socket of sockets) if (!isMet || socket !== chosen?.socket) closeUdp(socket)
    }
  }
}

export interface Follower {
  /** The pair that the symmetric side chose. It still has to be told `met` by the relayed way: a confirmation may be lost. */
  chosen: Promise<Met>
  hasChosen: () => boolean
  /** Stop to answer; the socket stays open. */
  end: () => void
}

/** The cone side: answer what comes on its one socket. */
export function follow(socket: Socket, { host, token, budget }: MeetOptions): Follower {
  const { promise, resolve } = Promise.withResolvers<Met>()
  let chosen: Met | undefined
  const answer = (kind: PunchKind, port: number): void => {
    if (budget.take()) sendUdp(socket, encodePunch(kind, token), { host, port })
  }
  const onMessage = (bytes: Uint8Array, from: { address: string; port: number }): void => {
    if (from.address !== host) return
    const kind = decodePunch(bytes, token)
    if (kind === 'open' && chosen === undefined) answer('probe', from.port)
    if (kind !== 'choose') return
    chosen ??= { socket, remote: { host, port: from.port } }
    if (chosen.remote.port !== from.port) return
    answer('confirm', from.port)
    resolve(chosen)
  }
  socket.on('message', onMessage)
  return {
    chosen: promise,
    hasChosen: () => chosen !== undefined,
    end: () => void socket.off('message', onMessage)
  }
}
