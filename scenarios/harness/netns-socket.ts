/**
 * A bound, not yet listening TCP socket, made in one network namespace and used in another. The product calls
 * listen(2) on it, so a host refuses connections before it serves and as soon as it is dead: nothing of ours
 * ever accepts in between.
 *
 * The only place that uses Node's undocumented handles: `net._createServerHandle` is what Node's own cluster
 * module makes the sockets with that it hands to its workers, and child_process passes such handles as they are.
 */
import type { ChildProcess } from 'node:child_process'
import net from 'node:net'

/** The native handle; opaque but for these. */
export interface SocketHandle {
  readonly fd: number
  close: () => void
  getsockname: (out: { port?: number }) => number
}

const createServerHandle = (
  net as unknown as { _createServerHandle: (address: string, port: number, addressType: 4) => SocketHandle | number }
)._createServerHandle

/** Thrown when a control port cannot be had. */
export class PortTakenError extends Error {
  override readonly name = 'PortTakenError'
  readonly code = 'PORT_TAKEN'
  constructor(port: number) {
    super(
      `port ${port} on 127.0.0.1 cannot be bound; end what listens there, or run again: the next free slot is taken`
    )
  }
}

/** Bind 127.0.0.1:port. libuv reports a taken port late: only getsockname() tells. */
export function bindSocket(port: number): SocketHandle {
  const handle = createServerHandle('127.0.0.1', port, 4)
  if (typeof handle === 'number') throw new PortTakenError(port)
  const bound: { port?: number } = {}
  if (handle.getsockname(bound) !== 0 || bound.port !== port) {
    handle.close()
    throw new PortTakenError(port)
  }
  return handle
}

/** Send a message with a socket and close our copy once it is on its way. */
export function sendWithSocket(child: ChildProcess, message: object, socket: SocketHandle): void {
  child.send(message, socket as unknown as net.Server, {}, () => socket.close())
}
