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

/** The default of `isUsable`: what can be routed over the internet. */
export function isPublicAddress(address: Multiaddr): boolean {
  const host = address.getComponents()[0]?.value ?? ''
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
 * The addresses of a CONNECT that are worth a punch, in the peer's order, at most `max`.
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
  const found: Candidate[] = []
  for (const bytes of named) {
    if (found.length >= options.max) break
    const address = parse(bytes)
    if (address === null) continue
    const parts = address.getComponents()
    const peer = parts.at(-1)?.code === CODE_P2P ? parts.at(-1)?.value : undefined
    const protocol = punchProtocolOf(address)
    if (protocol === null || !options.protocols.has(protocol) || !pairs.has(pairing(address))) continue
    if ((peer !== undefined && peer !== options.peerId) || parts[1]?.value === '0' || !options.isUsable(address))
      continue
    const bare = address.decapsulateCode(CODE_P2P)
    if (taken.has(bare.toString())) continue
    taken.add(bare.toString())
    found.push({ address: bare.encapsulate(`/p2p/${options.peerId}`), protocol })
  }
  return found
}

function parse(bytes: Uint8Array): Multiaddr | null {
  if (bytes.byteLength === 0 || bytes.byteLength > MAX_ADDRESS_BYTES) return null
  try {
    return multiaddr(bytes)
  } catch {
    return null
  }
}
