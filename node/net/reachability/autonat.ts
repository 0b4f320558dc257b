/**
 * `@libp2p/autonat` with two of its habits mended. Its server "dials back" by the connection it already has to who
 * asks, finds that this is not the address it was to dial, answers that it failed, and then closes that connection,
 * which the peer needed. And its client asks about addresses that peers saw, which behind a NAT are the NAT's: with a
 * transport that dials from the port it listens on, whoever was contacted gets through, and the verdict is wrong.
 */
import { autoNAT } from '@libp2p/autonat'
import type { Connection } from '@libp2p/interface'

type Factory = ReturnType<typeof autoNAT>
type Components = Parameters<Factory>[0]
type ConnectionManager = Components['connectionManager']
type AddressManager = Components['addressManager']

/** A service factory for `createLibp2p`. */
export function autonat(): Factory {
  const factory = autoNAT()
  return components =>
    factory(
      replaced(components, {
        connectionManager: dialsBackFresh(components.connectionManager),
        addressManager: asksOfOwn(components.addressManager)
      })
    )
}

/** Dialling one address makes a connection of its own, whatever is open to the peer already. */
export function dialsBackFresh(manager: ConnectionManager): ConnectionManager {
  const openConnection: ConnectionManager['openConnection'] = async (target, options): Promise<Connection> =>
    // A list is of a peer that the random walk found, to whom one connection is enough.
    await manager.openConnection(target, Array.isArray(target) ? options : { ...options, force: true })
  return replaced(manager, { openConnection })
}

/** Only addresses that this machine or its router has, not those that peers say they saw. */
export function asksOfOwn(manager: AddressManager): AddressManager {
  return replaced(manager, {
    getAddressesWithMetadata: () => manager.getAddressesWithMetadata().filter(({ type }) => type !== 'observed')
  })
}

/** The same object with some of its members replaced. */
function replaced<T extends object>(target: T, members: Partial<T>): T {
  return new Proxy(target, {
    get(from, key) {
      if (key in members) return members[key as keyof T]
      const value: unknown = Reflect.get(from, key, from)
      return typeof value === 'function' ? value.bind(from) : value
    }
  })
}
