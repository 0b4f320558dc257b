/**
 * NAT kinds in RFC 4787's terms and the nftables text that makes a Linux network namespace behave so. Pure;
 * the same text serves both runtimes.
 */
import type { NatKind } from './topology.ts'

/** RFC 4787 section 4.1, 5: what a mapping, or who may answer through it, depends on. */
export type Dependence = 'endpoint-independent' | 'address-dependent' | 'address-and-port-dependent'

/** One kind of NAT, described as a network engineer would. */
export interface NatPreset {
  kind: NatKind
  /** Whether another destination gets another mapping (4.1). null: nothing is translated. */
  mapping: Dependence | null
  /** From whom packets come in through a mapping (5). null: from everybody. */
  filtering: Dependence | null
  /** How the outer port is chosen (4.2). */
  allocation: 'preserving' | 'random' | null
  /** Whether two hosts inside reach each other by their outer addresses (6). */
  hairpin: boolean
  /** What real equipment behaves so. */
  seenAt: string
}

export const NAT_PRESETS: Readonly<Record<NatKind, NatPreset>> = {
  none: {
    kind: 'none',
    mapping: null,
    filtering: null,
    allocation: null,
    hairpin: true,
    seenAt: 'a router between two networks that have routes to each other'
  },
  'port-preserving': {
    kind: 'port-preserving',
    // Linux keeps the mapping of a source for further destinations while the port is free; where two hosts inside
    // use the same port, the second gets another.
    mapping: 'endpoint-independent',
    filtering: 'address-and-port-dependent',
    allocation: 'preserving',
    hairpin: false,
    seenAt: 'most home routers: Linux masquerade (OpenWrt, Fritz!Box-like boxes, Android tethering)'
  },
  symmetric: {
    kind: 'symmetric',
    mapping: 'address-and-port-dependent',
    filtering: 'address-and-port-dependent',
    allocation: 'random',
    hairpin: false,
    seenAt: 'office firewalls and some carriers: pf and OPNsense by default, Cisco ASA, masquerade fully-random'
  }
}

/** Where a router's rules apply. */
export interface NatAttachment {
  kind: NatKind
  insideInterface: string
  outsideInterface: string
  /** The router's own address outside: the only source that may leave there when it translates. */
  outsideAddress: string
}

/** Name of the one nftables table of a router. */
export const NAT_TABLE = 'warren_nat'

/**
 * The rule set of a router as `nft -f` reads it; loading it again replaces it in one step.
 * What nobody inside asked for is dropped without a word on input and forward (a RST or ICMP error would tell the
 * outside that something is there, and kills a hole being punched), the router says nothing outside by itself, and
 * nothing leaves untranslated, packets that conntrack calls invalid included.
 */
export function natRuleset(router: NatAttachment): string {
  return [
    // Declaring before deleting makes the deletion valid the first time too.
    `table ip ${NAT_TABLE}`,
    `delete table ip ${NAT_TABLE}`,
    `table ip ${NAT_TABLE} {`,
    ...(router.kind === 'none' ? routing(router) : translation(router)),
    '}',
    ''
  ].join('\n')
}

function routing({ insideInterface, outsideInterface }: NatAttachment): string[] {
  return [
    ...chain('input', 'filter', 'input', 'filter', 'drop', [
      'iifname "lo" accept',
      `iifname "${insideInterface}" icmp type echo-request accept`
    ]),
    ...chain('forward', 'filter', 'forward', 'filter', 'drop', [
      `iifname "${insideInterface}" oifname "${outsideInterface}" accept`,
      `iifname "${outsideInterface}" oifname "${insideInterface}" accept`
    ])
  ]
}

function translation({ kind, insideInterface, outsideInterface, outsideAddress }: NatAttachment): string[] {
  const masquerade = NAT_PRESETS[kind].allocation === 'random' ? 'masquerade fully-random' : 'masquerade persistent'
  return [
    ...chain('input', 'filter', 'input', 'filter', 'drop', [
      'iifname "lo" accept',
      `iifname "${insideInterface}" icmp type echo-request accept`
    ]),
    ...chain('forward', 'filter', 'forward', 'filter', 'drop', [
      'ct state invalid drop',
      `iifname "${insideInterface}" oifname "${outsideInterface}" accept`,
      `iifname "${outsideInterface}" oifname "${insideInterface}" ct state established,related accept`
    ]),
    ...chain('output', 'filter', 'output', 'filter', 'accept', [`oifname "${outsideInterface}" drop`]),
    ...chain('translate', 'nat', 'postrouting', 'srcnat', 'accept', [`oifname "${outsideInterface}" ${masquerade}`]),
    ...chain('guard', 'filter', 'postrouting', 'srcnat + 50', 'accept', [
      `oifname "${outsideInterface}" ip saddr != ${outsideAddress} drop`
    ])
  ]
}

function chain(name: string, type: string, hook: string, priority: string, policy: string, rules: string[]): string[] {
  return [
    `  chain ${name} {`,
    `    type ${type} hook ${hook} priority ${priority}; policy ${policy};`,
    ...rules.map(rule => `    ${rule}`),
    '  }'
  ]
}
