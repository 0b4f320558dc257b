/**
 * What a NAT writes down: which inner endpoint has which outer port, and whom it has sent to. The port is the one that the
 * kernel chose; later flows of the same inner endpoint, and those from outside, go by what is written. Pure nftables text.
 */
import type { NatAttachment } from './nat.ts'
import type { NatBehaviour } from './nat-kinds.ts'
import { allocate, anyPort } from './nat-ports.ts'
import { key, PROTOCOLS, type Protocol } from './nat-text.ts'

/** Entries of each table: what a NAT holds at once. The kernel frees the oldest by their timeouts. */
const TABLE_ENTRIES = 131_072
/** What a TCP mapping that is not established, or no more, is kept, seconds: conntrack's own for such connections. */
const TCP_TRANSITORY_S = 120
/** A source whose first port belonged to another gets a random one; remembered until its next packet. */
const CLASH_MEMORY_S = 60

/** What a mapping is remembered by. */
function keyTypes({ mapping }: NatBehaviour): string {
  return {
    'endpoint-independent': 'ipv4_addr . inet_service',
    'address-dependent': 'ipv4_addr . inet_service . ipv4_addr',
    'address-and-port-dependent': 'ipv4_addr . inet_service . ipv4_addr . inet_service'
  }[mapping]
}

const ORIGINAL_SOURCE = 'ct original ip saddr . ct original proto-src'
/** The inner endpoint of a flow that came from outside. */
const ANSWERING_SOURCE = 'ct reply ip saddr . ct reply proto-src'

/** The tables of one protocol. */
export function tables(behaviour: NatBehaviour, protocol: Protocol): string[] {
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
export function permit(behaviour: NatBehaviour, insideInterface: string): string[] {
  if (behaviour.filtering !== 'address-dependent') return []
  return PROTOCOLS.map(protocol => {
    const { used } = lifetimes(behaviour, protocol)
    const entry = `ip saddr . ${protocol} sport . ip daddr timeout ${used}s`
    return `iifname "${insideInterface}" meta l4proto ${protocol} update @permitted_${protocol} { ${entry} }`
  })
}

/** New flows towards the outer address: from outside where the filter is open, from inside for hairpins. */
export function inwards({ behaviour, insideInterface, outsideInterface, outsideAddress }: NatAttachment): string[] {
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
export function admit({ behaviour, insideInterface, outsideInterface }: NatAttachment): string[] {
  const inward = `iifname "${outsideInterface}" oifname "${insideInterface}" ct status dnat`
  if (behaviour.filtering === 'endpoint-independent') return [`${inward} accept`]
  if (behaviour.filtering === 'address-and-port-dependent') return []
  return PROTOCOLS.map(
    protocol =>
      `${inward} meta l4proto ${protocol} ip daddr . ${protocol} dport . ip saddr @permitted_${protocol} accept`
  )
}

/**
 * What comes in keeps its source. Without a word the kernel would change its port where an inner endpoint speaks to the
 * same outer one by another mapping already; so it is lost instead, as the two would be in one another's way.
 */
export function unaltered({ behaviour, insideInterface, outsideInterface }: NatAttachment): string[] {
  if (behaviour.filtering === 'address-and-port-dependent' || behaviour.mapping === 'endpoint-independent') return []
  return PROTOCOLS.map(
    protocol =>
      `iifname "${outsideInterface}" oifname "${insideInterface}" meta l4proto ${protocol} snat to ip saddr : ${protocol} sport`
  )
}

/** The port this endpoint has already, else one that is nobody's. */
export function recall(behaviour: NatBehaviour, protocol: Protocol, address: string): string[] {
  const source = `ip saddr . ${protocol} sport`
  const known = key(behaviour.mapping, source, 'ct original ip daddr', 'ct original proto-dst')
  const inProtocol = `meta l4proto ${protocol}`
  return [
    `${inProtocol} snat ip to ${address} : ${known} map @mapped_${protocol}`,
    // Where the same port would be chosen again; the others simply choose the next.
    ...(behaviour.allocation === 'preserving' || behaviour.allocation === 'deterministic'
      ? [`${inProtocol} ${source} @clashed_${protocol} ${anyPort(address)}`]
      : []),
    ...(behaviour.allocation === 'preserving'
      ? [`${inProtocol} ${protocol} sport @owner_${protocol} ${anyPort(address)}`]
      : []),
    `${inProtocol} ${allocate(behaviour, protocol, address)}`
  ]
}

/** After translation: who has which port. A port that is another's is not given: that packet is lost, the next gets another. */
export function record(behaviour: NatBehaviour, protocol: Protocol): string[] {
  const { fresh, used } = lifetimes(behaviour, protocol)
  const inProtocol = `meta l4proto ${protocol}`
  const holder = `${protocol} sport . ${ORIGINAL_SOURCE}`
  const mapped = key(behaviour.mapping, ORIGINAL_SOURCE, 'ct original ip daddr', 'ct original proto-dst')
  const write = (seconds: number) => [
    `update @owner_${protocol} { ${protocol} sport timeout ${seconds}s : ${ORIGINAL_SOURCE} }`,
    `update @held_${protocol} { ${holder} timeout ${seconds}s }`,
    `update @mapped_${protocol} { ${mapped} timeout ${seconds}s : ${protocol} sport }`
  ]
  const held = `${protocol} sport . ${ANSWERING_SOURCE} @held_${protocol} ${inUse(protocol)}`
  // What answers a flow from outside keeps the mapping too; where it depends on the destination that is conntrack's affair.
  const isOpen = behaviour.filtering !== 'address-and-port-dependent' || behaviour.hairpin
  const keep =
    isOpen && behaviour.mapping === 'endpoint-independent'
      ? [
          `update @owner_${protocol} { ${protocol} sport timeout ${used}s : ${ANSWERING_SOURCE} }`,
          `update @held_${protocol} { ${protocol} sport . ${ANSWERING_SOURCE} timeout ${used}s }`,
          `update @mapped_${protocol} { ${ANSWERING_SOURCE} timeout ${used}s : ${protocol} sport }`
        ]
      : []
  return [
    `  chain record_${protocol} {`,
    ...keep.map(rule => `    ct direction reply ${inProtocol} ${held} ${rule}`),
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
