/**
 * What observations say of a NAT, in RFC 4787's words. Pure.
 *
 * Observations are of several sockets, each seen by every endpoint of the reflectors, in the order in which they asked.
 */
import type { Endpoint } from './datagrams.ts'

/** What a mapping, or who may answer through it, depends on (RFC 4787 sections 4.1 and 5). */
export type Dependence = 'endpoint-independent' | 'address-dependent' | 'address-and-port-dependent'

/**
 * How the outer port of a new mapping is chosen. `hash`: by the destination alone, so that all sockets of a host collapse
 * into one mapping and no observation predicts another.
 */
export type PortAllocation = 'preserving' | 'sequential' | 'random' | 'block' | 'hash'

/** What could be told of the NAT before us. */
export interface NatKindSeen {
  /** `unknown` also where reflectors on one address saw one port: address-dependent mapping looks the same from there. */
  mapping: Dependence | 'unknown'
  allocation: PortAllocation | 'unknown'
  /** The strictest that fits: with one address, whoever lets another port in may still be address-dependent. */
  filtering: Dependence | 'unknown'
}

/** One question to one endpoint of a reflector. */
export interface Observation {
  /** Which of our sockets asked, from 0. */
  socket: number
  localPort: number
  /** The reflector's endpoint. */
  by: Endpoint
  /** null: unanswered, however often it was asked. */
  seen: Endpoint | null
}

/** Whether answers came from where a new socket had not asked; null: could not be tried. */
export interface FilteringTrial {
  otherPort: boolean | null
  otherAddress: boolean | null
}

/** What a puncher needs besides the kind. */
export interface NatFacts {
  /** Outer addresses, the most seen first. */
  hosts: string[]
  /** Most frequent distance of two mappings made one after another, 0 unless sequential. */
  step: number
  /** Lowest and highest outer port seen; null when nothing was. */
  ports: { lowest: number; highest: number } | null
  /** How many mappings that is of. */
  mappings: number
}

/** RFC 7422 blocks in use have 64 to 4096 ports. */
export const BLOCK_PORTS = 4096
/** A distance between two mappings made one after another, with what others behind the NAT opened between. */
const STEP_PORTS = 64
/** Of the distances, those that must be small; the rest is loss, reordering and the end of the range. */
const SEQUENTIAL_SHARE = 0.6
/** Three ports that are close by chance are one case in 250, four one in 1,000. */
const LEAST_PORTS = 4

export function natKind(observations: readonly Observation[], filtering: FilteringTrial): NatKindSeen {
  return {
    mapping: mappingOf(observations),
    allocation: allocationOf(observations),
    filtering: filteringOf(filtering)
  }
}

/** What a mapping depends on, by each socket that was seen by more than one endpoint. */
export function mappingOf(observations: readonly Observation[]): NatKindSeen['mapping'] {
  let samePortOnly = false
  let sameAddressToo = false
  let portDiffers = false
  let addressDiffers = false
  for (const [one, other] of pairsOfSocket(observations)) {
    const isSame = one.seen!.port === other.seen!.port && one.seen!.host === other.seen!.host
    if (one.by.host === other.by.host) {
      if (isSame) samePortOnly = true
      else portDiffers = true
    } else if (isSame) sameAddressToo = true
    else addressDiffers = true
  }
  if (portDiffers) return 'address-and-port-dependent'
  if (addressDiffers) return samePortOnly ? 'address-dependent' : 'unknown'
  return sameAddressToo ? 'endpoint-independent' : 'unknown'
}

/** Every two answered observations of one socket. */
function* pairsOfSocket(observations: readonly Observation[]): Generator<[Observation, Observation]> {
  const seen = observations.filter(observation => observation.seen !== null)
  for (const [index, one] of seen.entries()) {
    for (const other of seen.slice(index + 1)) if (one.socket === other.socket) yield [one, other]
  }
}

export function allocationOf(observations: readonly Observation[]): NatKindSeen['allocation'] {
  const seen = observations.filter(observation => observation.seen !== null)
  if (seen.length === 0) return 'unknown'
  if (collapses(observations)) return 'hash'
  if (seen.every(({ seen, localPort }) => seen!.port === localPort)) return 'preserving'
  const ports = newMappings(seen)
  const small = smallSteps(ports)
  const distances = ports.length - 1
  if (ports.length >= LEAST_PORTS && small.length >= SEQUENTIAL_SHARE * distances) return 'sequential'
  // Most keep their port and the others clashed with a neighbour's: that is still a NAT that preserves.
  const kept = seen.filter(({ seen, localPort }) => seen!.port === localPort).length
  if (kept * 2 > seen.length) return 'preserving'
  if (ports.length < LEAST_PORTS) return 'unknown'
  return Math.max(...ports) - Math.min(...ports) < BLOCK_PORTS ? 'block' : 'random'
}

/** A second socket gets no answer where the first got one, or is taken for the first. */
function collapses(observations: readonly Observation[]): boolean {
  const first = observations[0]?.socket
  const later = observations.filter(({ socket }) => socket !== first)
  if (later.length === 0) return false
  const place = ({ host, port }: Endpoint): string => `${host} ${port}`
  const firstSeen = new Map<string, string>()
  for (const { socket, by, seen } of observations) {
    if (socket === first && seen !== null) firstSeen.set(place(by), place(seen))
  }
  const comparable = later.filter(({ by }) => firstSeen.has(place(by)))
  if (comparable.length < 2) return false
  const isTaken = ({ by, seen }: Observation): boolean => seen === null || place(seen) === firstSeen.get(place(by))
  return comparable.every(isTaken)
}

/** Outer ports in the order in which their mappings were made: a port that a socket keeps counts once. */
function newMappings(seen: readonly Observation[]): number[] {
  const known = new Set<string>()
  const ports: number[] = []
  for (const { socket, seen: outer } of seen) {
    const key = `${socket} ${outer!.port}`
    if (known.has(key)) continue
    known.add(key)
    ports.push(outer!.port)
  }
  return ports
}

/** Distances of neighbours that are small and of the more frequent sign. */
function smallSteps(ports: readonly number[]): number[] {
  const steps = ports.slice(1).map((port, index) => port - ports[index]!)
  const up = steps.filter(step => step > 0 && step <= STEP_PORTS)
  const down = steps.filter(step => step < 0 && step >= -STEP_PORTS)
  return up.length >= down.length ? up : down
}

export function filteringOf({ otherPort, otherAddress }: FilteringTrial): NatKindSeen['filtering'] {
  if (otherAddress === true) return 'endpoint-independent'
  if (otherPort === null) return 'unknown'
  return otherPort ? 'address-dependent' : 'address-and-port-dependent'
}

export function natFacts(observations: readonly Observation[]): NatFacts {
  const seen = observations.filter(observation => observation.seen !== null)
  const hosts = new Map<string, number>()
  for (const { seen: outer } of seen) hosts.set(outer!.host, (hosts.get(outer!.host) ?? 0) + 1)
  const ports = newMappings(seen)
  return {
    hosts: [...hosts].sort(([, a], [, b]) => b - a).map(([host]) => host),
    step: allocationOf(observations) === 'sequential' ? mostFrequent(smallSteps(ports)) : 0,
    ports: ports.length === 0 ? null : { lowest: Math.min(...ports), highest: Math.max(...ports) },
    mappings: ports.length
  }
}

function mostFrequent(values: readonly number[]): number {
  const counts = new Map<number, number>()
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1)
  return [...counts].sort(([, a], [, b]) => b - a)[0]?.[0] ?? 0
}
