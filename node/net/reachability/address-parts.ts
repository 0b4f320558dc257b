/** Host and port of a multiaddr's first hop, as text. */
import { CODE_IP4, CODE_IP6, CODE_P2P_CIRCUIT, CODE_TCP, CODE_UDP, multiaddr } from '@multiformats/multiaddr'

/** The IP address; null for a name or an address through a relay. */
export function hostOf(address: string): string | null {
  const parts = multiaddr(address).getComponents()
  if (parts.some(({ code }) => code === CODE_P2P_CIRCUIT)) return null
  return parts.find(({ code }) => code === CODE_IP4 || code === CODE_IP6)?.value ?? null
}

/** TCP or UDP port; null when there is none. */
export function portOf(address: string): number | null {
  const port = multiaddr(address)
    .getComponents()
    .find(({ code }) => code === CODE_TCP || code === CODE_UDP)?.value
  return port === undefined ? null : Number(port)
}

/** `tcp` or `udp`; null when it is neither. */
export function transportOf(address: string): 'tcp' | 'udp' | null {
  const code = multiaddr(address)
    .getComponents()
    .find(part => part.code === CODE_TCP || part.code === CODE_UDP)?.code
  return code === undefined ? null : code === CODE_TCP ? 'tcp' : 'udp'
}
