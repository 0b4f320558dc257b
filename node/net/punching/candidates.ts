/** Which addresses are worth a punch. Pure: a peer names them, so they are believed nothing. */
import { isIPv6 } from 'node:net'
import { isGlobalUnicast, isPrivate } from '@libp2p/utils'
import {
  CODE_IP4,
  CODE_IP6,
  CODE_P2P,
  CODE_QUIC_V1,
  CODE_TCP,
  CODE_UDP,
  type Multiaddr,
  multiaddr
} from '@multiformats/multiaddr'

/** What a punch can be made over. */
export type PunchProtocol = 'tcp' | 'quic-v1'

/** Longest address that is looked at: an IP, a port, QUIC and a peer id have less than 70. */
const MAX_ADDRESS_BYTES = 128
/**
 * A peer is at one address of a family, or at two when it changes networks; and at one port, or a few behind a NAT that
 * gives each destination another. More are somebody else's.
 */
const MAX_HOSTS_PER_FAMILY = 2
export const MAX_PORTS_PER_HOST = 3
/** NATs map to ports from here on (RFC 4787, 4.2.2); below are services, which a punch could make trouble at. */
const MIN_PORT = 1024
/** 224.0.0.0/4 */
const MULTICAST = /^2(2[4-9]|3\d)\./

/** `/ip4|ip6/…/tcp/…` or `/ip4|ip6/…/udp/…/quic-v1` with or without a peer id behind; null for all else, names too. */
export function punchProtocolOf(address: Multiaddr): PunchProtocol | null {
  const codes = address.getComponents().map(({ code }) => code)
  if (codes.at(-1) === CODE_P2P) codes.pop()
  const [host, transport, above, ...rest] = codes
  if ((host !== CODE_IP4 && host !== CODE_IP6) || rest.length > 0) return null
  if (transport === CODE_TCP && above === undefined) return 'tcp'
  return transport === CODE_UDP && above === CODE_QUIC_V1 ? 'quic-v1' : null
}

/** The default of `isUsable`: an IP address that can be routed over the internet. A name may lead anywhere. */
export function isPublicAddress(address: Multiaddr): boolean {
  const [{ code, value: host = '' } = {}] = address.getComponents()
  if (code !== CODE_IP4 && code !== CODE_IP6) return false
  if (isPrivate(address) || MULTICAST.test(host)) return false
  return !isIPv6(host) || isGlobalUnicast(address)
}

/** IP version and protocol: what two addresses must have in common for a punch between them. */
export function pairing(address: Multiaddr): string {
  return `${address.getComponents()[0]?.code} ${punchProtocolOf(address)}`
}

/** An address to punch, with the peer's id. */
export interface Candidate {
  address: Multiaddr
  protocol: PunchProtocol
}

/**
 * The addresses of a CONNECT that are worth a punch, at most `max`: few hosts, each in the peer's order.
 * @param options.own what we told the peer: an address without a counterpart among them meets nobody
 */
export function candidates(
  named: readonly Uint8Array[],
  options: {
    peerId: string
    own: readonly Multiaddr[]
    protocols: ReadonlySet<PunchProtocol>
    isUsable: (address: Multiaddr) => boolean
    max: number
  }
): Candidate[] {
  const pairs = new Set(options.own.map(pairing))
  const taken = new Set(options.own.map(address => address.decapsulateCode(CODE_P2P).toString()))
  const hosts = new Map<string, Candidate[]>()
  const hostsOfFamily = new Map<number, number>()
  for (const bytes of named) {
    const address = parse(bytes)
    if (address === null) continue
    const parts = address.getComponents()
    const peer = parts.at(-1)?.code === CODE_P2P ? parts.at(-1)?.value : undefined
    const protocol = punchProtocolOf(address)
    if (protocol === null || !options.protocols.has(protocol) || !pairs.has(pairing(address))) continue
    if ((peer !== undefined && peer !== options.peerId) || !options.isUsable(address)) continue
    if (Number(parts[1]?.value) < MIN_PORT) continue
    const bare = address.decapsulateCode(CODE_P2P)
    if (taken.has(bare.toString())) continue
    taken.add(bare.toString())
    const [{ code = 0, value: host = '' } = {}] = parts
    if (!hosts.has(host)) {
      const others = hostsOfFamily.get(code) ?? 0
      if (others >= MAX_HOSTS_PER_FAMILY) continue
      hostsOfFamily.set(code, others + 1)
      hosts.set(host, [])
    }
    hosts.get(host)?.push({ address: bare.encapsulate(`/p2p/${options.peerId}`), protocol })
  }
  return [...hosts.values()].flatMap(fewPorts).slice(0, options.max)
}

/** As many ports as one host may have: the first of every transport before the second of any. */
function fewPorts(ofHost: readonly Candidate[]): Candidate[] {
  const seen = new Map<PunchProtocol, number>()
  const ranked = ofHost.map(candidate => {
    const rank = seen.get(candidate.protocol) ?? 0
    seen.set(candidate.protocol, rank + 1)
    return { candidate, rank }
  })
  return ranked
    .toSorted((a, b) => a.rank - b.rank)
    .slice(0, MAX_PORTS_PER_HOST)
    .map(({ candidate }) => candidate)
}

function parse(bytes: Uint8Array): Multiaddr | null {
  if (bytes.byteLength === 0 || bytes.byteLength > MAX_ADDRESS_BYTES) return null
  try {
    return multiaddr(bytes)
  } catch {
    return null
  }
}
