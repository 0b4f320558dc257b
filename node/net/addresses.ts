import { CODE_P2P, CODE_P2P_CIRCUIT, type Multiaddr, multiaddr } from '@multiformats/multiaddr'

/**
 * Why a text is not a multiaddr we can use, as the end of a sentence, or null when it is one.
 * @param options.needsPeer it must end in `/p2p/<peer id>`
 */
export function addressProblem(text: string, options: { needsPeer: boolean }): string | null {
  try {
    const parts = multiaddr(text).getComponents()
    if (parts.length === 0) return 'is empty'
    if (options.needsPeer && parts.at(-1)?.code !== CODE_P2P) return 'does not end in /p2p/<peer id>'
    return null
  } catch {
    return 'is not a multiaddr, such as /ip4/11.0.0.1/tcp/4001'
  }
}

/** The relay of a relayed connection's address; null for a direct one. */
export function relayOf(address: Multiaddr): string | null {
  const parts = address.getComponents()
  const circuit = parts.findIndex(({ code }) => code === CODE_P2P_CIRCUIT)
  return circuit < 0 ? null : (parts.slice(0, circuit).findLast(({ code }) => code === CODE_P2P)?.value ?? null)
}
