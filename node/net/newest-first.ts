/**
 * A peer whose network changed has several connections for a while, some of them dead without knowing it. js-libp2p's
 * relay opens circuits on the first of its list, the oldest, and whoever dials hangs with it.
 */
import type { Connection, PeerId } from '@libp2p/interface'

interface WithConnections {
  connectionManager: { getConnections: (peerId?: PeerId) => Connection[] }
}

/** Who knows which connections live. */
export interface CircuitWatch {
  /** Better left alone. */
  isSuspect: (connection: Connection) => boolean
  /** Find out whether it lives; a dead one is to be ended. */
  probe: (connection: Connection) => unknown
}

/**
 * The service, which finds of a peer's connections first what is not suspect, not relayed and newest. When there are
 * several, all of them are asked for a sign of life: the newest may be the one that is dead.
 */
export function newestFirst<C extends WithConnections, S>(
  factory: (components: C) => S,
  watch: () => CircuitWatch | null
): (components: C) => S {
  const rank = (connection: Connection): number =>
    Number(connection.direct) +
    2 * Number(watch()?.isSuspect(connection) !== true) +
    4 * Number(connection.status === 'open')
  const sorted = (connections: Connection[]): Connection[] => {
    if (connections.length > 1) for (const connection of connections) watch()?.probe(connection)
    return connections.toSorted((a, b) => rank(b) - rank(a) || b.timeline.open - a.timeline.open)
  }
  const replaced = (manager: C['connectionManager']): C['connectionManager'] =>
    new Proxy(manager, {
      get(target, name) {
        if (name === 'getConnections') {
          return (peerId?: PeerId) => {
            const found = target.getConnections(peerId)
            return peerId === undefined ? found : sorted(found)
          }
        }
        const value: unknown = Reflect.get(target, name, target)
        return typeof value === 'function' ? value.bind(target) : value
      }
    })
  return components =>
    factory(
      new Proxy(components, {
        get: (target, name) =>
          name === 'connectionManager' ? replaced(target.connectionManager) : Reflect.get(target, name)
      })
    )
}
