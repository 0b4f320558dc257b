/** What a prober's observations amount to, in the words of `netem/nat-kinds.ts`. Pure. */
import type { Dependence, PortAllocation, Translation } from '../../netem/index.ts'
import type { Endpoint, NatObservation, Passage, ProtocolObservation } from './nat-prober.ts'

/** A word that nobody could make out: why. */
export type Unclear = `unclear (${string})`

/** What one protocol meets on the way out. */
export interface ProtocolWords {
  translation: Translation | Unclear
  mapping: Dependence | Unclear
  filtering: Dependence | Unclear
  allocation: PortAllocation | Unclear
  /** First and last outer port of fresh endpoints. */
  ports: [first: number, last: number]
  /** null where there is no outer address to turn round at. */
  hairpin: boolean | Unclear | null
  /** As whom it goes out. */
  address: string
}

/** null: nothing of that protocol gets through. */
export interface NatWords {
  udp: ProtocolWords | null
  tcp: ProtocolWords | null
}

/** Ports of a block are at least this near to each other; ports from everywhere hardly ever are. */
const BLOCK_SPAN_PORTS = 16_384
/** Others behind the same NAT may take a port in between. */
const SEQUENCE_STEP_MAX = 8

/** @param ownAddress the host's own, as its routers inside know it */
export function classify(seen: NatObservation, ownAddress: string): NatWords {
  const words = (protocol: 'udp' | 'tcp'): ProtocolWords | null => {
    const observed = seen[protocol]
    return observed === null ? null : wordsOf(observed, seen, ownAddress)
  }
  return { udp: words('udp'), tcp: words('tcp') }
}

function wordsOf(observed: ProtocolObservation, all: NatObservation, ownAddress: string): ProtocolWords {
  const [first] = observed.mapping.seen
  const ports = observed.fresh.flatMap(({ port }) => port ?? [])
  const address = first?.[0] ?? 'none'
  const isRouted = address === ownAddress
  return {
    translation: translationOf(isRouted, observed.unasked),
    mapping: mappingOf(observed.mapping.seen),
    filtering: filteringOf(observed),
    allocation: allocationOf(observed, all.twins),
    ports: [Math.min(...ports), Math.max(...ports)],
    hairpin: isRouted ? null : hairpinOf(observed),
    address
  }
}

function translationOf(isRouted: boolean, unasked: Passage): ProtocolWords['translation'] {
  if (unasked === 'refused') return unclear('what nobody asked for is refused, not dropped')
  if (isRouted) return unasked === 'passed' ? 'none' : 'firewall'
  return unasked === 'passed' ? 'one-to-one' : 'napt'
}

function mappingOf(seen: Array<Endpoint | null>): ProtocolWords['mapping'] {
  const texts = seen.flatMap(each => (each === null ? [] : [each.join(':')]))
  if (texts.length < seen.length) return unclear('a reflector did not answer')
  const [one, otherPort, otherAddress, otherBoth] = texts
  const distinct = new Set(texts).size
  if (distinct === 1)
    return seen.length === 4 ? 'endpoint-independent' : unclear('it needs a reflector at a second address')
  if (distinct === texts.length && seen.length === 4) return 'address-and-port-dependent'
  if (one === otherPort && otherAddress === otherBoth && distinct === 2) return 'address-dependent'
  return unclear(`seen as ${texts.join(', ')}`)
}

function filteringOf({ fromOtherPort, fromOtherAddress }: ProtocolObservation): ProtocolWords['filtering'] {
  if (fromOtherAddress === null) return unclear('it needs a reflector at a second address')
  if (fromOtherPort === 'refused' || fromOtherAddress === 'refused') return unclear('refused, not dropped')
  if (fromOtherAddress === 'passed')
    return fromOtherPort === 'passed'
      ? 'endpoint-independent'
      : unclear('another address passes, another port does not')
  return fromOtherPort === 'passed' ? 'address-dependent' : 'address-and-port-dependent'
}

function allocationOf(
  { fresh, again }: ProtocolObservation,
  twins: NatObservation['twins']
): ProtocolWords['allocation'] {
  const ports = fresh.flatMap(({ port }) => port ?? [])
  if (ports.length < fresh.length || ports.length < 3) return unclear('a fresh endpoint got no answer')
  if (fresh.every(({ localPort, port }) => port === localPort)) return 'preserving'
  const steps = ports.slice(1).map((port, index) => port - ports[index]!)
  if (steps.every(step => step >= 1 && step <= SEQUENCE_STEP_MAX)) return 'sequential'
  // The same function of the same endpoints, whatever came before.
  const repeats = again === null || again[0] === again[1]
  if (repeats && areTwins(twins)) return 'deterministic'
  return Math.max(...ports) - Math.min(...ports) < BLOCK_SPAN_PORTS ? 'block' : 'random'
}

/**
 * Whether UDP and TCP get the same port from the same endpoint. One pair of them may differ: a computed port that a flow
 * to the same place already has is given as another one. Drawn ports hardly ever agree even once.
 */
function areTwins(twins: NatObservation['twins']): boolean {
  const agreeing = twins.filter(({ udp, tcp }) => udp !== null && udp === tcp).length
  return agreeing > 0 && agreeing >= twins.length - 1
}

function hairpinOf({ hairpin: { forth, back, source, expected } }: ProtocolObservation): ProtocolWords['hairpin'] {
  if (forth !== 'passed') return forth === 'dropped' ? false : unclear('refused, not dropped')
  if (back !== 'passed') return unclear('it passes one way only')
  if (source === null || expected === null || source[0] !== expected[0])
    return unclear(`turned round as ${source?.join(':')}, not as the sender's outer address`)
  return true
}

function unclear(why: string): Unclear {
  return `unclear (${why})`
}
