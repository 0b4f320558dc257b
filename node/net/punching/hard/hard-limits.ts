/** What a hard punch may cost: configuration, and the ceilings no configuration raises. */
import { type LimitSpec, readLimits } from '../../limits.ts'

/**
 * Limits from the environment; testnets keep the defaults of what one attempt costs, so that what is measured is what ships.
 */
export const HARD_PUNCH_LIMITS = {
  maxSockets: {
    env: 'P2P_HARD_PUNCH_MAX_SOCKETS',
    default: 512,
    generous: 512,
    what: 'UDP sockets of one hard punch, 512 at most'
  },
  maxPackets: {
    env: 'P2P_HARD_PUNCH_MAX_PACKETS',
    default: 1300,
    generous: 1300,
    what: 'datagrams of one hard punch, both sides together, 4096 at most'
  },
  packetsPerSecond: {
    env: 'P2P_HARD_PUNCH_PACKETS_PER_SECOND',
    default: 2000,
    generous: 2000,
    what: 'datagrams a second of a hard punch, 2000 at most'
  },
  perPairPerHour: {
    env: 'P2P_HARD_PUNCH_PER_PAIR_PER_HOUR',
    default: 2,
    generous: 2,
    what: 'hard punches an hour with one peer, but for the first after a network change'
  },
  perHour: {
    env: 'P2P_HARD_PUNCH_PER_HOUR',
    default: 60,
    generous: 6000,
    what: 'hard punches an hour with all peers together'
  },
  perHostPerHour: {
    env: 'P2P_HARD_PUNCH_PER_HOST_PER_HOUR',
    default: 8,
    generous: 1000,
    what: 'hard punches an hour to one address; peers behind one NAT share it'
  },
  deadlineMs: {
    env: 'P2P_HARD_PUNCH_DEADLINE_MS',
    default: 10_000,
    generous: 10_000,
    what: 'ms for one hard punch, from the first question to the direct connection'
  }
} as const satisfies Record<string, LimitSpec>

export type HardPunchLimits = { readonly [K in keyof typeof HARD_PUNCH_LIMITS]: number }

/** Above these nobody's router or neighbour should be asked to bear it, whatever was configured. */
export const CEILINGS = { maxSockets: 512, maxPackets: 4096, packetsPerSecond: 2000 } as const

function values(which: 'default' | 'generous'): HardPunchLimits {
  const entries = Object.entries<LimitSpec>(HARD_PUNCH_LIMITS).map(([name, spec]) => [name, spec[which]])
  return Object.fromEntries(entries) as HardPunchLimits
}

export const DEFAULT_HARD_PUNCH_LIMITS = values('default')
export const GENEROUS_HARD_PUNCH_LIMITS = values('generous')

/** What of the generous values is not the default, as environment, for testnet plans. */
export function generousHardPunchEnvironment(): Record<string, string> {
  const differing = Object.values<LimitSpec>(HARD_PUNCH_LIMITS).filter(spec => spec.generous !== spec.default)
  return Object.fromEntries(differing.map(spec => [spec.env, String(spec.generous)]))
}

/** Limits no higher than the ceilings. */
export function withinCeilings(limits: HardPunchLimits): HardPunchLimits {
  return {
    ...limits,
    maxSockets: Math.min(limits.maxSockets, CEILINGS.maxSockets),
    maxPackets: Math.min(limits.maxPackets, CEILINGS.maxPackets),
    packetsPerSecond: Math.min(limits.packetsPerSecond, CEILINGS.packetsPerSecond)
  }
}

export interface HardPunchConfig {
  /** `P2P_HARD_PUNCH`. */
  enabled: boolean
  limits: HardPunchLimits
}

/** Problems are pushed on `problems`, one line each. */
export function readHardPunch(env: Readonly<Record<string, string | undefined>>, problems: string[]): HardPunchConfig {
  const limits = readLimits(HARD_PUNCH_LIMITS, env, problems)
  for (const [name, ceiling] of Object.entries(CEILINGS) as Array<[keyof typeof CEILINGS, number]>) {
    if (limits[name] > ceiling) {
      problems.push(`${HARD_PUNCH_LIMITS[name].env} is ${limits[name]}: at most ${ceiling} is allowed`)
    }
  }
  const text = env.P2P_HARD_PUNCH || 'true'
  if (!['true', 'false', '1', '0'].includes(text)) {
    problems.push(`P2P_HARD_PUNCH is "${text}": true or false is needed`)
  }
  return { enabled: text === 'true' || text === '1', limits }
}
