/** Who asks: the address a request is counted by, and whether it comes from this machine itself. */
import type { IncomingMessage } from 'node:http'
import { isIP, isIPv4 } from 'node:net'
import { customerOf } from '../net/customer.ts'

/** What proxies write; one that writes none of them cannot be told from a program here. */
const PROXY_HEADERS = ['x-forwarded-for', 'forwarded', 'via', 'x-real-ip'] as const

/** Whether a connection comes from this machine itself. */
export function isLoopback(address = ''): boolean {
  const plain = address.replace(/^::ffff:/, '')
  return plain === '::1' || (isIPv4(plain) && plain.startsWith('127.'))
}

/**
 * Whether a request was made on this machine, by a program that meant this node: not passed on by a proxy that runs
 * here too, and not by a page whose name was made to point here (DNS rebinding).
 */
export function isLocalRequest(req: IncomingMessage): boolean {
  if (!isLoopback(req.socket.remoteAddress)) return false
  if (PROXY_HEADERS.some(name => req.headers[name] !== undefined)) return false
  const host = URL.parse(`http://${req.headers.host ?? ''}`)?.hostname ?? ''
  return host === 'localhost' || isIP(host.replace(/^\[|\]$/g, '')) !== 0
}

/**
 * The address a request is counted by; of IPv6 the /64, which is what one customer has.
 * @param trustedProxies so many entries of X-Forwarded-For, from the right, were written by proxies of ours
 */
export function countedAddress(req: IncomingMessage, trustedProxies: number): string {
  const direct = req.socket.remoteAddress ?? ''
  const chain = String(req.headers['x-forwarded-for'] ?? '')
    .split(',')
    .map(part => part.trim())
  // Counted before it is looked at: otherwise one that is no address would make room for what a client wrote itself.
  const entry = trustedProxies === 0 ? '' : chain.at(-Math.min(trustedProxies, chain.length))!
  const told = isIP(entry) === 0 ? undefined : entry
  const plain = (told ?? direct).replace(/^::ffff:(?=\d+\.)/, '')
  return customerOf(plain)
}
