/**
 * The nftables text that makes a Linux network namespace behave like a NAT of `nat-kinds.ts`. Pure; the same text
 * serves both runtimes, and loading it again replaces it in one step.
 *
 * The kernel chooses ports, so that no two flows ever clash in conntrack. Where a mapping must outlive one flow or be
 * open to others, the port it chose is written down after translation (`record`), and later flows of the same inner
 * endpoint (`mapped_*`) or from outside (`owner_*`) go by that. Linux alone is address-and-port-dependent in both.
 */
import type { Dependence, NatBehaviour } from './nat-kinds.ts'
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

/** Ports that a NAT gives out, RFC 4787 REQ-3: none of the well-known ones. */
const FIRST_PORT = 1024
const LAST_PORT = 65_535
/** Where `sequential` and `deterministic` begin, and how many ports they go round; each is an element of a map. */
const RING_FIRST_PORT = 20_000
const RING_PORTS = 4096
const RING_SEED = '0x57415252'
/** Maps are written with so many elements on a line. */
const ELEMENTS_PER_LINE = 16
/** Entries of each table: what a NAT holds at once. The kernel frees the oldest by their timeouts. */
const TABLE_ENTRIES = 131_072
/** What a TCP mapping that is not established, or no more, is kept, seconds: conntrack's own for such connections. */
const TCP_TRANSITORY_S = 120
/** A source whose first port belonged to another gets a random one; remembered until its next packet. */
const CLASH_MEMORY_S = 60

type Protocol = 'tcp' | 'udp'
const PROTOCOLS: readonly Protocol[] = ['udp', 'tcp']

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
    ...choices(router),
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

/** The statement that lets the kernel choose a port for a new flow. */
function allocate({ mapping, allocation, blockPorts }: NatBehaviour, protocol: Protocol, address: string): string {
  switch (allocation) {
    case 'preserving':
      return `snat to ${address}`
    case 'random':
      return anyPort(address)
    case 'sequential':
      return `snat to ${address} : numgen inc mod ${RING_PORTS} map @ring`
    case 'deterministic': {
      const hashed = key(mapping, `ip saddr . ${protocol} sport`, 'ip daddr', `${protocol} dport`)
      return `snat to ${address} : jhash ${hashed} mod ${RING_PORTS} seed ${RING_SEED} map @ring`
    }
    case 'block':
      return `snat ip to ip saddr & ${blockMask(blockPorts)} map @blocks fully-random`
  }
}

/** What `allocate` looks ports up in. */
function choices({ behaviour: { allocation, blockPorts }, outsideAddress }: NatAttachment): string[] {
  switch (allocation) {
    case 'sequential':
    case 'deterministic':
      // Through a map, because nft 1.0.6 hands numbers it generated to NAT in the machine's byte order.
      return map('ring', `typeof numgen inc mod ${RING_PORTS} : udp dport`, ring())
    case 'block':
      // Address and ports together: with ports alone nft 1.0.6 loses the range's end.
      return map('blocks', 'type ipv4_addr : interval ipv4_addr . inet_service', blocks(blockPorts, outsideAddress))
    default:
      return []
  }
}

function ring(): string[] {
  return Array.from({ length: RING_PORTS }, (_, n) => `${n} : ${RING_FIRST_PORT + n}`)
}

const anyPort = (address: string): string => `snat to ${address} : ${FIRST_PORT}-${LAST_PORT} fully-random`

/** The ports that a NAT with blocks gives to one inner address, both included. Subscribers beyond the last block share. */
export function portBlock(innerAddress: string, blockPorts: number): { first: number; last: number } {
  const number = innerAddress.split('.').reduce((value, octet) => value * 256 + Number(octet), 0)
  const first = FIRST_PORT + (number % subscribers(blockPorts)) * blockPorts
  return { first, last: first + blockPorts - 1 }
}

/** Subscribers share blocks beyond this many; a power of two, taken from the end of the inner address. */
function subscribers(blockPorts: number): number {
  return 2 ** Math.floor(Math.log2((LAST_PORT + 1 - FIRST_PORT) / blockPorts))
}

function blockMask(blockPorts: number): string {
  const mask = subscribers(blockPorts) - 1
  return [24, 16, 8, 0].map(shift => (mask >> shift) & 255).join('.')
}

function blocks(blockPorts: number, address: string): string[] {
  return Array.from({ length: subscribers(blockPorts) }, (_, n) => {
    const { first, last } = portBlock(`0.0.${n >> 8}.${n & 255}`, blockPorts)
    return `0.0.${n >> 8}.${n & 255} : ${address} . ${first}-${last}`
  })
}

