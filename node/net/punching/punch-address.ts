/** What a TCP punch needs to know of an address. */
import { SocketAddress } from 'node:net'
import { getNetConfig } from '@libp2p/utils'
import { CODE_P2P, type Multiaddr } from '@multiformats/multiaddr'
import { TCP } from '@multiformats/multiaddr-matcher'
import { PunchFailedError } from './errors.ts'

/**
 * Host, port and peer id of an address that TCP can punch to.
 * @throws PunchFailedError `no-transport` for any other
 */
export function punchable(address: Multiaddr): { host: string; port: number; peerId: string } {
  const peerId = address.getComponents().findLast(({ code }) => code === CODE_P2P)?.value
  if (!TCP.exactMatch(address) || peerId === undefined) throw new PunchFailedError('no-transport', address.toString())
  const { type, host, port } = getNetConfig(address)
  // A name would be looked up by each side in its own time, and could mean somebody else.
  if (port === undefined || (type !== 'ip4' && type !== 'ip6'))
    throw new PunchFailedError('no-transport', address.toString())
  return { host: canonicalHost(host), port, peerId }
}

/** An IP address in the one spelling that equal addresses share, an IPv4 one without its IPv6 clothes. */
export function canonicalHost(host: string): string {
  const plain = host.toLowerCase().startsWith('::ffff:') && host.includes('.') ? host.slice('::ffff:'.length) : host
  return plain.includes(':') ? new SocketAddress({ address: plain, family: 'ipv6' }).address : plain
}
