/**
 * A connected TCP socket as what the upgrader takes. `@libp2p/tcp` has the same inside, but only for sockets it dialled
 * (always `outbound`) or accepted (always `inbound`); after a simultaneous open the direction is a matter of agreement.
 */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { type AbortOptions, type Logger, type MessageStreamDirection, TimeoutError } from '@libp2p/interface'
import { AbstractMultiaddrConnection } from '@libp2p/utils'
import type { Multiaddr } from '@multiformats/multiaddr'
import { discard } from './punch-port.ts'

/** As in `@libp2p/tcp`: a socket without any data for so long is given up. */
const INACTIVITY_TIMEOUT_MS = 120_000

export interface SocketConnectionInit {
  socket: Socket
  remoteAddr: Multiaddr
  /** Whose stream ids are odd: `outbound` is the client of the handshakes. */
  direction: MessageStreamDirection
  log: Logger
  inactivityTimeoutMs?: number | undefined
}

/** Owns the socket from now on. */
export class SocketConnection extends AbstractMultiaddrConnection {
  /** Public as that of `@libp2p/tcp`: whose own address it has says whether it outlives a network change. */
  readonly socket: Socket

  constructor(init: SocketConnectionInit) {
    super({ remoteAddr: init.remoteAddr, direction: init.direction, log: init.log })
    const { socket } = init
    this.socket = socket
    socket.on('data', bytes => this.onData(bytes))
    socket.on('drain', () => this.safeDispatchEvent('drain'))
    socket.on('error', error => this.abort(error))
    socket.once('end', () => this.onTransportClosed())
    socket.once('close', hadError => {
      if (hadError) this.abort(new Error('the TCP connection broke'))
      else this.onTransportClosed()
    })
    socket.setTimeout(init.inactivityTimeoutMs ?? INACTIVITY_TIMEOUT_MS)
    socket.once('timeout', () => this.abort(new TimeoutError('the TCP connection was silent for too long')))
  }

  override sendData(data: Iterable<Uint8Array>): { sentBytes: number; canSendMore: boolean } {
    let sentBytes = 0
    for (const bytes of data) {
      sentBytes += bytes.byteLength
      if (!this.socket.write(bytes)) return { sentBytes, canSendMore: false }
    }
    return { sentBytes, canSendMore: true }
  }

  override async sendClose(options?: AbortOptions): Promise<void> {
    if (this.socket.destroyed) return
    this.socket.destroySoon()
    await once(this.socket, 'close', options?.signal === undefined ? {} : { signal: options.signal })
  }

  override sendReset(): void {
    discard(this.socket)
  }

  override sendPause(): void {
    this.socket.pause()
  }

  override sendResume(): void {
    this.socket.resume()
  }
}
