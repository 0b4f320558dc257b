/** What is wrong with a NAT. Pure. */

import { shown } from './names.ts'
import {
  behaviourOf,
  type Dependence,
  type MappingTimeouts,
  NAT_KINDS,
  NAT_PRESETS,
  type NatKind,
  type NatSpec,
  type PortAllocation
} from './nat-kinds.ts'
import type { Topology } from './topology.ts'
import type { Report } from './validate.ts'

export const DEPENDENCES: readonly Dependence[] = [
  'endpoint-independent',
  'address-dependent',
  'address-and-port-dependent'
]
export const ALLOCATIONS: readonly PortAllocation[] = ['preserving', 'random', 'sequential', 'deterministic', 'block']

/** Ports of a block: few enough for several subscribers, enough for one, which draws from them and loses a packet for each port that is taken. */
export const BLOCK_PORTS_LIMITS = { min: 256, max: 16_384 } as const
/** Seconds. The kernel's own limit is 2^31 jiffies. */
export const TIMEOUT_LIMITS: Record<keyof MappingTimeouts, { min: number; max: number }> = {
  udpS: { min: 1, max: 86_400 },
  udpStreamS: { min: 1, max: 86_400 },
  tcpEstablishedS: { min: 1, max: 864_000 }
}

const WORDS = ['kind', 'mapping', 'filtering', 'allocation', 'blockPorts', 'hairpin', 'timeouts', 'udpBlocked']

/** Reports every problem of one network's NAT: unknown kinds and words, and words that contradict each other. */
export function checkNat(topology: Topology, network: string, nat: NatSpec, path: string, report: Report): void {
  const kind = typeof nat === 'string' ? nat : isObject(nat) ? nat.kind : nat
  if (typeof kind !== 'string' || !Object.hasOwn(NAT_PRESETS, kind)) {
    const at = isObject(nat) ? `${path}.kind` : path
    report(at, 'UNKNOWN_NAT', `there is no NAT kind ${shown(kind)}; the kinds are ${NAT_KINDS.join(', ')}`)
    return
  }
  checkNatWords(nat, path, report)
  if (NAT_PRESETS[kind as NatKind].translation === 'one-to-one') {
    const inside = Object.values(topology.hosts).filter(host => host?.on === network).length
    if (inside > 1) {
      report(path, 'NAT_ONE_TO_ONE', `${inside} hosts are on '${network}'; one-to-one has an outer address for one`)
    }
  }
}

/** The same for a NAT whose kind exists, wherever it stands. */
export function checkNatWords(nat: NatSpec, path: string, report: Report): void {
  if (typeof nat === 'string') return
  checkWords(nat as unknown as Record<string, unknown>, path, report)
  checkSense(nat, nat.kind, path, report)
}

function checkWords(nat: Record<string, unknown>, path: string, report: Report): void {
  for (const [word, value] of Object.entries(nat)) {
    const at = `${path}.${word}`
    if (!WORDS.includes(word)) report(at, 'UNKNOWN_KEY', `is not a word of a NAT; the words are ${WORDS.join(', ')}`)
    else if (value === undefined) continue
    else if (word === 'mapping' || word === 'filtering') oneOf(DEPENDENCES, value, at, report)
    else if (word === 'allocation') oneOf(ALLOCATIONS, value, at, report)
    else if (word === 'hairpin' || word === 'udpBlocked') oneOf([true, false], value, at, report)
    else if (word === 'blockPorts') inRange(BLOCK_PORTS_LIMITS, value, at, report)
    else if (word === 'timeouts') {
      if (!isObject(value)) report(at, 'BAD_NAT', 'is an object of udpS, udpStreamS, tcpEstablishedS')
      else {
        for (const [name, seconds] of Object.entries(value)) {
          const limits = Object.hasOwn(TIMEOUT_LIMITS, name) ? TIMEOUT_LIMITS[name as keyof MappingTimeouts] : null
          if (limits === null)
            report(`${at}.${name}`, 'UNKNOWN_KEY', 'is no timeout; they are udpS, udpStreamS, tcpEstablishedS')
          else if (seconds !== undefined) inRange(limits, seconds, `${at}.${name}`, report)
        }
      }
    }
  }
}

/** Words that only mean something where ports are translated, and those that contradict each other. */
function checkSense(nat: Exclude<NatSpec, string>, kind: NatKind, path: string, report: Report): void {
  const { translation } = NAT_PRESETS[kind]
  const contradict = (word: string, why: string): void => report(`${path}.${word}`, 'NAT_CONTRADICTION', why)
  if (translation !== 'napt') {
    for (const word of ['mapping', 'filtering', 'allocation', 'blockPorts'] as const) {
      if (nat[word] !== undefined) contradict(word, `'${kind}' translates no ports; leave it out, or take another kind`)
    }
    if (nat.hairpin === true && translation !== 'one-to-one') {
      contradict('hairpin', `'${kind}' has no outer address to turn round at; leave it out, or take another kind`)
    }
    if (translation === 'none' && (nat.timeouts !== undefined || nat.udpBlocked === true)) {
      contradict(nat.udpBlocked === true ? 'udpBlocked' : 'timeouts', "'none' tracks nothing; take 'firewall'")
    }
    return
  }
  const { mapping, allocation, timeouts } = behaviourOf(nat)
  if (nat.blockPorts !== undefined && allocation !== 'block') {
    contradict('blockPorts', `allocation is '${allocation}'; blocks go with allocation 'block'`)
  }
  if (mapping === 'address-and-port-dependent' && allocation === 'preserving') {
    contradict(
      'allocation',
      'a port that is kept for every destination is an endpoint-independent mapping; take random'
    )
  }
  if (mapping === 'address-dependent' && allocation === 'preserving') {
    contradict('allocation', 'a port that is kept for every address is an endpoint-independent mapping; take random')
  }
  if (timeouts.udpStreamS < timeouts.udpS) {
    contradict(
      'timeouts',
      `udpStreamS ${timeouts.udpStreamS} is shorter than udpS ${timeouts.udpS}; a busy mapping outlives a fresh one`
    )
  }
}

function oneOf(words: readonly unknown[], value: unknown, path: string, report: Report): void {
  if (!words.includes(value)) report(path, 'BAD_NAT', `${shown(value)} is none of ${words.join(', ')}`)
}

function inRange({ min, max }: { min: number; max: number }, value: unknown, path: string, report: Report): void {
  if (!(Number.isInteger(value) && (value as number) >= min && (value as number) <= max)) {
    report(path, 'OUT_OF_RANGE', `${shown(value)} is not a whole number from ${min} to ${max}`)
  }
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
