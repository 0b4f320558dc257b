import type { ComponentLogger, ConnectionEncrypter, PrivateKey, Upgrader } from '@libp2p/interface'

interface TlsComponents {
  privateKey: PrivateKey
  logger: ComponentLogger
  upgrader: Upgrader
}

/**
 * libp2p's TLS, loaded when a connection first asks for it: its certificate library would otherwise be a third of
 * a node's start. Noise is offered first, because TLS makes a certificate for every connection.
 */
export function lazyTls(): (components: TlsComponents) => ConnectionEncrypter {
  return components => {
    let loading: Promise<ConnectionEncrypter> | undefined
    const load = () => {
      loading ??= import('@libp2p/tls').then(({ tls }) => tls()(components as never))
      return loading
    }
    return {
      protocol: '/tls/1.0.0',
      secureInbound: async (connection, options) => (await load()).secureInbound(connection, options),
      secureOutbound: async (connection, options) => (await load()).secureOutbound(connection, options)
    }
  }
}
