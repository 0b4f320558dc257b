/** Look-ups that prove that nothing of a testnet has a way out of it. Pure: runtimes run them and hand the answers back. */
import type { Plan } from './plan.types.ts'
import { LOOP_BACK_INTERFACE, LOOP_OUT_INTERFACE } from './shape-nfqueue.ts'

/** Addresses of no lab network, public and private; none is ever sent a packet, a look-up only asks the routing table. */
const OUTSIDE = ['1.1.1.1', '192.0.2.1', '172.16.0.1', '192.168.255.254'] as const

/** The same for IPv6: what is routed on the internet, and a private prefix. */
const OUTSIDE_IPV6 = ['2001:4860::1', 'fd00::1'] as const

/** One question to one routing table. */
export interface RouteLookup {
  /** Host or router in whose network to ask. */
  where: string
  /** What to run there; its exit code and output go to `verdict`. */
  argv: string[]
  /**
   * Null when the answer proves that there is no way out by this hop, else what is wrong with it. A LAN's host may
   * name its own router: the proof goes on there. Docker's hosts may name the gateway address that nobody holds.
   */
  verdict: (answer: { code: number; stdout: string }) => string | null
}

/** The look-ups for one host or router: every one must give null. @param where a name of the plan's hosts or routers */
export function routeLookups(plan: Plan, where: string): RouteLookup[] {
  const allowed = allowedNextHops(plan, where)
  const host = plan.hosts.find(({ name }) => name === where)
  /** A host's link may be shaped in a loop, from the start or since it was changed; without one there is no such device. */
  const back = (own: string | undefined): string[][] =>
    host === undefined || own === undefined ? [[]] : [[], ['from', own, 'iif', LOOP_BACK_INTERFACE]]
  const { address: ipv4, ipv6 } = host?.attachment ?? {}
  return [...OUTSIDE, ...OUTSIDE_IPV6].flatMap(address =>
    back(address.includes(':') ? ipv6 : ipv4).map(words => ({
      where,
      argv: ['ip', 'route', 'get', address, ...words],
      verdict: ({ code, stdout }: { code: number; stdout: string }) => {
        if (code !== 0) return null
        const via = / via (\S+)/.exec(stdout)?.[1]
        if (via !== undefined && allowed.includes(via)) return null
        // Into its own shaper; where it goes from there is the second look-up.
        if (host !== undefined && words.length === 0 && stdout.includes(` dev ${LOOP_OUT_INTERFACE} `)) return null
        const way = via === undefined ? 'directly' : `to ${via}`
        return `${where} would send packets for ${address} ${way}: ${stdout.trim()}`
      }
    }))
  )
}

/** The look-ups for every host and router of the plan. */
export function allRouteLookups(plan: Plan): RouteLookup[] {
  return [...plan.hosts, ...plan.routers].flatMap(({ name }) => routeLookups(plan, name))
}

/** The only next hop that does not lead out: one's own router, or the address on the internet that nobody holds. */
function allowedNextHops(plan: Plan, where: string): string[] {
  const network = [
    ...plan.hosts.map(({ name, attachment }) => [name, attachment.network]),
    ...plan.routers.map(({ name, outside }) => [name, outside.network])
  ].find(([name]) => name === where)?.[1]
  const found = plan.networks.find(({ name }) => name === network)
  return found === undefined ? [] : [found.defaultGateway, ...(found.ipv6 ? [found.ipv6.defaultGateway] : [])]
}
