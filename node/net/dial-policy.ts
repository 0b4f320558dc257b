/**
 * Which addresses are worth a dial. A peer behind another NAT announces its private address too; a packet to it is
 * dropped on the way and the dial waits for its timeout. So private addresses are dialled only in our own subnets.
 *
 * A name is resolved after the gater was asked, and may lead into our own network by then: only those of the
 * configuration are dialled. js-libp2p resolves `/dnsaddr` before, so that what it stands for is judged by itself.
 */
import { BlockList, isIPv6 } from 'node:net'
import { networkInterfaces } from 'node:os'
import type { ConnectionGater } from '@libp2p/interface'
import { isPrivateIp } from '@libp2p/utils'
import {
  CODE_DNS,
  CODE_DNS4,
  CODE_DNS6,
  CODE_DNSADDR,
  CODE_IP4,
  CODE_IP6,
  CODE_P2P,
  CODE_P2P_CIRCUIT,
  type Multiaddr
} from '@multiformats/multiaddr'

/** `same-subnet`: private addresses only where an interface of ours has the subnet. `always`: every address and name. */
export type DialPrivate = 'same-subnet' | 'always'

const NAMES: ReadonlySet<number> = new Set([CODE_DNS, CODE_DNS4, CODE_DNS6, CODE_DNSADDR])

/** Interfaces change seldom; reading them for every address of every peer costs. */
const SUBNETS_TTL_MS = 5000

/**
 * A gater that refuses to dial private addresses of other subnets, and names that peers told.
 * @param options.trusted addresses from the configuration: always dialled, and what a `/dnsaddr` with a peer id stands for
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
  const named = new Set(options.trusted.flatMap(peerBehindDnsaddr))
  return {
    denyDialMultiaddr(address) {
      const parts = address.getComponents()
      const circuit = parts.findIndex(part => part.code === CODE_P2P_CIRCUIT)
      // Only the first hop is dialled.
      const hop = circuit < 0 ? parts : parts.slice(0, circuit)
      const peer = hop.findLast(part => part.code === CODE_P2P)?.value
      const isName = hop.some(part => NAMES.has(part.code))
      const ip = hop.find(part => part.code === CODE_IP4 || part.code === CODE_IP6)?.value
      if (!isName && (ip === undefined || isPrivateIp(ip) !== true)) return false
      if (trusted.has(hostAndPort(address))) return false
      if (circuit > 0 && peer !== undefined && options.connectedTo(peer)) return false
      if (isName) return peer === undefined || !named.has(peer)
      return ip === undefined || !subnets().check(ip, isIPv6(ip) ? 'ipv6' : 'ipv4')
    }
  }
}

/** `ip:port` of an address, its first hop if it is a circuit. */
function hostAndPort(address: Multiaddr): string {
  const [host, port] = address.getComponents()
  return `${host?.value ?? ''}:${port?.value ?? ''}`
}

/** Whose addresses a configured `/dnsaddr/…/p2p/…` stands for: which ones, only its resolver knows. */
function peerBehindDnsaddr(address: Multiaddr): string[] {
  const parts = address.getComponents()
  if (parts[0]?.code !== CODE_DNSADDR) return []
  return parts.filter(({ code }) => code === CODE_P2P).flatMap(({ value }) => value ?? [])
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
