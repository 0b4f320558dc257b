/**
 * A TCP transport that punches holes: `@libp2p/tcp`, with every dial leaving from one local port, and simultaneous open
 * from that port. Hand `punchingTcp()` to `createLibp2p` in place of `tcp()`.
 *
 * Ordinary dials use the port for every address, loopback and private ones too: one rule, and a conflict costs nothing.
 * When the pair of ports is still in use (TIME_WAIT, a dial under way, a punch that listens) the dial is repeated from a
 * port of the system's choice, and `dialledFromPunchPort` says so.
 */
import type { Socket } from 'node:net'
import {
  type ComponentLogger,
  type Connection,
  type DialTransportOptions,
  type Metrics,
  serviceCapabilities,
  transportSymbol,
  type Upgrader
} from '@libp2p/interface'
import { type TCPOptions, tcp } from '@libp2p/tcp'
import { getNetConfig, ipPortToMultiaddr } from '@libp2p/utils'
import type { Multiaddr } from '@multiformats/multiaddr'
import { TCP } from '@multiformats/multiaddr-matcher'
import { pause } from '../timings.ts'
import { PunchFailedError } from './errors.ts'
import { type PunchingTransport, type PunchOptions, punchingTransport } from './punch.types.ts'
import { canonicalHost, punchable } from './punch-address.ts'
import { createPunchEnding, type PunchEnding } from './punch-ending.ts'
import { connectFromAnyPort, createPunchPort, discard } from './punch-port.ts'
import { createPunchRaces, type PunchRace } from './punch-race.ts'
import { SocketConnection } from './socket-connection.ts'
import { isPortConflict, isRefusal, MAX_REFUSED, retryMs } from './socket-errors.ts'

/** A punch ends by itself after so long, whatever its signal does. */
const PUNCH_TIMEOUT_MS = 10_000

/** Punches at one time; more are refused. */
const MAX_PUNCHES = 256

/** Sockets accepted for one punch, all together. */
const MAX_ACCEPTED = 16

/**
 * Where only one side's SYN can pass (the other is behind a symmetric NAT) and it came before the filter opened, the
 * kernel repeats it after a second. A SYN from another port is sooner, and a filter by address alone lets it in.
 */
const SECOND_SYN_MS = 250

/**
 * Within it after its connection a client of js-libp2p has spoken; its server is silent until then. Asked only of a socket
 * from an unknown port of an address where peers of both roles are.
 */
const SPEAKS_FIRST_MS = 150

/** After sockets that connected and then led to nothing; doubles. */
const HANDSHAKE_RETRY_MS = 100
const MAX_HANDSHAKE_FAILURES = 6

export interface PunchingTcpInit extends TCPOptions {
  /** Local port of all outbound connections; nothing may listen on it. Default: one that is free at first use. */
  punchPort?: number
  /** Default 10 000. */
  punchTimeoutMs?: number
}

/** What the transport needs of libp2p. */
export interface PunchingTcpComponents {
  logger: ComponentLogger
  metrics?: Metrics
  upgrader: Upgrader
}

export interface PunchingTcp extends PunchingTransport {
  /** The local port that dials and punches leave from. */
  punchPort: () => Promise<number>
  start: () => void
  /** Ends every punch. */
  stop: () => void
}

/** One address being punched. */
interface Target {
  address: Multiaddr
  host: string
  port: number
  peerId: string
  race: PunchRace
  accepted: number
  /** By its own first SYN, that is. */
  isConnected: boolean
  fail: (error: unknown) => void
}

export function punchingTcp(init: PunchingTcpInit = {}): (components: PunchingTcpComponents) => PunchingTcp {
  return components => createPunchingTcp(components, init)
}