/** A NAT whose mappings outlive a flow or are open to others than those they were made for. */
function recorded(router: NatAttachment): string[] {
  const { behaviour, insideInterface, outsideInterface, outsideAddress } = router
  return [
    ...choices(router),
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

/** What a mapping is remembered by. */
function keyTypes({ mapping }: NatBehaviour): string {
  return {
    'endpoint-independent': 'ipv4_addr . inet_service',
    'address-dependent': 'ipv4_addr . inet_service . ipv4_addr',
    'address-and-port-dependent': 'ipv4_addr . inet_service . ipv4_addr . inet_service'
  }[mapping]
}

function key(mapping: Dependence, source: string, address: string, port: string): string {
  return {
    'endpoint-independent': source,
    'address-dependent': `${source} . ${address}`,
    'address-and-port-dependent': `${source} . ${address} . ${port}`
  }[mapping]
}

const ORIGINAL_SOURCE = 'ct original ip saddr . ct original proto-src'

function tables(behaviour: NatBehaviour, protocol: Protocol): string[] {
  const { filtering } = behaviour
  const flags = `flags dynamic,timeout; size ${TABLE_ENTRIES};`
  return [
    // Inner endpoint (and destination) to outer port, outer port to inner endpoint, and who holds a port.
    `  map mapped_${protocol} { type ${keyTypes(behaviour)} : inet_service; ${flags} }`,
    `  map owner_${protocol} { type inet_service : ipv4_addr . inet_service; ${flags} }`,
    `  set held_${protocol} { type inet_service . ipv4_addr . inet_service; ${flags} }`,
    `  set clashed_${protocol} { type ipv4_addr . inet_service; ${flags} }`,
    ...(filtering === 'address-dependent'
      ? [`  set permitted_${protocol} { type ipv4_addr . inet_service . ipv4_addr; ${flags} }`]
      : [])
  ]
}

/** Seconds a mapping stays after its last packet out: one that nothing came back through, or is closed; and one in use. */
const lifetimes = ({ timeouts }: NatBehaviour, protocol: Protocol): { fresh: number; used: number } =>
  protocol === 'udp'
    ? { fresh: timeouts.udpS, used: timeouts.udpStreamS }
    : { fresh: Math.min(TCP_TRANSITORY_S, timeouts.tcpEstablishedS), used: timeouts.tcpEstablishedS }

/** What tells a mapping in use, from the flow of the packet. A closed TCP connection's entry is about to go. */
const inUse = (protocol: Protocol): string =>
  protocol === 'udp' ? 'ct status seen-reply' : `ct status seen-reply ct expiration > ${TCP_TRANSITORY_S}s`

/** Whom an inner endpoint has sent to may come in. */
function permit(behaviour: NatBehaviour, insideInterface: string): string[] {
  if (behaviour.filtering !== 'address-dependent') return []
  return PROTOCOLS.map(protocol => {
    const { used } = lifetimes(behaviour, protocol)
    const entry = `ip saddr . ${protocol} sport . ip daddr timeout ${used}s`
    return `iifname "${insideInterface}" meta l4proto ${protocol} update @permitted_${protocol} { ${entry} }`
  })
}

/** New flows towards the outer address: from outside where the filter is open, from inside for hairpins. */
function inwards({ behaviour, insideInterface, outsideInterface, outsideAddress }: NatAttachment): string[] {
  const from = [
    ...(behaviour.filtering === 'address-and-port-dependent' ? [] : [outsideInterface]),
    ...(behaviour.hairpin ? [insideInterface] : [])
  ]
  return from.flatMap(interfaceName =>
    PROTOCOLS.map(
      protocol =>
        `iifname "${interfaceName}" ip daddr ${outsideAddress} meta l4proto ${protocol} dnat ip to ${protocol} dport map @owner_${protocol}`
    )
  )
}

/** Which of the translated flows from outside pass. */
function admit({ behaviour, insideInterface, outsideInterface }: NatAttachment): string[] {
  const inward = `iifname "${outsideInterface}" oifname "${insideInterface}" ct status dnat`
  if (behaviour.filtering === 'endpoint-independent') return [`${inward} accept`]
  if (behaviour.filtering === 'address-and-port-dependent') return []
  return PROTOCOLS.map(
    protocol =>
      `${inward} meta l4proto ${protocol} ip daddr . ${protocol} dport . ip saddr @permitted_${protocol} accept`
  )
}

/** What may turn round at the router: flows that were translated towards a host inside. */
function hairpinForward({ behaviour, insideInterface }: NatAttachment): string[] {
  return behaviour.hairpin ? [`iifname "${insideInterface}" oifname "${insideInterface}" ct status dnat accept`] : []
}

/** Hairpinned flows leave with the sender's outer endpoint (RFC 4787 REQ-9 a). */
function hairpinTranslate({ insideInterface }: NatAttachment, translate: string): string[] {
  return [`iifname "${insideInterface}" oifname "${insideInterface}" ct status dnat ${translate}`]
}

/**
 * What comes in keeps its source. Without a word the kernel would change its port where an inner endpoint speaks to the
 * same outer one by another mapping already; so it is lost instead, as the two would be in one another's way.
 */
function unaltered({ behaviour, insideInterface, outsideInterface }: NatAttachment): string[] {
  if (behaviour.filtering === 'address-and-port-dependent' || behaviour.mapping === 'endpoint-independent') return []
  return PROTOCOLS.map(
    protocol =>
      `iifname "${outsideInterface}" oifname "${insideInterface}" meta l4proto ${protocol} snat to ip saddr : ${protocol} sport`
  )
}

/** The port this endpoint has already, else one that is nobody's. */
function recall(behaviour: NatBehaviour, protocol: Protocol, address: string): string[] {
  const source = `ip saddr . ${protocol} sport`
  const known = key(behaviour.mapping, source, 'ct original ip daddr', 'ct original proto-dst')
  const inProtocol = `meta l4proto ${protocol}`
  return [
    `${inProtocol} snat ip to ${address} : ${known} map @mapped_${protocol}`,
    ...(behaviour.allocation === 'random' ? [] : [`${inProtocol} ${source} @clashed_${protocol} ${anyPort(address)}`]),
    ...(behaviour.allocation === 'preserving'
      ? [`${inProtocol} ${protocol} sport @owner_${protocol} ${anyPort(address)}`]
      : []),
    `${inProtocol} ${allocate(behaviour, protocol, address)}`
  ]
}

/** After translation: who has which port. A port that is another's is not given: that packet is lost, the next gets another. */
function record(behaviour: NatBehaviour, protocol: Protocol): string[] {
  const { fresh, used } = lifetimes(behaviour, protocol)
  const inProtocol = `meta l4proto ${protocol}`
  const holder = `${protocol} sport . ${ORIGINAL_SOURCE}`
  const mapped = key(behaviour.mapping, ORIGINAL_SOURCE, 'ct original ip daddr', 'ct original proto-dst')
  const write = (seconds: number) => [
    `update @owner_${protocol} { ${protocol} sport timeout ${seconds}s : ${ORIGINAL_SOURCE} }`,
    `update @held_${protocol} { ${holder} timeout ${seconds}s }`,
    `update @mapped_${protocol} { ${mapped} timeout ${seconds}s : ${protocol} sport }`
  ]
  // Answers to flows from outside keep the mapping too, but their "original source" is the other side's.
  return [
    `  chain record_${protocol} {`,
    '    ct direction reply return',
    `    ${inProtocol} ${holder} @held_${protocol} jump refresh_${protocol}`,
    `    ${inProtocol} ${protocol} sport @owner_${protocol} jump clash_${protocol}`,
    ...write(fresh).map(rule => `    ${inProtocol} ${rule}`),
    '  }',
    `  chain refresh_${protocol} {`,
    ...(used === fresh
      ? []
      : [...write(used).map(rule => `    ${inProtocol} ${inUse(protocol)} ${rule}`), `    ${inUse(protocol)} accept`]),
    ...write(fresh).map(rule => `    ${inProtocol} ${rule}`),
    '    accept',
    '  }',
    `  chain clash_${protocol} {`,
    `    ${inProtocol} update @clashed_${protocol} { ${ORIGINAL_SOURCE} timeout ${CLASH_MEMORY_S}s }`,
    '    drop',
    '  }'
  ]
}

function map(name: string, type: string, elements: string[]): string[] {
  const lines = Array.from({ length: Math.ceil(elements.length / ELEMENTS_PER_LINE) }, (_, line) =>
    elements.slice(line * ELEMENTS_PER_LINE, (line + 1) * ELEMENTS_PER_LINE).join(', ')
  )
  return [`  map ${name} {`, `    ${type}; elements = {`, `      ${lines.join(',\n      ')}`, '    }', '  }']
}

function chain(name: string, type: string, hook: string, priority: string, policy: string, rules: string[]): string[] {
  return [
    `  chain ${name} {`,
    `    type ${type} hook ${hook} priority ${priority}; policy ${policy};`,
    ...rules.map(rule => `    ${rule}`),
    '  }'
  ]
}
