/**
 * NAT64 (RFC 6146) of a router whose inner network has IPv6 only: tayga translates between the families, one IPv4
 * address of a pool for each inner host, and the router's own NAT translates again to its one outer address. Pure.
 */
import type { Daemon } from './daemons.ts'
import {
  LAB_ZONE,
  NAT64_POOL,
  NAT64_POOL_ROUTER,
  NAT64_PREFIX,
  NAT64_PREFIX_LENGTH,
  type PlannedIpv6Edge
} from './ipv6.ts'
import { NAT64_INTERFACE } from './ipv6-rules.ts'
import type { Plan } from './plan.types.ts'
import type { Step } from './steps.ts'

/** Debian's package and program that translates. */
export const NAT64_PROGRAM = 'tayga'

/** Names with their addresses, as DNS64 answers them. */
export type LabNames = Record<string, { ipv4: string | null; ipv6: string | null }>

/** Every host of a plan with the addresses it is reached at from the internet; whoever has none has no name either. */
export function labNames(plan: Plan): LabNames {
  return Object.fromEntries(
    plan.hosts
      .map(({ name, attachment, nat }): [string, LabNames[string]] => [
        name,
        { ipv4: nat === null ? attachment.address : null, ipv6: attachment.ipv6 ?? null }
      ])
      .filter(([, { ipv4, ipv6 }]) => ipv4 !== null || ipv6 !== null)
  )
}

const configFile = (router: string): string => `/run/warren-nat64-${router}.conf`

function configText(translator: string): string {
  return [
    `tun-device ${NAT64_INTERFACE}`,
    `ipv4-addr ${NAT64_POOL_ROUTER}`,
    `ipv6-addr ${translator}`,
    `prefix ${NAT64_PREFIX}/${NAT64_PREFIX_LENGTH}`,
    `dynamic-pool ${NAT64_POOL}`,
    ''
  ].join('\n')
}

/** Interface and routes of the translator; before the router forwards anything. */
export function nat64Steps(router: string, edge: PlannedIpv6Edge): Step[] {
  if (edge.nat64 === null) return []
  const ip = (...words: string[]): Step => ({ argv: ['ip', ...words] })
  return [
    { argv: ['tee', configFile(router)], input: configText(edge.nat64) },
    { argv: [NAT64_PROGRAM, '--config', configFile(router), '--mktun'] },
    ip('link', 'set', NAT64_INTERFACE, 'up'),
    ip('route', 'replace', NAT64_POOL, 'dev', NAT64_INTERFACE),
    ip('route', 'replace', `${NAT64_PREFIX}/${NAT64_PREFIX_LENGTH}`, 'dev', NAT64_INTERFACE),
    ip('route', 'replace', `${edge.nat64}/128`, 'dev', NAT64_INTERFACE)
  ]
}

/** What must run as long as the router stands: the translator and the server of names. */
export function nat64Daemons(router: string, edge: PlannedIpv6Edge, names: LabNames): Daemon[] {
  if (edge.nat64 === null) return []
  return [
    { name: `${router} nat64`, argv: [NAT64_PROGRAM, '--config', configFile(router), '--nodetach'], readyLine: null },
    {
      name: `${router} dns64`,
      program: 'dns64-server',
      argv: [JSON.stringify({ address: edge.gateway, zone: LAB_ZONE, names })],
      readyLine: '"ready":true'
    }
  ]
}
