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
import type { Socket } from 'node:dgram'
import { isIPv6 } from 'node:net'
import { customerOf } from '../customer.ts'
import { isFirstInitial, isLongHeader } from './datagrams.ts'
import { FlowsFullError } from './errors.ts'
import { drain, fdOf, isStranded, write } from './udp-fd.ts'
import { type Leg, openLeg } from './udp-leg.ts'
import type { Hold, Remote, UdpMux, UdpMuxInit, UdpMuxLimits } from './udp-mux.types.ts'
import { bind, connect, isConnected, MAX_QUEUED_BYTES, openSocket } from './udp-sockets.ts'

/** Datagrams that libuv takes from a socket in one turn at most, and less than that when none is left. */
const MAX_TURN = 32
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
      source: customerOf(remote.host),
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

  function endFlow(flow: Flow): void {
    dropNewcomer(flow)
    flows.delete(flow.key)
    if (flow.server !== undefined) byServerLeg.delete(flow.server.port)
    flow.server?.close()
    flow.client?.close()
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
    for (const leg of [flow.server, flow.client]) leg?.goDirect()
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

  function newLeg(flow: Flow, nativePort: number | undefined): Leg {
    return openLeg({
      nativePort,
      send: datagram => flow.send(datagram),
      isConnectedFlow: () => flow.outer?.fd !== undefined,
      onDrop: () => dropped++,
      closeSocket
    })
  }

  /** Lets the peer's handshake in. */
  function openServer(flow: Flow): Leg | undefined {
    const port = init.serverPort?.()
    if (port === undefined) return undefined
    const leg = newLeg(flow, port)
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
    if (!mayAdmit(customerOf(host)) || !makeRoom()) {
      dropped++
      return
    }
    const flow = newFlow({ host, port }, 'newcomer')
    addNewcomer(flow)
    const leg = openServer(flow)
    if (leg !== undefined) leg.take(datagram)
  }

  /** Every datagram of every flow passes here: no filter on the fixed bit, it is greased (RFC 9287). */
  function deliver(flow: Flow, datagram: Uint8Array): void {
    const { client, server } = flow
    if (flow.state === 'ended' && isFirstInitial(datagram) && mayAdmit(flow.source)) addNewcomer(flow)
    if (client === undefined) {
      const leg = server ?? (isFirstInitial(datagram) ? openServer(flow) : undefined)
      if (leg !== undefined) leg.take(datagram)
      return
    }
    if (server === undefined) {
      // The peer may dial us while we dial it.
      const isTheirs = isFirstInitial(datagram) && !client.owns(datagram)
      const leg = isTheirs ? openServer(flow) : client
      if (leg === undefined) return
      if (leg === client && leg.isRepeating && isLongHeader(datagram)) leg.stopRepeating()
      leg.take(datagram)
      return
    }
    const isLong = isLongHeader(datagram)
    if (client.owns(datagram)) {
      if (isLong) client.stopRepeating()
      client.take(datagram)
    } else if (isLong || server.owns(datagram)) server.take(datagram)
    else {
      client.take(datagram)
      server.take(datagram)
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
        flow.state = now && flow.adopted !== undefined ? 'adopted' : 'ended'
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
    let port: number
    try {
      await bind(probe, init.port, init.host)
      port = probe.address().port
    } finally {
      await new Promise<void>(resolve => probe.close(() => resolve()))
    }
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
      flow.client ??= newLeg(flow, init.client.port)
      const leg = flow.client
      if (repeat && !leg.isRepeating) leg.startRepeating()
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
