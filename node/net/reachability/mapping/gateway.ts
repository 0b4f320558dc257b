/** The default gateway, as the kernel has it. */
import { readFileSync } from 'node:fs'
import { BlockList } from 'node:net'
import { networkInterfaces } from 'node:os'

const ROUTES = '/proc/net/route'
const RTF_GATEWAY = 0x2

export interface Gateway {
  /** The router's address. */
  router: string
  /** Our own address in its network. */
  own: string
}

/** The IPv4 default gateway and the own address towards it; null where there is none, or no such file. */
export function defaultGateway(): Gateway | null {
  let text: string
  try {
    text = readFileSync(ROUTES, 'utf8')
  } catch {
    return null
  }
  const route = defaultRoute(text)
  if (route === null) return null
  const own = networkInterfaces()[route.name]?.find(
    ({ family, cidr, address }) => family === 'IPv4' && address !== route.router && isInside(cidr, route.router)
  )
  return own === undefined ? null : { router: route.router, own: own.address }
}

/** The default route with the least metric in the text of /proc/net/route. Pure. */
export function defaultRoute(text: string): { name: string; router: string } | null {
  const routes = text
    .split('\n')
    .slice(1)
    .map(line => line.trim().split(/\s+/))
    .filter(
      ([, destination, , flags]) => destination === '00000000' && (Number.parseInt(flags!, 16) & RTF_GATEWAY) !== 0
    )
    .sort((a, b) => Number(a[6]) - Number(b[6]))
  const [name, , gateway] = routes[0] ?? []
  if (name === undefined || gateway === undefined || !/^[0-9A-F]{8}$/i.test(gateway)) return null
  // Written in the machine's byte order, which is little-endian wherever we run.
  return { name, router: [...Buffer.from(gateway, 'hex')].reverse().join('.') }
}

function isInside(cidr: string | null, address: string): boolean {
  const [network, bits] = cidr?.split('/') ?? []
  if (network === undefined) return false
  const list = new BlockList()
  list.addSubnet(network, Number(bits), 'ipv4')
  return list.check(address)
}
