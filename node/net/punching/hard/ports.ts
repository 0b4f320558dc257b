/** Which ports to probe, and with how many sockets to meet them. Pure, but for the generator of random numbers given. */

/** Never a well-known port: no NAT gives one out (RFC 4787 REQ-3), and a service might be there. */
export const FIRST_PORT = 1024
export const LAST_PORT = 65_535

/** Ports from `lowest` to `highest`, both included. */
export interface PortRange {
  lowest: number
  highest: number
}

export function portCount({ lowest, highest }: PortRange): number {
  return Math.max(0, highest - lowest + 1)
}

/** How many sockets the symmetric side opens, and how many ports the cone side probes. */
export interface BirthdayPlan {
  sockets: number
  probes: number
}

/** Chance to miss that is worth more packets. */
const MISS_GOAL = 0.002
/** Share of packets that count: 5 % are lost on the symmetric side's link, and of the probes 5 % more on the other's. */
const DELIVERY = 0.857
const LEAST_SOCKETS = 8

/**
 * The plan with the fewest packets to expect whose chance to miss is small; else, the plan with the best chance that the
 * packets allow. The cone side stops at the hit, so that of its probes only ports / sockets are to be expected.
 */
export function planBirthday(options: { ports: number; maxSockets: number; maxPackets: number }): BirthdayPlan {
  const { ports, maxPackets } = options
  const maxSockets = Math.max(1, Math.min(options.maxSockets, maxPackets - 1))
  const needed = (-Math.log(MISS_GOAL) * ports) / DELIVERY
  let best: (BirthdayPlan & { expected: number }) | undefined
  for (let sockets = Math.min(LEAST_SOCKETS, maxSockets); sockets <= maxSockets; sockets++) {
    const probes = Math.min(ports, Math.ceil(needed / sockets))
    const expected = sockets + Math.min(probes, ports / sockets)
    if (sockets + probes <= maxPackets && expected < (best?.expected ?? Number.POSITIVE_INFINITY)) {
      best = { sockets, probes, expected }
    }
  }
  if (best !== undefined) return { sockets: best.sockets, probes: best.probes }
  const sockets = Math.max(1, Math.min(maxSockets, Math.floor(maxPackets / 2)))
  return { sockets, probes: Math.min(ports, maxPackets - sockets) }
}

/** Chance that no probe meets a socket's mapping, nothing lost: sockets have distinct ports, probes too. */
export function missChance({ sockets, probes }: BirthdayPlan, ports: number): number {
  let chance = 1
  for (let nth = 0; nth < probes; nth++) chance *= Math.max(0, (ports - sockets - nth) / (ports - nth))
  return chance
}

/**
 * Where the mappings to come are, from those that were seen: the usual estimate of a uniform range, which reaches beyond
 * the outermost ports by the mean distance of two.
 */
export function likelyRange(seen: PortRange, observations: number): PortRange {
  const beyond = Math.ceil((seen.highest - seen.lowest) / Math.max(1, observations - 1))
  return {
    lowest: Math.max(FIRST_PORT, seen.lowest - beyond),
    highest: Math.min(LAST_PORT, seen.highest + beyond)
  }
}

/** `count` distinct ports of the range in random order (all of them when there are fewer). */
export function randomPorts(range: PortRange, count: number, random: () => number = Math.random): number[] {
  const total = portCount(range)
  const wanted = Math.min(count, total)
  // Floyd's sample takes as much memory as ports are wanted, not as there are.
  const chosen = new Set<number>()
  for (let top = total - wanted; top < total; top++) {
    const at = Math.floor(random() * (top + 1))
    chosen.add(chosen.has(at) ? top : at)
  }
  const ports = [...chosen].map(at => range.lowest + at)
  for (let last = ports.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1))
    ;[ports[last], ports[other]] = [ports[other]!, ports[last]!]
  }
  return ports
}

/** Of a sandwich that is wider, too much happened between: it is made anew. */
export const MAX_WINDOW_PORTS = 64

/**
 * The ports between the observation before an opener and the one after it; null when the sandwich cannot be right: an
 * observation had to be repeated, others opened too much between, or the allocation began anew.
 */
export function between(before: number, after: number, step: number): PortRange | null {
  const isDown = step < 0
  const range = isDown ? { lowest: after + 1, highest: before - 1 } : { lowest: before + 1, highest: after - 1 }
  const count = portCount(range)
  return count === 0 || count > MAX_WINDOW_PORTS ? null : range
}

/** The ports that the next mappings after `port` will have, for who has to be probed before it opens. */
export function nextPorts(port: number, step: number, count: number): PortRange {
  const far = port + (step || 1) * count
  const [lowest, highest] = step < 0 ? [far, port - 1] : [port + 1, far]
  return { lowest: Math.max(FIRST_PORT, lowest), highest: Math.min(LAST_PORT, highest) }
}
