/** What the UDP multiplexer offers to the QUIC transport. `udp-mux.ts` says how. */
import type { Socket } from 'node:dgram'
import type { write } from './udp-fd.ts'

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
