/**
 * The nftables text that makes a Linux network namespace behave like a NAT of `nat-kinds.ts`. Pure; the same text
 * serves both runtimes, and loading it again replaces it in one step.
 *
 * The kernel chooses ports (`nat-ports.ts`), so that no two flows ever clash in conntrack. Where a mapping must outlive
 * one flow or be open to others, the port it chose is written down after translation, and later flows of the same inner
 * endpoint or from outside go by that (`nat-records.ts`). Linux alone is address-and-port-dependent in both.
 */
import type { NatBehaviour } from './nat-kinds.ts'
import { allocate, choices } from './nat-ports.ts'
import { admit, inwards, permit, recall, record, tables, unaltered } from './nat-records.ts'
import { chain, PROTOCOLS } from './nat-text.ts'
import { GRANTED_MATCH, type PlannedPortMapping, portMappingInput } from './port-mapping.ts'

/** Where a router's rules apply. */
export interface NatAttachment {
  behaviour: NatBehaviour
  insideInterface: string
  outsideInterface: string
  /** The router's own address outside: the only source that may leave there when it translates. */
  outsideAddress: string
  /** Who gets the outer address with `one-to-one`; null: nobody. */
  insideHost: string | null
  /** The port mapping server it runs; null: none. */
  portMapping: PlannedPortMapping | null
}

/** Name of the one nftables table of a router. */
export const NAT_TABLE = 'warren_nat'

/**
 * The rule set of a router as `nft -f` reads it. What nobody inside asked for is dropped without a word on input and
 * forward (a RST or ICMP error would tell the outside that something is there, and kills a hole being punched), the
 * router says nothing outside by itself, and nothing leaves untranslated, packets that conntrack calls invalid included.
 */
export function natRuleset(router: NatAttachment): string {
  return [
    // Declaring before deleting makes the deletion valid the first time too.
    `table ip ${NAT_TABLE}`,
    `delete table ip ${NAT_TABLE}`,
    `table ip ${NAT_TABLE} {`,
    ...contents(router),
    '}',
    ''
  ].join('\n')
}

/**
 * Input of `nft -f` that forgets every mapping a router's rules have written down; its counters go on. Connection
 * tracking remembers flows besides and must be emptied too.
 */
export function forgetRuleset(behaviour: NatBehaviour): string {
  if (behaviour.translation !== 'napt' || isPlain(behaviour)) return ''
  return PROTOCOLS.flatMap(protocol => [
    ...['mapped', 'owner'].map(name => `flush map ip ${NAT_TABLE} ${name}_${protocol}\n`),
    ...['held', 'clashed', ...(behaviour.filtering === 'address-dependent' ? ['permitted'] : [])].map(
      name => `flush set ip ${NAT_TABLE} ${name}_${protocol}\n`
    )
  ]).join('')
}

function contents(router: NatAttachment): string[] {
  const { behaviour } = router
  const parts = [...ageing(behaviour), ...input(router)]
  switch (behaviour.translation) {
    case 'none':
      return [...input(router), ...forward(router, ['inside', 'outside'])]
    case 'firewall':
      return [...parts, ...forward(router, ['inside', 'answers']), ...silence(router)]
    case 'one-to-one':
      return [...parts, ...oneToOne(router)]
    case 'napt':
      return [...parts, ...(isPlain(behaviour) ? plain(router) : recorded(router))]
  }
}

/** Whether conntrack alone does it: each flow has its own mapping, and only its own answers come in. */
function isPlain({ mapping, filtering, allocation, hairpin }: NatBehaviour): boolean {
  // Two flows whose computed ports are the same need a record of whose it is; conntrack would lose the second for ever.
  if (filtering !== 'address-and-port-dependent' || hairpin || allocation === 'deterministic') return false
  // Linux keeps the inner port while it is free, which makes preserving mappings independent in effect.
  return mapping === 'address-and-port-dependent' || (mapping === 'endpoint-independent' && allocation === 'preserving')
}

/** Whether two inner endpoints may have one outer port at the same time, towards different places, as plain Linux does it. */
export function overloadsPorts(behaviour: NatBehaviour): boolean {
  return behaviour.translation === 'napt' && isPlain(behaviour)
}

/** What the router itself takes: from inside echo requests and requests for port mappings, nothing from outside. */
function input({ insideInterface, portMapping }: NatAttachment): string[] {
  return chain('input', 'filter', 'input', 'filter', 'drop', [
    'iifname "lo" accept',
    `iifname "${insideInterface}" icmp type echo-request accept`,
    ...(portMapping === null ? [] : portMappingInput(portMapping, insideInterface))
  ])
}

type Way = 'inside' | 'outside' | 'answers' | 'opened'

/** What crosses, by who began it. `opened`: what came in through a mapping that is open to it. */
function forward(router: NatAttachment, ways: Way[], more: string[] = []) {
  const { behaviour, insideInterface, outsideInterface, portMapping } = router
  const inward = `iifname "${outsideInterface}" oifname "${insideInterface}"`
  const rules: Record<Way, string> = {
    inside: `iifname "${insideInterface}" oifname "${outsideInterface}" accept`,
    outside: `${inward} accept`,
    answers: `${inward} ct state established,related accept`,
    opened: `${inward} ct status dnat accept`
  }
  return chain('forward', 'filter', 'forward', 'filter', 'drop', [
    ...(behaviour.translation === 'none' ? [] : ['ct state invalid drop']),
    ...(behaviour.udpBlocked ? ['meta l4proto udp drop'] : []),
    ...ways.map(way => rules[way]),
    ...(portMapping === null ? [] : [`${inward} ${GRANTED_MATCH} accept`]),
    ...more
  ])
}

