/**
 * A leg: the loopback socket that one native QUIC socket takes for the peer. It is connected to the native port, so that
 * the kernel drops what anybody else sends there, and it knows the connection ids that its native side chose.
 */
import type { Socket } from 'node:dgram'
import { destinationId, isLongHeader, sourceId } from './datagrams.ts'
import { drain, fdOf, write } from './udp-fd.ts'
import { bind, connect, LOOPBACK, MAX_QUEUED_BYTES, openSocket } from './udp-sockets.ts'

/** Datagrams that wait for the leg to open. */
const MAX_WAITING = 16
/** Connection ids kept: the newest handshakes. */
const MAX_IDS = 16
/**
 * Start of a punch's first flight, repeated until the first answer: QUIC itself waits a second before it tries again.
 * It holds the whole ClientHello. A silent address may be somebody else's, whom the peer named: few times, ever rarer.
 */
const REPEAT = { afterMs: [50, 50, 100, 100, 200, 200, 400, 400], datagrams: 1 } as const

export interface LegInit {
  /** Port of the native side on 127.0.0.1; undefined: whoever speaks first is it. */
  nativePort: number | undefined
  /** Towards the network. */
  send: (datagram: Uint8Array) => void
  /** Whether the flow has an external socket of its own: then what has come is taken at once. */
  isConnectedFlow: () => boolean
  onDrop: () => void
  closeSocket: (socket: Socket) => void
}

export interface Leg {
  /** Where the native side finds the peer, on 127.0.0.1; 0 until it is open. */
  readonly port: number
  readonly nativePort: number | undefined
  /** The remote has sent something for this leg. */
  readonly hasHeard: boolean
  readonly isRepeating: boolean
  readonly opened: Promise<void>
  /** Whether the datagram's connection id is one that this native side chose. */
  owns: (datagram: Uint8Array) => boolean
  /** One datagram for the native side. What cannot be taken is dropped. */
  take: (datagram: Uint8Array) => void
  /** Read and write the socket directly from now on, where the system lets us. */
  goDirect: () => void
  startRepeating: () => void
  stopRepeating: () => void
  close: () => void
}

export function openLeg({ nativePort: given, send, isConnectedFlow, onDrop, closeSocket }: LegInit): Leg {
  const socket = openSocket(4)
  const waiting: Uint8Array[] = []
  const ids = new Set<string>()
  let idLength = 0
  let port = 0
  let nativePort = given
  let isOpen = false
  let hasHeard = false
  let fd: number | undefined
  /** First flight that is repeated; undefined when none is. */
  let flight: { datagrams: Uint8Array[]; timer: NodeJS.Timeout } | undefined

  function remember(datagram: Uint8Array): void {
    const id = sourceId(datagram)
    if (id === '' || ids.has(id)) return
    idLength = id.length
    ids.add(id)
    const [oldest] = ids
    if (ids.size > MAX_IDS && oldest !== undefined) ids.delete(oldest)
  }

  function fromNative(datagram: Uint8Array): void {
    if (isLongHeader(datagram)) {
      remember(datagram)
      if (flight !== undefined && flight.datagrams.length < REPEAT.datagrams) {
        flight.datagrams.push(Buffer.from(datagram))
      }
    }
    send(datagram)
  }

  function flush(): void {
    isOpen = true
    for (const datagram of waiting.splice(0)) take(datagram)
  }

  function take(datagram: Uint8Array): void {
    hasHeard = true
    if (fd !== undefined) {
      if (!write(fd, datagram)) onDrop()
    } else if (!isOpen && waiting.length < MAX_WAITING) waiting.push(Buffer.from(datagram))
    // A copy: what was drained is overwritten by the next, and this may have to wait for the kernel.
    else if (isOpen && socket.getSendQueueSize() <= MAX_QUEUED_BYTES) socket.send(Buffer.from(datagram))
    else onDrop()
  }

  function stopRepeating(): void {
    clearTimeout(flight?.timer)
    flight = undefined
  }

  socket.on('message', (datagram, from) => {
    if (nativePort === undefined) {
      nativePort = from.port
      connect(socket, from.port).then(flush, () => {})
    } else if (nativePort !== from.port) return
    fromNative(datagram)
    const own = fd
    if (own === undefined || !isConnectedFlow()) return
    drain(own, more => {
      fromNative(more)
      return fd === own && isConnectedFlow()
    })
  })
  const opened = bind(socket, 0, LOOPBACK).then(async () => {
    port = socket.address().port
    if (given === undefined) return
    await connect(socket, given)
    flush()
  })
  opened.catch(() => {})

  return {
    get port() {
      return port
    },
    get nativePort() {
      return nativePort
    },
    get hasHeard() {
      return hasHeard
    },
    get isRepeating() {
      return flight !== undefined
    },
    opened,
    owns: datagram => ids.has(destinationId(datagram, idLength)),
    take,
    goDirect() {
      if (isOpen) fd ??= fdOf(socket)
    },
    startRepeating() {
      const [firstMs, ...gapsMs] = REPEAT.afterMs
      const again = () => {
        if (flight === undefined) return
        for (const datagram of flight.datagrams) send(datagram)
        // The gaps count from the first datagram, which a busy machine may send late.
        const gapMs = flight.datagrams.length === 0 ? firstMs : gapsMs.shift()
        if (gapMs === undefined) stopRepeating()
        else flight.timer = setTimeout(again, gapMs)
      }
      flight = { datagrams: [], timer: setTimeout(again, firstMs) }
    },
    stopRepeating,
    close() {
      stopRepeating()
      waiting.length = 0
      fd = undefined
      closeSocket(socket)
    }
  }
}
