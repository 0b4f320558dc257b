/** Who asks: the address a request is counted by. */
import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import { customerOf } from '../net/customer.ts'

/**
 * The address a request is counted by; of IPv6 the /64, which is what one customer has.
 * @param trustedProxies so many entries of X-Forwarded-For, from the right, were written by proxies of ours
 */
export function countedAddress(req: IncomingMessage, trustedProxies: number): string {
  const direct = req.socket.remoteAddress ?? ''
  const told = trustedProxies === 0 ? undefined : toldAddress(req, trustedProxies)
  const plain = (told ?? direct).replace(/^::ffff:(?=\d+\.)/, '')
  return customerOf(plain)
}

function toldAddress(req: IncomingMessage, trustedProxies: number): string | undefined {
  const chain = String(req.headers['x-forwarded-for'] ?? '')
    .split(',')
    .map(part => part.trim())
  // Counted before it is looked at: otherwise one that is no address would make room for what a client wrote itself.
  const entry = chain.at(-Math.min(trustedProxies, chain.length))!
  return isIP(entry) === 0 ? undefined : entry
}
