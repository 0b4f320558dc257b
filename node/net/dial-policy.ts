/**
 * Which addresses are worth a dial. A peer behind another NAT announces its private address too; a packet to it is
 * dropped on the way and the dial waits for its timeout. So private addresses are dialled only in our own subnets.
 */
import { BlockList, isIPv6 } from 'node:net'
import { networkInterfaces } from 'node:os'
import type { ConnectionGater } from '@libp2p/interface'
import { isPrivateIp } from '@libp2p/utils'
import { CODE_IP4, CODE_IP6, CODE_P2P, CODE_P2P_CIRCUIT, type Multiaddr } from '@multiformats/multiaddr'

/** `same-subnet`: private addresses only where an interface of ours has the subnet. `always`: every address. */
export type DialPrivate = 'same-subnet' | 'always'

/** Interfaces change seldom; reading them for every address of every peer costs. */
const SUBNETS_TTL_MS = 5000

/**
 * A gater that refuses to dial private addresses of other subnets.
 * @param options.trusted addresses from the configuration: always dialled
 * @param options.connectedTo whether we have a connection to this peer: a circuit through it needs no dial
 */
export function dialPolicy(options: {
  dialPrivate: DialPrivate
  trusted: readonly Multiaddr[]
  connectedTo: (peerId: string) => boolean
}): ConnectionGater {
  if (options.dialPrivate === 'always') return {}
  const subnets = ownSubnets()
  const trusted = new Set(options.trusted.map(hostAndPort))
  return {
    denyDialMultiaddr(address) {
      const parts = address.getComponents()
      const ip = parts.find(part => part.code === CODE_IP4 || part.code === CODE_IP6)?.value
      // A name was typed by somebody who knows where it leads.
      if (ip === undefined || isPrivateIp(ip) !== true) return false
      if (trusted.has(hostAndPort(address))) return false
      const circuit = parts.findIndex(part => part.code === CODE_P2P_CIRCUIT)
      if (circuit > 0) {
        const relay = parts.slice(0, circuit).findLast(part => part.code === CODE_P2P)?.value
        if (relay !== undefined && options.connectedTo(relay)) return false
      }
      return !subnets().check(ip, isIPv6(ip) ? 'ipv6' : 'ipv4')
    }
  }
}

/** `ip:port` of an address, its first hop if it is a circuit. */
function hostAndPort(address: Multiaddr): string {
  const [host, port] = address.getComponents()
  return `${host?.value ?? ''}:${port?.value ?? ''}`
}

function ownSubnets(): () => BlockList {
  let list = new BlockList()
  let readAtMs = Number.NEGATIVE_INFINITY
  return () => {
    if (performance.now() - readAtMs < SUBNETS_TTL_MS) return list
    readAtMs = performance.now()
    list = new BlockList()
    for (const { cidr, family } of Object.values(networkInterfaces()).flatMap(addresses => addresses ?? [])) {
      const [network, bits] = cidr?.split('/') ?? []
      if (network !== undefined) list.addSubnet(network, Number(bits), family === 'IPv6' ? 'ipv6' : 'ipv4')
    }
    return list
  }
}
