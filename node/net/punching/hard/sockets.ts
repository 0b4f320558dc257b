/** Plain UDP sockets of observations and hard punches: bound to a port of their own, closed for certain. */
import { createSocket, type Socket } from 'node:dgram'

/**
 * A UDP socket on a port that the kernel chose (or on this one).
 * @throws whatever binding meets; the socket is closed then
 */
export function bindUdp(at: { host?: string; port?: number } = {}): Promise<Socket> {
  const { host = '0.0.0.0', port = 0 } = at
  const isIpv6 = host.includes(':')
  const socket = createSocket({
    type: isIpv6 ? 'udp6' : 'udp4',
    ipv6Only: isIpv6,
    // Only addresses are sent to. Without a resolver between, datagrams leave in the order and at the time of the call.
    lookup: (address, _options, callback) => callback(null, address, isIpv6 ? 6 : 4)
  })
  return new Promise((resolve, reject) => {
    const failed = (error: Error): void => {
      socket.close()
      reject(error)
    }
    socket.once('error', failed)
    socket.bind({ port, address: host, exclusive: true }, () => {
      socket.off('error', failed)
      // Unreachable networks and refused ports come as errors of a later call; nothing here depends on one datagram.
      socket.on('error', () => undefined)
      resolve(socket)
    })
  })
}

/** Close a socket that may be closed already. */
export function closeUdp(socket: Socket): void {
  try {
    socket.close()
  } catch {
    // Closed before: that is what was asked for.
  }
}

/** Send without waiting; a datagram that cannot leave is a lost one. */
export function sendUdp(socket: Socket, bytes: Uint8Array, to: { host: string; port: number }): void {
  try {
    socket.send(bytes, to.port, to.host, () => undefined)
  } catch {
    // The socket was closed meanwhile.
  }
}

/**
 * Several at once, all or none.
 * @throws the first failure; what was bound is closed
 */
export async function bindMany(count: number): Promise<Socket[]> {
  const settled = await Promise.allSettled(Array.from({ length: count }, () => bindUdp()))
  const sockets = settled.flatMap(result => (result.status === 'fulfilled' ? [result.value] : []))
  const failed = settled.find(result => result.status === 'rejected')
  if (failed === undefined) return sockets
  for (const socket of sockets) closeUdp(socket)
  throw failed.reason
}
