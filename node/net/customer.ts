/** One customer by its address: of IPv4 the address, of IPv6 the /64, because hosts have as many addresses there as they like. */
import { isIPv6 } from 'node:net'

const GROUPS = 8
const GROUPS_OF_64 = 4
/** An IPv4 address in IPv6 (RFC 4291 section 2.5.5.2), with its last 32 bits in either form. */
const MAPPED = /^::ffff:(?:(\d+\.\d+\.\d+\.\d+)|([0-9a-f]{1,4}):([0-9a-f]{1,4}))$/i

/** @param host an IP address, with a zone perhaps. Pure */
export function customerOf(host: string): string {
  // Without a colon it is none, which costs less to see.
  if (!host.includes(':') || !isIPv6(host)) return host
  const mapped = MAPPED.exec(host)
  if (mapped !== null) return mapped[1] ?? dotted(mapped[2] as string, mapped[3] as string)
  const [head = '', tail] = (host.split('%')[0] ?? '').split('::')
  const first = head === '' ? [] : head.split(':')
  const last = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? 0 : Math.max(0, GROUPS - first.length - last.length)
  return [...first, ...Array.from({ length: zeros }, () => '0'), ...last]
    .slice(0, GROUPS_OF_64)
    .map(group => Number.parseInt(group, 16).toString(16))
    .join(':')
}

function dotted(high: string, low: string): string {
  const bits = [high, low].map(group => Number.parseInt(group, 16))
  return bits.flatMap(group => [group >> 8, group & 0xff]).join('.')
}
