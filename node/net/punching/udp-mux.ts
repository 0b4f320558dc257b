/**
 * One external UDP socket in front of a QUIC implementation that has a native socket for its client and another for
 * each of its servers. Towards the network all of them are one port: what NAT traversal needs.
 *
 * Every remote `ip:port` is a flow. A flow has up to two legs, one to the native client and one to the native server;
 * a leg is a UDP socket on loopback, connected to the native port, so that the kernel drops what anybody else sends
 * there. The native side takes the leg for the peer. With both legs (the peers dialled each other at once) datagrams
 * are told apart by the connection ids that the native sides chose; what carries none of them goes to both.
 *
 * A stranger can only make newcomers: flows without a finished handshake, few at once and from one source, which end
 * by themselves. UDP may lose: beyond every cap datagrams are dropped and counted.
 */
import { createSocket, type Socket } from 'node:dgram'
import { isIPv6 } from 'node:net'
import { destinationId, isFirstInitial, isLongHeader, sourceId } from './datagrams.ts'
import { drain, fdOf, isStranded, write } from './udp-fd.ts'

const LOOPBACK = '127.0.0.1'
/** Kernel buffers of every socket, bytes; the kernel caps them (`net.core.rmem_max`). */
const SOCKET_BUFFER_BYTES = 4 * 1024 * 1024
/** Datagrams of one flow that wait for its leg to open. */
const MAX_WAITING = 16
/** Bytes that may wait in one socket's queue for the kernel. */
const MAX_QUEUED_BYTES = 4 * 1024 * 1024
/** Datagrams that libuv takes from a socket in one turn at most, and less than that when none is left. */
const MAX_TURN = 32
/** Connection ids kept of one leg: its newest handshakes. */
const MAX_IDS = 16
/** Flows of one external socket. */
const MAX_FLOWS = 2048
/** Newcomers at once, and from one address (IPv6: one /64). */
const MAX_NEWCOMERS = 256
const MAX_NEWCOMERS_PER_SOURCE = 64
/** A newcomer must have finished its handshake after this. */
const HANDSHAKE_MS = 10_000
/** The last datagrams of a closed connection still pass. */
const LINGER_MS = 3000
/** An adopted socket that nobody dials over is closed after this. */
const ADOPTED_IDLE_MS = 30_000
const SWEEP_MS = 1000
/**
 * Start of a punch's first flight, repeated until the first answer: QUIC itself waits a second before it tries again.
 * It holds the whole ClientHello. A silent address may be somebody else's, whom the peer named: few times, ever rarer.
 */
const REPEAT = { afterMs: [50, 50, 100, 100, 200, 200, 400, 400], datagrams: 1 } as const

export interface Remote {
  host: string
  port: number
}

export interface UdpMuxLimits {
  /** Remotes at once. Default 2048. */
  maxFlows: number
  /** Remotes at once that have not finished a handshake. Default 256; the oldest makes room. */
  maxNewcomers: number
  /** Of these, from one IPv4 address or IPv6 /64. Default 64. */
  maxNewcomersPerSource: number
  /** ms a newcomer may take. Default 10000. */
  handshakeMs: number
  /** ms a flow stays after its last connection. Default 3000. */
  lingerMs: number
  /** ms an adopted socket stays without a connection. Default 30000. */
  adoptedIdleMs: number
}

export interface UdpMuxInit {
  host: string
  port: number
  /** Port of the native server on 127.0.0.1; without one nobody is let in. */
  serverPort?: () => number | undefined
  /** Port of the native client, shared by all multiplexers of a transport; learnt from the first dial. */
  client: { port: number | undefined }
  limits?: Partial<UdpMuxLimits>
  /** For tests: how a flow's own external socket is written to. */
  writeOuter?: typeof write
}

/** Keeps a flow open until released. */
export interface Hold {
  readonly remote: Remote
  /** Whether the flow passes by an adopted socket. */
  readonly isAdopted: boolean
  /** `now`: the flow ends at once unless others hold it, or an answer came that wants a farewell. */
  release: (now?: boolean) => void
}

export interface DialHold extends Hold {
  /** Where the native client finds the peer: a port on 127.0.0.1. */
  readonly legPort: number
  /** The native client is who speaks on the leg: its handshake succeeded. */
  confirm: () => void
}

