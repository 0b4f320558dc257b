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
import { CODE_P2P, type Multiaddr } from '@multiformats/multiaddr'
import { TCP } from '@multiformats/multiaddr-matcher'
import { pause } from '../timings.ts'
import { type PunchCause, PunchFailedError } from './errors.ts'
import { type PunchingTransport, type PunchOptions, punchingTransport } from './punch.types.ts'
import { canonicalHost, connectFromAnyPort, createPunchPort, discard } from './punch-port.ts'
import { createPunchRaces, type PunchRace } from './punch-race.ts'
import { SocketConnection } from './socket-connection.ts'
import { causeOf, isPortConflict, retryMs } from './socket-errors.ts'

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

interface Target {
  host: string
  port: number
  peerId: string
  race: PunchRace
  accepted: number
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
        const connection = await inner.dial(address, { ...own, ...{ localPort } })
        fromPunchPort.add(connection)
        return connection
      } catch (error) {
        if (!isPortConflict(error)) throw error
        log('dial to %a repeated from another port', address)
        return await inner.dial(address, { ...options, signal: controller.signal })
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
    // Another port of the same address is a peer-reflexive one. Whose it is among several peers, nobody can know yet.
    const target = here.find(({ port }) => port === remotePort) ?? here.toSorted((a, b) => a.accepted - b.accepted)[0]
    if (target === undefined) {
      discard(socket)
      return
    }
    target.accepted += 1
    const remoteAddr = ipPortToMultiaddr(host, remotePort)
    const alone = here.every(({ peerId }) => peerId === target.peerId)
    const expected = alone || target.race.initiator ? remoteAddr.encapsulate(`/p2p/${target.peerId}`) : remoteAddr
    target.race.offer(socket, expected).catch(target.fail)
  }

  async function punch(address: Multiaddr, options: PunchOptions): Promise<Connection> {
    const text = address.toString()
    const { host, port: remotePort, peerId } = punchable(address)
    if (options.signal.aborted || stopping.signal.aborted) throw new PunchFailedError('aborted', text)
    if (targets.size >= MAX_PUNCHES)
      throw new PunchFailedError('aborted', text, { cause: new Error('too many punches') })
    const failure: { reason: PunchCause; cause?: unknown } = { reason: 'timeout' }
    const note = (error: unknown, reason: PunchCause = causeOf(error)) => {
      Object.assign(failure, { reason, cause: error })
    }

    const end = new AbortController()
    const ended = Promise.withResolvers<never>()
    ended.promise.catch(() => undefined)
    const fail = () => ended.reject(new PunchFailedError(failure.reason, text, { cause: failure.cause }))
    const onAbort = () => {
      const reason: unknown = options.signal.aborted ? options.signal.reason : undefined
      if (!(reason instanceof Error && reason.name === 'TimeoutError')) note(reason, 'aborted')
      fail()
    }
    const timer = setTimeout(fail, init.punchTimeoutMs ?? PUNCH_TIMEOUT_MS)
    const calledOff = AbortSignal.any([options.signal, stopping.signal])
    calledOff.addEventListener('abort', onAbort, { once: true })

    const { race, leave } = races.enter(peerId, options.initiator)
    const target: Target = {
      host,
      port: remotePort,
      peerId,
      race,
      accepted: 0,
      fail: error => note(error, 'handshake-failed')
    }
    let release: (() => void) | undefined
    let isConnected = false

    async function connect(): Promise<void> {
      await port.number().catch(error => {
        note(error, 'port-in-use')
        throw error
      })
      for (let failures = 0; !end.signal.aborted; ) {
        let socket: Socket
        try {
          const connecting = port.connect(host, remotePort, end.signal)
          release ??= port.hold()
          socket = await connecting
          isConnected = true
        } catch (error) {
          if (end.signal.aborted) return
          note(error)
          const again = retryMs(error)
          if (again === undefined) throw error
          await pause(again, end.signal)
          continue
        }
        try {
          return await race.offer(socket, address)
        } catch (error) {
          failures += 1
          note(error, 'handshake-failed')
          if (failures > MAX_HANDSHAKE_FAILURES) throw error
          await pause(HANDSHAKE_RETRY_MS * 2 ** (failures - 1), end.signal)
        }
      }
    }

    async function connectAgain(): Promise<void> {
      await pause(SECOND_SYN_MS, end.signal)
      if (isConnected || end.signal.aborted) return
      await race.offer(await connectFromAnyPort(host, remotePort, end.signal), address)
    }

    targets.add(target)
    try {
      connect().catch(fail)
      connectAgain().catch(() => undefined)
      return await Promise.race([race.won, ended.promise])
    } finally {
      clearTimeout(timer)
      calledOff.removeEventListener('abort', onAbort)
      targets.delete(target)
      end.abort()
      release?.()
      leave()
    }
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

function punchable(address: Multiaddr): { host: string; port: number; peerId: string } {
  const peerId = address.getComponents().findLast(({ code }) => code === CODE_P2P)?.value
  if (!TCP.exactMatch(address) || peerId === undefined) throw new PunchFailedError('no-transport', address.toString())
  const { type, host, port } = getNetConfig(address)
  // A name would be looked up by each side in its own time, and could mean somebody else.
  if (port === undefined || (type !== 'ip4' && type !== 'ip6'))
    throw new PunchFailedError('no-transport', address.toString())
  return { host: canonicalHost(host), port, peerId }
}