/** The router says nothing outside by itself: no RST, no ICMP error. */
function silence({ outsideInterface }: NatAttachment): string[] {
  return chain('output', 'filter', 'output', 'filter', 'accept', [`oifname "${outsideInterface}" drop`])
}

/** Nothing leaves with any source but the router's own. */
function guard({ outsideInterface, outsideAddress }: NatAttachment): string[] {
  return chain('guard', 'filter', 'postrouting', 'srcnat + 50', 'accept', [
    `oifname "${outsideInterface}" ip saddr != ${outsideAddress} drop`
  ])
}

/** How long conntrack keeps what is silent, for this router's flows alone. */
function ageing({ timeouts: { udpS, udpStreamS, tcpEstablishedS } }: NatBehaviour): string[] {
  return [
    '  ct timeout age_udp {',
    '    protocol udp; l3proto ip',
    `    policy = { unreplied : ${udpS}, replied : ${udpStreamS} }`,
    '  }',
    '  ct timeout age_tcp {',
    '    protocol tcp; l3proto ip',
    `    policy = { established : ${tcpEstablishedS} }`,
    '  }',
    // Behind conntrack: a timeout is set on a flow that has an entry already, and only on its first packet.
    ...chain('ageing', 'filter', 'prerouting', 'mangle', 'accept', [
      'meta l4proto udp ct timeout set "age_udp"',
      'meta l4proto tcp ct timeout set "age_tcp"'
    ])
  ]
}

function oneToOne(router: NatAttachment): string[] {
  const { behaviour, insideHost, insideInterface, outsideInterface, outsideAddress } = router
  const from = [outsideInterface, ...(behaviour.hairpin ? [insideInterface] : [])]
  const to =
    insideHost === null ? [] : from.map(name => `iifname "${name}" ip daddr ${outsideAddress} dnat to ${insideHost}`)
  return [
    ...forward(router, ['inside', 'answers', 'opened'], hairpinForward(router)),
    ...silence(router),
    ...chain('inwards', 'nat', 'prerouting', 'dstnat', 'accept', to),
    ...chain('translate', 'nat', 'postrouting', 'srcnat', 'accept', [
      `oifname "${outsideInterface}" snat to ${outsideAddress}`,
      ...(behaviour.hairpin ? hairpinTranslate(router, `snat to ${outsideAddress}`) : [])
    ]),
    ...guard(router)
  ]
}

function plain(router: NatAttachment): string[] {
  const { behaviour, outsideInterface, outsideAddress } = router
  return [
    ...choices(behaviour, outsideAddress),
    ...forward(router, ['inside', 'answers']),
    ...silence(router),
    ...chain('translate', 'nat', 'postrouting', 'srcnat', 'accept', [
      ...PROTOCOLS.map(
        protocol =>
          `oifname "${outsideInterface}" meta l4proto ${protocol} ${allocate(behaviour, protocol, outsideAddress)}`
      ),
      `oifname "${outsideInterface}" masquerade`
    ]),
    ...guard(router)
  ]
}

/** A NAT whose mappings outlive a flow or are open to others than those they were made for. */
function recorded(router: NatAttachment): string[] {
  const { behaviour, insideInterface, outsideInterface, outsideAddress } = router
  return [
    ...choices(behaviour, outsideAddress),
    ...PROTOCOLS.flatMap(protocol => tables(behaviour, protocol)),
    ...(behaviour.filtering === 'address-and-port-dependent'
      ? []
      : chain('permit', 'filter', 'prerouting', 'mangle', 'accept', permit(behaviour, insideInterface))),
    ...chain('inwards', 'nat', 'prerouting', 'dstnat', 'accept', inwards(router)),
    ...forward(router, ['inside', 'answers'], [...admit(router), ...hairpinForward(router)]),
    ...silence(router),
    // One chain for both ways out, so that both count on in the same sequence.
    '  chain mapping {',
    ...PROTOCOLS.flatMap(protocol => recall(behaviour, protocol, outsideAddress)).map(rule => `    ${rule}`),
    '    masquerade',
    '  }',
    ...chain('translate', 'nat', 'postrouting', 'srcnat', 'accept', [
      `oifname "${outsideInterface}" jump mapping`,
      ...(behaviour.hairpin ? hairpinTranslate(router, 'jump mapping') : []),
      ...unaltered(router)
    ]),
    ...PROTOCOLS.flatMap(protocol => record(behaviour, protocol)),
    ...chain('record', 'filter', 'postrouting', 'srcnat + 10', 'accept', [
      ...PROTOCOLS.map(protocol => `ip saddr ${outsideAddress} meta l4proto ${protocol} jump record_${protocol}`)
    ]),
    ...guard(router)
  ]
}

/** What may turn round at the router: flows that were translated towards a host inside. */
function hairpinForward({ behaviour, insideInterface }: NatAttachment): string[] {
  return behaviour.hairpin ? [`iifname "${insideInterface}" oifname "${insideInterface}" ct status dnat accept`] : []
}

/** Hairpinned flows leave with the sender's outer endpoint (RFC 4787 REQ-9 a). */
function hairpinTranslate({ insideInterface }: NatAttachment, translate: string): string[] {
  return [`iifname "${insideInterface}" oifname "${insideInterface}" ct status dnat ${translate}`]
}