export interface UdpMux {
  /** Resolves when the external socket is bound; rejects with the system's error. */
  readonly bound: Promise<void>
  readonly host: string
  readonly family: 4 | 6
  /** Of the external socket, once bound. */
  readonly port: number
  readonly flowCount: number
  readonly newcomerCount: number
  readonly dropped: number
  /** Whether the way to this remote is an adopted socket. */
  hasAdopted: (remote: Remote) => boolean
  /** Keeps the flow to a remote; undefined when there is none. */
  hold: (remote: Remote) => Hold | undefined
  /**
   * A way for the native client to a remote.
   * @param repeat send the first flight again and again until an answer comes
   * @throws FlowsFullError
   */
  dial: (remote: Remote, repeat?: boolean) => Promise<DialHold>
  /** The flow whose server leg has this loopback port, held. */
  accept: (legPort: number) => Hold | undefined
  /** One datagram from the external socket. */
  send: (datagram: Uint8Array, remote: Remote) => void
  /** Hear of datagrams that belong to no flow; answers the function that ends it. */
  onStray: (listener: (remote: Remote) => void) => () => void
  /**
   * From now on the flow to this remote passes by `socket`, which is closed with the flow.
   * @throws FlowsFullError
   */
  adopt: (socket: Socket, remote: Remote, isForeign: (datagram: Uint8Array) => boolean) => void
  close: () => Promise<void>
}

/** Thrown when the table of flows is full of live ones. */
export class FlowsFullError extends Error {
  readonly code = 'FLOWS_FULL'

  constructor(max: number) {
    super(`All ${max} UDP flows are in use. Close connections, or raise maxFlows.`)
    this.name = 'FlowsFullError'
  }
}

interface Leg {
  socket: Socket
  port: number
  /** Of the native side; undefined until it is known. */
  nativePort: number | undefined
  isOpen: boolean
  /** The remote has sent something for this leg. */
  hasHeard: boolean
  /** Once connected, where the system tells. */
  fd: number | undefined
  waiting: Uint8Array[]
  ids: Set<string>
  idLength: number
  opened: Promise<void>
  /** First flight that is repeated; undefined when none is. */
  flight: { datagrams: Uint8Array[]; timer: NodeJS.Timeout } | undefined
}

interface OuterSocket {
  socket: Socket
  fd: number | undefined
  /** Nothing waits in it any more from before it was connected. */
  isOwn: boolean
}

interface Flow {
  key: string
  remote: Remote
  source: string
  /** Towards the network. */
  send: (datagram: Uint8Array) => void
  adopted: Socket | undefined
  /** Of a flow with a connection: the external port once more, connected to the remote, which the kernel prefers. */
  outer: OuterSocket | undefined
  server: Leg | undefined
  client: Leg | undefined
  holds: number
  /** A newcomer has not finished a handshake yet; an adopted one was never dialled. */
  state: 'newcomer' | 'adopted' | 'held' | 'ended'
  sinceMs: number
}

const keyOf = (host: string, port: number): string => `${host} ${port}`

/** What one sender of datagrams can hardly have more than one of: an IPv4 address, an IPv6 /64. */
function sourceOf(host: string): string {
  if (!isIPv6(host)) return host
  const [head = '', tail] = host.split('%')[0]!.split('::')
  const before = head === '' ? [] : head.split(':')
  const after = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? 0 : 8 - before.length - after.length
  return [...before, ...new Array<string>(Math.max(0, zeros)).fill('0'), ...after].slice(0, 4).join(':')
}

/** Addresses are numbers already; asking the resolver costs a turn of the event loop for each datagram. */
const openSocket = (family: 4 | 6, reusePort = false): Socket =>
  createSocket({
    reusePort,
    type: family === 4 ? 'udp4' : 'udp6',
    ipv6Only: family === 6,
    recvBufferSize: SOCKET_BUFFER_BYTES,
    sendBufferSize: SOCKET_BUFFER_BYTES,
    lookup: (host, _options, callback) => callback(null, host, family)
  })

const bind = (socket: Socket, port: number, address: string): Promise<void> =>
  new Promise((resolve, reject) => {
    socket.once('error', reject)
    socket.bind(port, address, () => {
      socket.off('error', reject)
      // ICMP errors come here; QUIC has its own time-outs.
      socket.on('error', () => {})
      resolve()
    })
  })

const connect = (socket: Socket, port: number, host: string = LOOPBACK): Promise<void> =>
  new Promise((resolve, reject) =>
    socket.connect(port, host, (error?: Error) => (error === undefined ? resolve() : reject(error)))
  )

