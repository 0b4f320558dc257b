/**
 * A TCP transport that dials through a SOCKS5 proxy: `@libp2p/tcp`, with every dial to the internet going out by the
 * proxy. Loopback and private addresses are dialled directly, as they mean something here only. It listens as ever.
 */
import {
  type ComponentLogger,
  type Connection,
  type DialTransportOptions,
  type Metrics,
  serviceCapabilities,
  type Transport,
  transportSymbol,
  type Upgrader
} from '@libp2p/interface'
import { type TCPOptions, tcp } from '@libp2p/tcp'
import { getNetConfig, isPrivateIp } from '@libp2p/utils'
import type { Multiaddr } from '@multiformats/multiaddr'
import { SocketConnection } from '../punching/socket-connection.ts'
import { connectBySocks, type SocksProxy } from './socks.ts'

export interface SocksTcpInit extends TCPOptions {
  proxy: SocksProxy
  /** Which hosts are dialled without it. Default: loopback and private addresses, and `localhost`. */
  isDirect?: (host: string) => boolean
}

export interface SocksTcpComponents {
  logger: ComponentLogger
  metrics?: Metrics
  upgrader: Upgrader
}

/** Hand it to `createLibp2p` in place of `tcp()`. */
export function socksTcp({ proxy, isDirect = isLocalHost, ...init }: SocksTcpInit) {
  return (components: SocksTcpComponents): Transport => {
    const inner = tcp(init)(components)
    const log = components.logger.forComponent('warren:socks-tcp')

    async function dial(address: Multiaddr, options: DialTransportOptions): Promise<Connection> {
      const { host, port } = getNetConfig(address)
      if (isDirect(host) || port === undefined) return await inner.dial(address, options)
      const socket = await connectBySocks(proxy, { host, port }, options.signal)
      const connection = new SocketConnection({
        socket,
        remoteAddr: address,
        direction: 'outbound',
        log: log.newScope('connection'),
        inactivityTimeoutMs: init.outboundSocketInactivityTimeout
      })
      try {
        return await components.upgrader.upgradeOutbound(connection, options)
      } catch (error) {
        connection.abort(error as Error)
        throw error
      }
    }

    return {
      [transportSymbol]: true,
      [Symbol.toStringTag]: 'warren-socks-tcp',
      [serviceCapabilities]: ['@libp2p/transport'],
      dial,
      createListener: options => inner.createListener(options),
      listenFilter: addresses => inner.listenFilter(addresses),
      dialFilter: addresses => inner.dialFilter(addresses)
    } as Transport
  }
}

/** Dials of a transport that knows no proxy, kept to hosts that need none. */
export function withoutProxy<C>(
  factory: (components: C) => Transport,
  isDirect: (host: string) => boolean = isLocalHost
): (components: C) => Transport {
  return components => {
    const inner = factory(components)
    const dialFilter = inner.dialFilter.bind(inner)
    inner.dialFilter = addresses => dialFilter(addresses).filter(address => isDirect(getNetConfig(address).host))
    return inner
  }
}

/** Whether a host means something on this machine or its own network only. */
export function isLocalHost(host: string): boolean {
  return host === 'localhost' || isPrivateIp(host) === true
}
