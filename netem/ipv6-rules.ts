/** The nftables text of a router's IPv6 side: no translation, a stateful filter (RFC 6092) or none. Pure. */
import type { PlannedIpv6Edge } from './ipv6.ts'
import type { NatBehaviour } from './nat-kinds.ts'

/** Name of the one nftables table of a router for IPv6. */
export const IPV6_TABLE = 'warren_ipv6'
/** Interface of the NAT64 translator. */
export const NAT64_INTERFACE = 'nat64'
const DNS_PORT = 53

export interface Ipv6Attachment {
  edge: Pick<PlannedIpv6Edge, 'filter' | 'nat64'>
  behaviour: Pick<NatBehaviour, 'timeouts' | 'udpBlocked'>
  insideInterface: string
  outsideInterface: string
}

/** Neighbour discovery is what ARP is to IPv4: without it nothing is reached at all. */
const NEIGHBOURS = 'icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert }'

/**
 * The rule set as `nft -f` reads it; loading it again replaces it in one step. As with IPv4, what nobody inside asked
 * for is dropped without a word, and the router says nothing outside by itself but who it is.
 */
export function ipv6Ruleset({ edge, behaviour, insideInterface, outsideInterface }: Ipv6Attachment): string {
  const { udpS, udpStreamS, tcpEstablishedS } = behaviour.timeouts
  const isOpen = edge.filter === 'none'
  const inside = `iifname "${insideInterface}"`
  const outside = `oifname "${outsideInterface}"`
  const inward = `iifname "${outsideInterface}" oifname "${insideInterface}"`
  return [
    `table ip6 ${IPV6_TABLE}`,
    `delete table ip6 ${IPV6_TABLE}`,
    `table ip6 ${IPV6_TABLE} {`,
    '  ct timeout age_udp {',
    '    protocol udp; l3proto ip6',
    `    policy = { unreplied : ${udpS}, replied : ${udpStreamS} }`,
    '  }',
    '  ct timeout age_tcp {',
    '    protocol tcp; l3proto ip6',
    `    policy = { established : ${tcpEstablishedS} }`,
    '  }',
    ...(isOpen
      ? []
      : chain('ageing', 'prerouting', 'raw + 10', 'accept', [
          'meta l4proto udp ct timeout set "age_udp"',
          'meta l4proto tcp ct timeout set "age_tcp"'
        ])),
    ...chain('input', 'input', 'filter', 'drop', [
      'iifname "lo" accept',
      `${NEIGHBOURS} accept`,
      `${inside} icmpv6 type echo-request accept`,
      ...(edge.nat64 === null ? [] : [`${inside} udp dport ${DNS_PORT} accept`])
    ]),
    ...chain('forward', 'forward', 'filter', 'drop', [
      ...(isOpen ? [] : ['ct state invalid drop']),
      ...(behaviour.udpBlocked ? ['meta l4proto udp drop'] : []),
      `${inside} ${outside} accept`,
      isOpen ? `${inward} accept` : `${inward} ct state established,related accept`,
      ...(edge.nat64 === null
        ? []
        : [
            `${inside} oifname "${NAT64_INTERFACE}" accept`,
            `iifname "${NAT64_INTERFACE}" oifname "${insideInterface}" accept`
          ])
    ]),
    ...chain('output', 'output', 'filter', 'accept', [`${outside} ${NEIGHBOURS} accept`, `${outside} drop`]),
    '}',
    ''
  ].join('\n')
}

function chain(name: string, hook: string, priority: string, policy: string, rules: string[]): string[] {
  return [
    `  chain ${name} {`,
    `    type filter hook ${hook} priority ${priority}; policy ${policy};`,
    ...rules.map(rule => `    ${rule}`),
    '  }'
  ]
}