function createPunchingTcp(components: PunchingTcpComponents, init: PunchingTcpInit): PunchingTcp {
  const log = components.logger.forComponent('warren:punching-tcp')
  const inner = tcp(init)(components)
  const port = createPunchPort({
    port: init.punchPort,
    onSocket: accept,
    onListenError: error => log.error('cannot listen on the punch port - %e', error)
  })
  const fromPunchPort = new WeakSet<Connection>()
  const targets = new Set<Target>()
  const races = createPunchRaces(upgrade)
  let stopping = new AbortController()

  async function dial(address: Multiaddr, options: DialTransportOptions): Promise<Connection> {
    options.signal.throwIfAborted()
    const localPort = await dialPort(address)
    // The socket keeps the signal that it was dialled with: one of the caller's would end the connection much later.
    const controller = new AbortController()
    const onAbort = () => controller.abort(options.signal.reason)
    options.signal.addEventListener('abort', onAbort, { once: true })
    if (options.signal.aborted) onAbort()
    try {
      const own = { ...options, signal: controller.signal }
      if (localPort === undefined) return await inner.dial(address, own)
      try {
        // `@libp2p/tcp` hands whatever it is given to `net.connect`.
        const bound: DialTransportOptions & { localPort: number } = { ...own, localPort }
        const connection = await inner.dial(address, bound)
        fromPunchPort.add(connection)
        return connection
      } catch (error) {
        if (!isPortConflict(error)) throw error
        log('dial to %a repeated from another port', address)
        return await inner.dial(address, own)
      }
    } finally {
      options.signal.removeEventListener('abort', onAbort)
    }
  }

  /** Undefined: let the system choose. A socket that dials its own port would meet itself. */
  async function dialPort(address: Multiaddr): Promise<number | undefined> {
    if (!TCP.matches(address)) return undefined
    const local = await port.number().catch(() => undefined)
    return getNetConfig(address).port === local ? undefined : local
  }

  async function upgrade(
    initiator: boolean,
    socket: Socket,
    remoteAddr: Multiaddr,
    signal: AbortSignal
  ): Promise<Connection> {
    const connection = new SocketConnection({
      socket,
      remoteAddr,
      direction: initiator ? 'outbound' : 'inbound',
      log: log.newScope('connection'),
      inactivityTimeoutMs: init.outboundSocketInactivityTimeout
    })
    try {
      const upgraded = await components.upgrader.upgradeOutbound(connection, { signal, initiator })
      if (port.owns(socket)) fromPunchPort.add(upgraded)
      return upgraded
    } catch (error) {
      connection.abort(error as Error)
      throw error
    }
  }

  function accept(socket: Socket): void {
    socket.on('error', () => undefined)
    const { remoteAddress = '', remotePort = 0 } = socket
    const host = canonicalHost(remoteAddress)
    const here = [...targets].filter(target => target.host === host && target.accepted < MAX_ACCEPTED)
    const exact = here.find(({ port }) => port === remotePort)
    // Another port of the same address is a peer-reflexive one, and behind one address there may be several peers.
    const possible = exact === undefined ? here : [exact]
    const target = possible.toSorted((a, b) => a.accepted - b.accepted)[0]
    if (target === undefined) {
      discard(socket)
      return
    }
    target.accepted += 1
    const remoteAddr = ipPortToMultiaddr(host, remotePort)
    if (possible.every(({ peerId }) => peerId === target.peerId)) {
      races.offer([target.race], socket, remoteAddr.encapsulate(`/p2p/${target.peerId}`)).catch(target.fail)
    } else {
      offerToAny(possible, socket, remoteAddr).catch(error => log('a socket of %s led to nothing - %e', host, error))
    }
  }

  /** The handshake tells whose socket it is; who is client of it must be known before. */
  async function offerToAny(possible: Target[], socket: Socket, remoteAddr: Multiaddr): Promise<void> {
    let initiator = possible[0]?.race.initiator
    if (possible.some(({ race }) => race.initiator !== initiator)) {
      await pause(SPEAKS_FIRST_MS, stopping.signal)
      initiator = socket.bytesRead === 0
    }
    const wanted = new Set(possible.map(({ race }) => race).filter(race => race.initiator === initiator))
    await races.offer([...wanted], socket, remoteAddr)
  }

  async function punch(address: Multiaddr, options: PunchOptions): Promise<Connection> {
    const text = address.toString()
    const { host, port: remotePort, peerId } = punchable(address)
    const calledOff = [options.signal, stopping.signal]
    if (calledOff.some(({ aborted }) => aborted)) throw new PunchFailedError('aborted', text)
    if (targets.size >= MAX_PUNCHES)
      throw new PunchFailedError('aborted', text, { cause: new Error(`${MAX_PUNCHES} punches are under way`) })
    const ending = createPunchEnding({ address: text, timeoutMs: init.punchTimeoutMs ?? PUNCH_TIMEOUT_MS, calledOff })
    const { race, leave } = races.enter(peerId, options.initiator)
    const fail = (error: unknown) => ending.note(error, 'handshake-failed')
    const target: Target = { address, host, port: remotePort, peerId, race, accepted: 0, isConnected: false, fail }
    targets.add(target)
    try {
      connect(target, ending).catch(ending.fail)
      connectAgain(target, ending.signal).catch(() => undefined)
      return await Promise.race([race.won, ending.failed])
    } finally {
      targets.delete(target)
      ending.clear()
      leave()
    }
  }

  /** Simultaneous open, again and again, then a port that listens; rejects when more tries cannot help. */
  async function connect(target: Target, { signal, note }: PunchEnding): Promise<void> {
    let release: (() => void) | undefined
    try {
      await port.number().catch(error => {
        note(error, 'port-in-use')
        throw error
      })
      let refused = 0
      for (let failures = 0; !signal.aborted; ) {
        const connecting = port.connect(target.host, target.port, signal)
        release ??= port.hold()
        const socket = await connecting.catch(async error => {
          if (signal.aborted) return undefined
          note(error)
          if (isRefusal(error)) refused += 1
          // Our mapping stays open for a while, and the port listens: the peer may still come.
          if (refused >= MAX_REFUSED) await new Promise(resolve => signal.addEventListener('abort', resolve))
          if (signal.aborted) return undefined
          const again = retryMs(error)
          if (again === undefined) throw error
          await pause(again, signal)
          return undefined
        })
        if (socket === undefined) continue
        target.isConnected = true
        try {
          await races.offer([target.race], socket, target.address)
        } catch (error) {
          failures += 1
          note(error, 'handshake-failed')
          if (failures > MAX_HANDSHAKE_FAILURES) throw error
          await pause(HANDSHAKE_RETRY_MS * 2 ** (failures - 1), signal)
          continue
        }
        return
      }
    } finally {
      release?.()
    }
  }

  async function connectAgain(target: Target, signal: AbortSignal): Promise<void> {
    await pause(SECOND_SYN_MS, signal)
    if (target.isConnected || signal.aborted) return
    const socket = await connectFromAnyPort(target.host, target.port, signal)
    await races.offer([target.race], socket, target.address)
  }

  return {
    [transportSymbol]: true,
    [Symbol.toStringTag]: '@warren/punching-tcp',
    [punchingTransport]: true,
    [serviceCapabilities]: ['@libp2p/transport'],
    punchProtocol: 'tcp',
    dial,
    punch,
    punchPort: () => port.number(),
    dialledFromPunchPort: connection => fromPunchPort.has(connection),
    createListener: options => inner.createListener(options),
    listenFilter: addresses => inner.listenFilter(addresses),
    dialFilter: addresses => inner.dialFilter(addresses),
    start() {
      stopping = new AbortController()
    },
    stop() {
      stopping.abort()
    }
  } as PunchingTcp
}
