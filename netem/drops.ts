/**
 * Packets between hosts that are lost, as nftables text: what a partition is made of. Pure.
 *
 * A receiver drops by source address as soon as a packet arrives. A sender behind a NAT that translates shares its
 * source address with its neighbours, so its own router marks what it sends in the DSCP field, which no NAT of the
 * lab touches, and the receiver drops marked packets from the addresses of that NAT. So a pair means these two hosts
 * alone, whatever is between them; hairpinned packets are met too. IPv6 keeps its addresses, but through NAT64 the
 * same is needed, whose translator copies the field.
 */
import { ChangeRefusedError, UnknownHostError } from './errors.ts'
import { nat64Address } from './ipv6.ts'
import { outerAddresses, type Place, placeOn, routersAbove } from './places.ts'
import { isRouted } from './plan.ts'
import type { Plan, PlannedHost } from './plan.types.ts'

/** What `from` sends to `to` is lost; not the other way round. */
export interface DirectedPair {
  from: string
  to: string
}

/** Table of a receiving host, and of a router that marks. */
const DROP_TABLE = 'warren_drop'
/** DSCP has six bits, and zero is what everybody sends. */
const MARKS = 63

type Family = 'ip' | 'ip6'

const familiesOf = (plan: Plan): Family[] =>
  plan.networks.some(({ ipv6 }) => ipv6 !== undefined) ? ['ip', 'ip6'] : ['ip']

/**
 * Undoes either rule set; harmless where nothing is dropped or marked. The chain stays, without a rule: with a base chain
 * that is deleted the kernel drops every packet that a shaper holds in its namespace, whoever sent it.
 */
export function noDrops(plan: Plan): string {
  return familiesOf(plan)
    .map(family => `table ${family} ${DROP_TABLE}\nflush table ${family} ${DROP_TABLE}\n`)
    .join('')
}

/**
 * Rule sets by host or router, for `nft -f`; who is not named needs `noDrops`. They replace each other in one step.
 * @param at the network a host is on now
 * @throws UnknownHostError; ChangeRefusedError for a pair of one host with itself, or when more than 63 hosts behind
 * one NAT are senders
 */
export function dropRulesets(
  plan: Plan,
  at: (host: string) => string,
  pairs: readonly DirectedPair[]
): Map<string, string> {
  const senders = sendersOf(plan, at, pairs)
  const hosts = new Map(plan.hosts.map(host => [host.name, host]))
  const rules = new Map<string, Record<Family, Set<string>>>()
  const add = (owner: string, family: Family, rule: string | null) => {
    if (!rules.has(owner)) rules.set(owner, { ip: new Set(), ip6: new Set() })
    if (rule !== null) rules.get(owner)![family].add(rule)
  }
  for (const { from, to } of pairs) {
    const { place, marker } = senders.get(from)!
    const receiver = placeOn(plan, hosts.get(to)!, at(to))
    for (const family of familiesOf(plan)) {
      add(to, family, fromItself(family, place, receiver))
      if (marker === null) continue
      add(marker.router, family, marking(family, place, marker.mark))
      add(to, family, fromItsNat(family, receiver, marker))
    }
  }
  return new Map([...rules].map(([owner, byFamily]) => [owner, ruleset(plan, byFamily)]))
}

interface Marker {
  /** Where packets are marked. */
  router: string
  mark: number
  /** IPv4 addresses they may have behind translation. */
  addresses: string[]
}

interface Sender {
  place: Place
  /** Null where everybody sees its own address. */
  marker: Marker | null
}

function fromItself(family: Family, { attachment, isIpv6Only }: Place, receiver: Place): string | null {
  if (family === 'ip') return isIpv6Only || receiver.isIpv6Only ? null : `ip saddr ${attachment.address} drop`
  const seenAs = [
    ...(attachment.ipv6 === undefined ? [] : [attachment.ipv6]),
    ...(receiver.isIpv6Only && !isIpv6Only ? [nat64Address(attachment.address)] : [])
  ]
  return receiver.ipv6 === undefined || seenAs.length === 0 ? null : `ip6 saddr { ${seenAs.join(', ')} } drop`
}

function marking(family: Family, { attachment, isIpv6Only }: Place, mark: number): string | null {
  if (family === 'ip') return isIpv6Only ? null : `ip saddr ${attachment.address} ip dscp set ${mark}`
  return isIpv6Only ? `ip6 saddr ${attachment.ipv6} ip6 dscp set ${mark}` : null
}

function fromItsNat(family: Family, receiver: Place, { mark, addresses }: Marker): string | null {
  const seenAs = family === 'ip' ? addresses : addresses.map(nat64Address)
  const isSeen = family === 'ip' ? !receiver.isIpv6Only : receiver.isIpv6Only
  return isSeen ? `${family} dscp ${mark} ${family} saddr { ${seenAs.join(', ')} } drop` : null
}

function sendersOf(plan: Plan, at: (host: string) => string, pairs: readonly DirectedPair[]): Map<string, Sender> {
  const hosts = new Map(plan.hosts.map(host => [host.name, host]))
  for (const { from, to } of pairs) {
    for (const name of [from, to]) if (!hosts.has(name)) throw new UnknownHostError(name, plan)
    if (from === to) throw new ChangeRefusedError(`${from} reaches itself without a network: name two hosts`)
  }
  const isSender = new Set(pairs.map(({ from }) => from))
  const marked = new Map<string, number>()
  const senders = plan.hosts.filter(({ name }) => isSender.has(name))
  return new Map(senders.map(host => [host.name, senderOf(plan, host, at(host.name), marked)]))
}

/** @param marked how many are marked already, by the outermost router */
function senderOf(plan: Plan, host: PlannedHost, network: string, marked: Map<string, number>): Sender {
  const place = placeOn(plan, host, network)
  const routers = routersAbove(plan, network)
  const translating = routers.filter(router => !isRouted(router))
  if (translating.length === 0) return { place, marker: null }
  const outermost = routers.at(-1)!.name
  const mark = (marked.get(outermost) ?? 0) + 1
  marked.set(outermost, mark)
  if (mark > MARKS) {
    throw new ChangeRefusedError(`more than ${MARKS} hosts behind ${outermost} are senders: name fewer of them`)
  }
  // Any of its addresses, so that the pair outlives a change of address.
  const addresses = translating.flatMap(router => outerAddresses(plan, router))
  return { place, marker: { router: routers[0]!.name, mark, addresses } }
}

function ruleset(plan: Plan, rules: Record<Family, Set<string>>): string {
  return familiesOf(plan)
    .flatMap(family => [
      `table ${family} ${DROP_TABLE}`,
      `flush table ${family} ${DROP_TABLE}`,
      `table ${family} ${DROP_TABLE} {`,
      '  chain arriving {',
      // Behind the shaper, which is in raw: a chain that comes in before it has what is held go through the shaper again.
      '    type filter hook prerouting priority raw + 10; policy accept;',
      ...[...rules[family]].map(rule => `    ${rule}`),
      '  }',
      '}',
      ''
    ])
    .join('\n')
}
