/** IPv4 arithmetic and the lay-out of a network's addresses. Pure. */

/** A subnet: its first address as an unsigned 32-bit number, and its prefix length. */
export interface Cidr {
  base: number
  prefixLength: number
}

/** `1.2.3.4` as an unsigned 32-bit number, or null when it is not an address. */
export function parseAddress(text: string): number | null {
  const parts = text.split('.')
  if (parts.length !== 4) return null
  let value = 0
  for (const part of parts) {
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return null
    value = value * 256 + Number(part)
  }
  return value
}

/** The inverse of `parseAddress`. */
export function formatAddress(value: number): string {
  return [24, 16, 8, 0].map(shift => Math.floor(value / 2 ** shift) % 256).join('.')
}

/** `10.1.2.0/24`, or null when it is not a subnet or has bits set beyond its prefix. */
export function parseCidr(text: string): Cidr | null {
  const [address = '', prefix = '', rest] = text.split('/')
  const base = parseAddress(address)
  if (base === null || rest !== undefined || !/^(0|[1-9]\d?)$/.test(prefix) || Number(prefix) > 32) return null
  const cidr = { base, prefixLength: Number(prefix) }
  return base % sizeOf(cidr) === 0 ? cidr : null
}

export function formatCidr(cidr: Cidr): string {
  return `${formatAddress(cidr.base)}/${cidr.prefixLength}`
}

/** How many addresses a subnet has, its network and broadcast addresses included. */
export function sizeOf(cidr: Cidr): number {
  return 2 ** (32 - cidr.prefixLength)
}

export function overlap(a: Cidr, b: Cidr): boolean {
  return a.base < b.base + sizeOf(b) && b.base < a.base + sizeOf(a)
}

export function contains(cidr: Cidr, address: number): boolean {
  return address >= cidr.base && address < cidr.base + sizeOf(cidr)
}

/** Offsets within a subnet that are the same in every network. */
export const BRIDGE_OFFSET = 1
export const ROUTER_OFFSET = 2
export const FIRST_HOST_OFFSET = 10
/** On the internet routers have a /24 of their own, so that an address tells what it is. */
const INTERNET_ROUTER_OFFSET = 257
const INTERNET_ROUTERS = 254

/** Where the hosts and routers attached to a network get their addresses. */
export interface AddressSpace {
  subnet: Cidr
  /** Address of the n-th host (from 0), or null when there are no more. */
  host: (n: number, routers: number) => number | null
  /** Address of the n-th router whose *outside* is here (from 0), or null when there are no more. */
  outerRouter: (n: number) => number | null
  /** The network's default gateway. */
  gateway: number
  /** How many hosts fit beside so many routers. */
  hostCapacity: (routers: number) => number
  routerCapacity: number
}

/** The internet: hosts x.y.0.10 to x.y.0.255, routers x.y.1.1 to x.y.1.254, a gateway address that nobody holds. */
export function internetSpace(subnet: Cidr): AddressSpace {
  const capacity = INTERNET_ROUTER_OFFSET - 1 - FIRST_HOST_OFFSET
  return {
    subnet,
    host: n => (n < capacity ? subnet.base + FIRST_HOST_OFFSET + n : null),
    outerRouter: n => (n < INTERNET_ROUTERS ? subnet.base + INTERNET_ROUTER_OFFSET + n : null),
    gateway: subnet.base + sizeOf(subnet) - 2,
    hostCapacity: () => capacity,
    routerCapacity: INTERNET_ROUTERS
  }
}

/** A LAN: its router at .2 and as gateway at the last address; hosts upwards from .10, routers of networks behind it downwards. */
export function lanSpace(subnet: Cidr): AddressSpace {
  const size = sizeOf(subnet)
  const gateway = subnet.base + size - 2
  const room = size - 2 - FIRST_HOST_OFFSET
  return {
    subnet,
    host: (n, routers) => (n < room - routers ? subnet.base + FIRST_HOST_OFFSET + n : null),
    outerRouter: n => (n < room ? gateway - 1 - n : null),
    gateway,
    hostCapacity: routers => Math.max(0, room - routers),
    routerCapacity: room
  }
}
