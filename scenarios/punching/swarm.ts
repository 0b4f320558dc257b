/** The swarm: peers behind several NATs who all punch to peers behind the others. Pure. */
import type { NatKind, Topology } from '../../netem/index.ts'
import type { PunchTransport } from './expected.ts'
import { exactInterval } from './statistics.ts'

/** Every way to map, filter and give out ports that an ordinary punch opens, by TCP and by QUIC alike. */
export const SWARM_KINDS = [
  'full-cone',
  'address-restricted',
  'port-restricted',
  'port-preserving',
  'carrier-strict',
  'full-cone-random',
  'port-restricted-random',
  'carrier'
] as const satisfies NatKind[]

export interface SwarmSize {
  nats: number
  hostsPerNat: number
  /** Peers that each peer dials, each behind another NAT; as many dial it. Less than half of the NATs. */
  dials: number
}

export const SWARM_SIZES = {
  short: { nats: 5, hostsPerNat: 4, dials: 2 },
  full: { nats: 10, hostsPerNat: 5, dials: 2 }
} as const satisfies Record<string, SwarmSize>

/** A relay that cuts soon: what a transfer meets that stays relayed. */
export const SMALL_RELAY = 'small-relay'
const SMALL_RELAY_ENV = { RELAY_CIRCUIT_DATA_BYTES: String(4 * 1024 * 1024) }
export const SMALL_RELAY_BYTES = Number(SMALL_RELAY_ENV.RELAY_CIRCUIT_DATA_BYTES)
/** The other relays' limit, as the product ships. */
export const RELAY_BYTES = 10 * 1024 * 1024

export const kindAt = (nat: number): NatKind => SWARM_KINDS[nat % SWARM_KINDS.length]!
const homeAt = (nat: number): string => `home-${nat + 1}`
export const swarmHost = (nat: number, slot: number): string => `peer-${nat + 1}-${slot + 1}`

/** By what peers of one place behind their NATs punch: one transport alone hides what the other, faster one would. */
const TRANSPORTS_OF_SLOTS: readonly PunchTransport[][] = [['tcp'], ['quic'], ['tcp', 'quic']]

/** @param allowed what is to be punched at all */
export function transportsAt(slot: number, allowed: readonly PunchTransport[]): PunchTransport[] {
  const own = TRANSPORTS_OF_SLOTS[slot % TRANSPORTS_OF_SLOTS.length]!.filter(each => allowed.includes(each))
  return own.length > 0 ? own : [...allowed]
}

/** The place of a host behind its NAT, from 0. */
export function slotOf(host: string): number {
  return Number(host.slice(host.lastIndexOf('-') + 1)) - 1
}

export interface SwarmPair {
  /** Hosts, of the same place behind their NATs: they have the same transports. */
  a: string
  b: string
  kinds: [NatKind, NatKind]
}

export function swarmHosts({ nats, hostsPerNat }: SwarmSize): string[] {
  return Array.from({ length: nats * hostsPerNat }, (_, n) => swarmHost(Math.floor(n / hostsPerNat), n % hostsPerNat))
}

/** Each pair once, those of the nearest NATs first: every peer dials `dials` others and is dialled by as many. */
export function swarmPairs({ nats, hostsPerNat, dials }: SwarmSize): SwarmPair[] {
  const pairs: SwarmPair[] = []
  for (let far = 1; far <= dials; far++) {
    for (let nat = 0; nat < nats; nat++) {
      for (let slot = 0; slot < hostsPerNat; slot++) {
        const other = (nat + far) % nats
        pairs.push({
          a: swarmHost(nat, slot),
          b: swarmHost(other, slot),
          kinds: [kindAt(nat), kindAt(other)]
        })
      }
    }
  }
  return pairs
}

/** @param linkMs one way, of every home's access line */
export function swarmTopology({ nats, hostsPerNat }: SwarmSize, linkMs: number, lossPct: number): Topology {
  const link = linkMs + lossPct === 0 ? {} : { link: { delayMs: linkMs, lossPct } }
  const networks: Topology['networks'] = { internet: {} }
  const hosts: Topology['hosts'] = {
    'relay-1': { role: 'relay', on: 'internet' },
    'relay-2': { role: 'relay', on: 'internet' },
    [SMALL_RELAY]: { role: 'relay', on: 'internet', env: SMALL_RELAY_ENV }
  }
  for (let nat = 0; nat < nats; nat++) {
    networks[homeAt(nat)] = { behind: 'internet', nat: kindAt(nat), ...link }
    for (let slot = 0; slot < hostsPerNat; slot++)
      hosts[swarmHost(nat, slot)] = { role: 'client', on: homeAt(nat), env: { CLIENT_PROGRAM: 'puncher' } }
  }
  return { name: 'punch-swarm', description: 'Peers behind several NATs, and relays.', networks, hosts }
}

export interface PairResult {
  pair: SwarmPair
  /** From the relayed connection to the direct one at both ends; null: it stayed on the relay. */
  directMs: number | null
  by: 'tcp' | 'quic' | null
  attempts: number | null
  /** Named causes of punches that failed. */
  failures: string[]
  /** What went wrong beside the punch. */
  problem?: string
}

/** A mistake of ours that the log has is no cause; nor is that there was no second method, which no cone needs. */
const UNNAMED = /^internal\b|\(hard, /

/** Pairs that stayed on the relay and do not say why, by a name. */
export function unnamed(results: readonly PairResult[]): PairResult[] {
  return results.filter(
    ({ directMs, failures, problem }) =>
      directMs === null && (problem !== undefined || !failures.some(cause => !UNNAMED.test(cause)))
  )
}

/** Whether so many of many is lower than what one at a time leaves to chance at 95 %. */
export function isLower(
  many: { successes: number; runs: number },
  alone: { successes: number; runs: number }
): { lower: boolean; least: number } {
  const [least] = exactInterval(alone.successes, alone.runs)
  return { lower: many.runs === 0 || many.successes / many.runs < least, least }
}

/** At most, of one connection: the QUIC package's, the multiplexer's before it, and one that a transport opens with its first. */
const SOCKETS_OF_CONNECTION = 3

interface SocketsHeld {
  sockets: Readonly<Record<string, number>>
  connections: number
}

export function socketCount(sockets: SocketsHeld['sockets']): number {
  return Object.values(sockets).reduce((sum, count) => sum + count, 0)
}

/** Sockets that are more than before, those of a relay that was connected since not counted; 0 or less: none. */
export function leftOver(before: SocketsHeld, after: SocketsHeld): number {
  const more = Math.max(0, after.connections - before.connections)
  return socketCount(after.sockets) - socketCount(before.sockets) - more * SOCKETS_OF_CONNECTION
}

/** Memory of all processes together may grow by so much between two looks. */
export const MEMORY_SLACK = 0.1
/** One of them may make what the others had made before: compiled code, tables. */
const ONE_SLACK = 0.2

export interface Grown {
  host: string
  before: number
  after: number
}

/** How all have grown together, and which of them by more than one alone may; `tooMuch` when either is beyond its slack. */
export function growth(each: readonly Grown[]): { share: number; tooMuch: boolean; beyond: Grown[] } {
  const sum = (of: (one: Grown) => number): number => each.reduce((total, one) => total + of(one), 0)
  const share = sum(({ after }) => after) / sum(({ before }) => before) - 1
  const beyond = each.filter(({ before, after }) => after > before * (1 + ONE_SLACK))
  return { share, tooMuch: share > MEMORY_SLACK || beyond.length > 0, beyond }
}
