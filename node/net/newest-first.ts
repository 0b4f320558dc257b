/**
 * A peer whose network changed has two connections for a while: the one that it made and the one that is dead and does
 * not know it. js-libp2p's relay opens circuits on the first of its list, the oldest, and whoever dials hangs with it.
 */
import type { Connection, PeerId } from '@libp2p/interface'

interface WithConnections {
  connectionManager: { getConnections: (peerId?: PeerId) => Connection[] }
}

/** The service, which finds a peer's newest connection first, and relayed ones last. */
export function newestFirst<C extends WithConnections, S>(factory: (components: C) => S): (components: C) => S {
  return components => {
    const replaced = (manager: C['connectionManager']): C['connectionManager'] =>
      new Proxy(manager, {
        get(target, name) {
          if (name === 'getConnections') return (peerId?: PeerId) => target.getConnections(peerId).toSorted(byAge)
          const value: unknown = Reflect.get(target, name, target)
          return typeof value === 'function' ? value.bind(target) : value
        }
      })
    return factory(
      new Proxy(components, {
        get: (target, name) =>
          name === 'connectionManager' ? replaced(target.connectionManager) : Reflect.get(target, name)
      })
    )
  }
}

const byAge = (a: Connection, b: Connection): number =>
  Number(b.status === 'open') - Number(a.status === 'open') ||
  Number(b.direct) - Number(a.direct) ||
  b.timeline.open - a.timeline.open