/** Opens the external socket; nothing else listens on an address that others can reach. */
export function createUdpMux(init: UdpMuxInit): UdpMux {
  const limits: UdpMuxLimits = {
    maxFlows: MAX_FLOWS,
    maxNewcomers: MAX_NEWCOMERS,
    maxNewcomersPerSource: MAX_NEWCOMERS_PER_SOURCE,
    handshakeMs: HANDSHAKE_MS,
    lingerMs: LINGER_MS,
    adoptedIdleMs: ADOPTED_IDLE_MS,
    ...init.limits
  }
  const family = isIPv6(init.host) ? 6 : 4
  const external = openSocket(family, true)
  const writeOuter = init.writeOuter ?? write
  const flows = new Map<string, Flow>()
  const byServerLeg = new Map<number, Flow>()
  /** Oldest first. */
  const newcomers = new Set<Flow>()
  const perSource = new Map<string, number>()
  const strays = new Set<(remote: Remote) => void>()
  const closing: Array<Promise<void>> = []
  let dropped = 0
  let isClosed = false

  function closeSocket(socket: Socket): void {
    const closed = new Promise<void>(resolve => socket.once('close', () => resolve()))
    try {
      socket.close()
      if (isClosed) closing.push(closed)
    } catch {
      // Whoever owned it before has closed it.
    }
  }

  function sendBy(socket: Socket, datagram: Uint8Array, port: number, host: string): void {
    if (isClosed || socket.getSendQueueSize() > MAX_QUEUED_BYTES) dropped++
    else socket.send(datagram, port, host)
  }

  function newFlow(remote: Remote, state: Flow['state']): Flow {
    const flow: Flow = {
      key: keyOf(remote.host, remote.port),
      remote,
      source: sourceOf(remote.host),
      send: datagram => sendBy(external, datagram, remote.port, remote.host),
      adopted: undefined,
      outer: undefined,
      server: undefined,
      client: undefined,
      holds: 0,
      state,
      sinceMs: performance.now()
    }
    flows.set(flow.key, flow)
    return flow
  }

  /** Room for one more, at the expense of the oldest newcomer. */
  function makeRoom(): boolean {
    if (flows.size < limits.maxFlows) return true
    const [oldest] = newcomers
    if (oldest === undefined) return false
    endFlow(oldest)
    return true
  }

  function addNewcomer(flow: Flow): void {
    flow.state = 'newcomer'
    flow.sinceMs = performance.now()
    newcomers.add(flow)
    perSource.set(flow.source, (perSource.get(flow.source) ?? 0) + 1)
  }

  function dropNewcomer(flow: Flow): void {
    if (!newcomers.delete(flow)) return
    const left = (perSource.get(flow.source) ?? 1) - 1
    if (left > 0) perSource.set(flow.source, left)
    else perSource.delete(flow.source)
  }

  function mayAdmit(source: string): boolean {
    if ((perSource.get(source) ?? 0) >= limits.maxNewcomersPerSource) return false
    if (newcomers.size >= limits.maxNewcomers) {
      const [oldest] = newcomers
      if (oldest !== undefined) endFlow(oldest)
    }
    return true
  }

  function closeLeg(leg: Leg | undefined): void {
    if (leg === undefined) return
    stopRepeating(leg)
    leg.waiting.length = 0
    leg.fd = undefined
    closeSocket(leg.socket)
  }

  function endFlow(flow: Flow): void {
    dropNewcomer(flow)
    flows.delete(flow.key)
    if (flow.server !== undefined) byServerLeg.delete(flow.server.port)
    closeLeg(flow.server)
    closeLeg(flow.client)
    closeOuter(flow)
    if (flow.adopted !== undefined) closeSocket(flow.adopted)
  }

  function closeOuter(flow: Flow): void {
    const { outer } = flow
    flow.outer = undefined
    if (outer !== undefined) closeSocket(outer.socket)
  }

  /** A flow with a connection gets an external socket of its own, so that both its ends are connected ones. */
  async function connectFlow(flow: Flow): Promise<void> {
    if (flow.adopted !== undefined || isClosed) return
    if (flow.outer === undefined) {
      const { host, port } = flow.remote
      const socket = openSocket(family, true)
      flow.outer = { socket, fd: undefined, isOwn: false }
      let heard = 0
      // Before it is connected it hears what the external one would have heard, from anybody.
      socket.on('message', (datagram, from) => {
        heard++
        onDatagram(datagram, from)
        const outer = flow.outer
        if (outer?.fd !== undefined && outer.isOwn) {
          drain(outer.fd, more => {
            deliver(flow, more)
            return flow.outer === outer
          })
        }
      })
      try {
        await bind(socket, external.address().port, init.host)
        await connect(socket, port, host)
      } catch {
        // The flow goes on by the external socket.
        if (flow.outer?.socket === socket) closeOuter(flow)
        return
      }
      if (flow.outer?.socket !== socket) return
      flow.outer.fd = fdOf(socket)
      flow.send = datagram => sendOuter(flow, datagram)
      const { outer } = flow
      // What waits in it from before is told apart by its sender; a turn of the event loop that found less than it may
      // take at once has emptied it.
      const settle = () => {
        outer.isOwn = heard < MAX_TURN
        heard = 0
        if (!outer.isOwn && flow.outer === outer) setImmediate(settle)
      }
      setImmediate(() => {
        heard = 0
        setImmediate(settle)
      })
    }
    if (flow.outer.fd === undefined) return
    for (const leg of [flow.server, flow.client]) if (leg?.isOpen) leg.fd ??= fdOf(leg.socket)
  }

  /** An outer socket keeps the own address it was connected from: when that is gone, the external socket goes on. */
  function sendOuter(flow: Flow, datagram: Uint8Array): void {
    const { outer } = flow
    if (outer?.fd !== undefined) {
      if (!writeOuter(outer.fd, datagram, error => leaveStranded(flow, error, outer))) dropped++
    } else if (outer === undefined || outer.socket.getSendQueueSize() > MAX_QUEUED_BYTES) dropped++
    else outer.socket.send(datagram, error => leaveStranded(flow, error, outer))
  }

  function leaveStranded(flow: Flow, error: unknown, outer: Flow['outer']): void {
    if (flow.outer !== outer || !isStranded(error)) return
    closeOuter(flow)
    flow.send = datagram => sendBy(external, datagram, flow.remote.port, flow.remote.host)
  }

  function openLeg(flow: Flow, nativePort: number | undefined): Leg {
    const socket = openSocket(4)
    const leg: Leg = {
      socket,
      port: 0,
      nativePort,
      isOpen: false,
      hasHeard: false,
      fd: undefined,
      waiting: [],
      ids: new Set(),
      idLength: 0,
      opened: Promise.resolve(),
      flight: undefined
    }
    socket.on('message', (datagram, from) => {
      if (leg.nativePort === undefined) {
        leg.nativePort = from.port
        connect(socket, from.port).then(
          () => flush(leg),
          () => {}
        )
      } else if (leg.nativePort !== from.port) return
      fromNative(flow, leg, datagram)
      const { fd } = leg
      if (fd === undefined || flow.outer?.fd === undefined) return
      drain(fd, more => {
        fromNative(flow, leg, more)
        return leg.fd === fd && flow.outer?.fd !== undefined
      })
    })
    leg.opened = bind(socket, 0, LOOPBACK).then(async () => {
      leg.port = socket.address().port
      if (nativePort === undefined) return
      await connect(socket, nativePort)
      flush(leg)
    })
    leg.opened.catch(() => {})
    return leg
  }

  function fromNative(flow: Flow, leg: Leg, datagram: Uint8Array): void {
    if (isLongHeader(datagram)) {
      remember(leg, datagram)
      const flight = leg.flight?.datagrams
      if (flight !== undefined && flight.length < REPEAT.datagrams) flight.push(Buffer.from(datagram))
    }
    flow.send(datagram)
  }

  function startRepeating(flow: Flow, leg: Leg): void {
    const [firstMs, ...gapsMs] = REPEAT.afterMs
    const again = () => {
      const { flight } = leg
      if (flight === undefined) return
      for (const datagram of flight.datagrams) flow.send(datagram)
      // The gaps count from the first datagram, which a busy machine may send late.
      const gapMs = flight.datagrams.length === 0 ? firstMs : gapsMs.shift()
      if (gapMs === undefined) stopRepeating(leg)
      else flight.timer = setTimeout(again, gapMs)
    }
    leg.flight = { datagrams: [], timer: setTimeout(again, firstMs) }
  }

  function stopRepeating(leg: Leg): void {
    clearTimeout(leg.flight?.timer)
    leg.flight = undefined
  }

  function remember(leg: Leg, datagram: Uint8Array): void {
    const id = sourceId(datagram)
    if (id === '' || leg.ids.has(id)) return
    leg.idLength = id.length
    leg.ids.add(id)
    const [oldest] = leg.ids
    if (leg.ids.size > MAX_IDS && oldest !== undefined) leg.ids.delete(oldest)
  }

  function flush(leg: Leg): void {
    leg.isOpen = true
    for (const datagram of leg.waiting.splice(0)) toNative(leg, datagram)
  }

  function toNative(leg: Leg, datagram: Uint8Array): void {
    leg.hasHeard = true
    if (leg.fd !== undefined) {
      if (!write(leg.fd, datagram)) dropped++
    } else if (!leg.isOpen && leg.waiting.length < MAX_WAITING) leg.waiting.push(Buffer.from(datagram))
    // A copy: what was drained is overwritten by the next, and this may have to wait for the kernel.
    else if (leg.isOpen && leg.socket.getSendQueueSize() <= MAX_QUEUED_BYTES) leg.socket.send(Buffer.from(datagram))
    else dropped++
  }

  /** Lets the peer's handshake in. */
  function openServer(flow: Flow): Leg | undefined {
    const port = init.serverPort?.()
    if (port === undefined) return undefined
    const leg = openLeg(flow, port)
    flow.server = leg
    leg.opened.then(
      () => {
        if (flow.server === leg && flows.get(flow.key) === flow) byServerLeg.set(leg.port, flow)
      },
      () => endFlow(flow)
    )
    return leg
  }

  function onDatagram(datagram: Uint8Array, from: { address: string; port: number }): void {
    const flow = flows.get(keyOf(from.address, from.port))
    if (flow === undefined) onStranger(datagram, from)
    else deliver(flow, datagram)
  }

  function onStranger(datagram: Uint8Array, { address: host, port }: { address: string; port: number }): void {
    if (init.serverPort?.() === undefined || !isFirstInitial(datagram)) {
      for (const listener of strays) listener({ host, port })
      return
    }
    if (!mayAdmit(sourceOf(host)) || !makeRoom()) {
      dropped++
      return
    }
    const flow = newFlow({ host, port }, 'newcomer')
    addNewcomer(flow)
    const leg = openServer(flow)
    if (leg !== undefined) toNative(leg, datagram)
  }

  /** Every datagram of every flow passes here: no filter on the fixed bit, it is greased (RFC 9287). */
  function deliver(flow: Flow, datagram: Uint8Array): void {
    const { client, server } = flow
    if (flow.state === 'ended' && isFirstInitial(datagram) && mayAdmit(flow.source)) addNewcomer(flow)
    if (client === undefined) {
      const leg = server ?? (isFirstInitial(datagram) ? openServer(flow) : undefined)
      if (leg !== undefined) toNative(leg, datagram)
      return
    }
    if (server === undefined) {
      // The peer may dial us while we dial it.
      const isTheirs = isFirstInitial(datagram) && !client.ids.has(destinationId(datagram, client.idLength))
      const leg = isTheirs ? openServer(flow) : client
      if (leg === undefined) return
      if (leg === client && leg.flight !== undefined && isLongHeader(datagram)) stopRepeating(leg)
      toNative(leg, datagram)
      return
    }
    const isLong = isLongHeader(datagram)
    if (client.ids.has(destinationId(datagram, client.idLength))) {
      if (isLong) stopRepeating(client)
      toNative(client, datagram)
    } else if (isLong || server.ids.has(destinationId(datagram, server.idLength))) toNative(server, datagram)
    else {
      toNative(client, datagram)
      toNative(server, datagram)
    }
  }

  function hold(flow: Flow): Hold {
    dropNewcomer(flow)
    flow.state = 'held'
    flow.holds++
    let isHeld = true
    return {
      remote: flow.remote,
      isAdopted: flow.adopted !== undefined,
      release(now = false) {
        if (!isHeld) return
        isHeld = false
        flow.holds--
        if (flow.holds > 0 || flows.get(flow.key) !== flow) return
        if (now && flow.adopted === undefined && flow.client?.hasHeard !== true) {
          endFlow(flow)
          return
        }
        flow.state = now ? 'adopted' : 'ended'
        flow.sinceMs = performance.now()
      }
    }
  }

  const sweep = setInterval(
    () => {
      const nowMs = performance.now()
      for (const flow of flows.values()) {
        const ageMs = nowMs - flow.sinceMs
        const limitMs = {
          held: Number.POSITIVE_INFINITY,
          newcomer: limits.handshakeMs,
          adopted: limits.adoptedIdleMs,
          ended: limits.lingerMs
        }[flow.state]
        if (ageMs > limitMs) endFlow(flow)
      }
    },
    Math.min(SWEEP_MS, limits.handshakeMs, limits.lingerMs, limits.adoptedIdleMs)
  )
  sweep.unref()

  external.on('message', onDatagram)
  const bound = bindShared()
  bound.catch(() => {})

  /** Sockets that share a port would share it with another program of the same user too: that is found out before. */
  async function bindShared(): Promise<void> {
    const probe = openSocket(family)
    await bind(probe, init.port, init.host)
    const { port } = probe.address()
    await new Promise<void>(resolve => probe.close(() => resolve()))
    await bind(external, port, init.host)
  }

  return {
    bound,
    host: init.host,
    family,
    get port() {
      return external.address().port
    },
    get flowCount() {
      return flows.size
    },
    get newcomerCount() {
      return newcomers.size
    },
    get dropped() {
      return dropped
    },
    hasAdopted: ({ host, port }) => flows.get(keyOf(host, port))?.adopted !== undefined,
    hold({ host, port }) {
      const flow = flows.get(keyOf(host, port))
      if (flow === undefined) return undefined
      void connectFlow(flow)
      return hold(flow)
    },
    async dial(remote, repeat = false) {
      let flow = flows.get(keyOf(remote.host, remote.port))
      if (flow === undefined) {
        if (!makeRoom()) throw new FlowsFullError(limits.maxFlows)
        flow = newFlow(remote, 'held')
      }
      const held = hold(flow)
      flow.client ??= openLeg(flow, init.client.port)
      const leg = flow.client
      if (repeat && leg.flight === undefined) startRepeating(flow, leg)
      try {
        await leg.opened
      } catch (error) {
        held.release(true)
        throw error
      }
      return {
        ...held,
        legPort: leg.port,
        confirm() {
          init.client.port ??= leg.nativePort
        }
      }
    },
    accept(legPort) {
      const flow = byServerLeg.get(legPort)
      if (flow === undefined) return undefined
      void connectFlow(flow)
      return hold(flow)
    },
    send: (datagram, { host, port }) => sendBy(external, datagram, port, host),
    onStray(listener) {
      strays.add(listener)
      return () => strays.delete(listener)
    },
    adopt(socket, remote, isForeign) {
      let flow = flows.get(keyOf(remote.host, remote.port))
      if (flow === undefined) {
        if (!makeRoom()) throw new FlowsFullError(limits.maxFlows)
        flow = newFlow(remote, 'adopted')
      }
      dropNewcomer(flow)
      closeOuter(flow)
      const { adopted: before } = flow
      flow.adopted = socket
      if (before !== undefined && before !== socket) closeSocket(before)
      if (flow.state !== 'held') {
        flow.state = 'adopted'
        flow.sinceMs = performance.now()
      }
      const adopted = flow
      flow.send = isConnected(socket)
        ? datagram => {
            if (socket.getSendQueueSize() > MAX_QUEUED_BYTES) dropped++
            else socket.send(datagram)
          }
        : datagram => sendBy(socket, datagram, remote.port, remote.host)
      socket.removeAllListeners('message')
      socket.removeAllListeners('error')
      socket.on('error', () => {})
      socket.once('close', () => {
        if (flows.get(adopted.key) === adopted && adopted.adopted === socket) endFlow(adopted)
      })
      socket.on('message', (datagram, from) => {
        if (from.address === remote.host && from.port === remote.port && !isForeign(datagram))
          deliver(adopted, datagram)
      })
    },
    async close() {
      if (!isClosed) {
        isClosed = true
        clearInterval(sweep)
        strays.clear()
        for (const flow of flows.values()) endFlow(flow)
        await bound.catch(() => {})
        closeSocket(external)
      }
      await Promise.all(closing)
    }
  }
}

function isConnected(socket: Socket): boolean {
  try {
    socket.remoteAddress()
    return true
  } catch {
    return false
  }
}
