/** UDP sockets as the multiplexer uses them: large kernel buffers, no resolver, promises. */
import { createSocket, type Socket } from 'node:dgram'

export const LOOPBACK = '127.0.0.1'
/** Bytes that may wait in one socket's queue for the kernel. */
export const MAX_QUEUED_BYTES = 4 * 1024 * 1024
/** Kernel buffers of every socket, bytes; the kernel caps them (`net.core.rmem_max`). */
const SOCKET_BUFFER_BYTES = 4 * 1024 * 1024

/** Addresses are numbers already; asking the resolver costs a turn of the event loop for each datagram. */
export const openSocket = (family: 4 | 6, reusePort = false): Socket =>
  createSocket({
    reusePort,
    type: family === 4 ? 'udp4' : 'udp6',
    ipv6Only: family === 6,
    recvBufferSize: SOCKET_BUFFER_BYTES,
    sendBufferSize: SOCKET_BUFFER_BYTES,
    lookup: (host, _options, callback) => callback(null, host, family)
  })

/** @throws the system's error; later ones are swallowed */
export const bind = (socket: Socket, port: number, address: string): Promise<void> =>
  new Promise((resolve, reject) => {
    socket.once('error', reject)
    socket.bind(port, address, () => {
      socket.off('error', reject)
      // ICMP errors come here; QUIC has its own time-outs.
      socket.on('error', () => {})
      resolve()
    })
  })

export const connect = (socket: Socket, port: number, host: string = LOOPBACK): Promise<void> =>
  new Promise((resolve, reject) =>
    socket.connect(port, host, (error?: Error) => (error === undefined ? resolve() : reject(error)))
  )

export function isConnected(socket: Socket): boolean {
  try {
    socket.remoteAddress()
    return true
  } catch {
    return false
  }
}
