/** What a person may ask of the punching scenarios beside their depth, as environment. Pure. */
import { NAT_KINDS } from '../../netem/index.ts'
import { HarnessError } from '../harness/errors.ts'
import type { Depth, Occasion } from '../harness/scenario.ts'
import type { Place, PunchTransport } from './expected.ts'

/** Read from the environment; `make` passes them on, a report's replay command repeats them. */
export const PUNCHING_SETTINGS = ['RUNS', 'PAIRS', 'TRANSPORTS', 'LINK', 'LOSS', 'AT_ONCE'] as const

export interface Pair {
  /** Where the peer is that dials through the relay. */
  a: Place
  /** Where the one is that holds the reservation. */
  b: Place
}

export interface PunchingSettings {
  runs: number
  pairs: Pair[]
  transports: PunchTransport[]
  /** One way, of every NAT's access line, milliseconds; a round trip through the relay is four of them. */
  linkMs: number
  /** Per cent of packets each way on every access line. */
  lossPct: number
  /** Pairs at one time. */
  atOnce: number
}

/** Kinds of the full matrix: every mapping, filter and way to give out ports that differ to a puncher. */
export const MATRIX_KINDS: Place[] = [
  'full-cone',
  'address-restricted',
  'port-restricted',
  'port-restricted-random',
  'port-preserving',
  'carrier-strict',
  'one-to-one',
  'address-dependent',
  'symmetric',
  'symmetric-sequential',
  'symmetric-block',
  'symmetric-hash',
  'udp-blocked'
]

/** Twelve pairs that between them take every method and every reason to stay on the relay. */
export const SHORT_PAIRS: Pair[] = [
  { a: 'port-restricted', b: 'port-restricted' },
  { a: 'full-cone', b: 'port-preserving' },
  { a: 'port-preserving', b: 'carrier-strict' },
  { a: 'address-restricted', b: 'full-cone' },
  { a: 'symmetric', b: 'full-cone' },
  { a: 'address-restricted', b: 'symmetric' },
  { a: 'port-restricted', b: 'symmetric-sequential' },
  { a: 'symmetric', b: 'port-restricted' },
  { a: 'symmetric', b: 'symmetric-sequential' },
  { a: 'symmetric-hash', b: 'port-restricted' },
  { a: 'udp-blocked', b: 'port-restricted' },
  { a: 'public', b: 'symmetric' }
]

/** Of stock js-libp2p, where their hosts are there: the easiest ones, and one where no hole is needed. */
export const STOCK_PAIRS: Pair[] = [
  { a: 'port-restricted', b: 'port-restricted' },
  { a: 'full-cone', b: 'port-preserving' },
  { a: 'full-cone', b: 'full-cone' },
  { a: 'public', b: 'symmetric' }
]

const DEFAULTS: Record<Depth, { runs: number; atOnce: number }> = {
  short: { runs: 1, atOnce: 6 },
  full: { runs: 3, atOnce: 8 }
}
const LINK_MS = 15
const LINKS_MS = [0, 15, 50]
const MAX_RUNS = 1000
const MAX_AT_ONCE = 32

/**
 * @throws HarnessError BAD_SETTINGS that names every setting that cannot be followed
 */
export function readSettings(
  env: Readonly<Record<string, string | undefined>>,
  { depth }: Pick<Occasion, 'depth'>
): PunchingSettings {
  const problems: string[] = []
  const number = (name: string, fallback: number, max: number, min = 1): number => {
    const text = env[name]
    if (text === undefined || text === '') return fallback
    if (/^\d{1,6}$/.test(text) && Number(text) >= min && Number(text) <= max) return Number(text)
    problems.push(`${name} is "${text}": a whole number from ${min} to ${max} is needed`)
    return fallback
  }
  const list = (name: string): string[] => (env[name] || '').split(',').filter(word => word !== '')
  const places: Place[] = [...NAT_KINDS, 'public']
  const pairs = list('PAIRS').flatMap((text): Pair[] => {
    const [a, b, ...rest] = text.split(':') as [Place, Place]
    const ok = rest.length === 0 && places.includes(a) && places.includes(b) && b !== 'public'
    if (ok) return [{ a, b }]
    problems.push(`PAIRS has "${text}": dialler:listener is needed, NAT kinds, or public on the left`)
    return []
  })
  const transports = list('TRANSPORTS').filter((word): word is PunchTransport => {
    const ok = word === 'tcp' || word === 'quic'
    if (!ok) problems.push(`TRANSPORTS has "${word}": tcp, quic or both are needed`)
    return ok
  })
  const linkMs = number('LINK', LINK_MS, Math.max(...LINKS_MS), 0)
  if (!LINKS_MS.includes(linkMs)) problems.push(`LINK is "${linkMs}": ${LINKS_MS.join(', ')} ms are measured`)
  const settings: PunchingSettings = {
    runs: number('RUNS', DEFAULTS[depth].runs, MAX_RUNS),
    pairs: pairs.length > 0 ? pairs : depth === 'full' ? matrix() : SHORT_PAIRS,
    transports: transports.length > 0 ? transports : ['tcp', 'quic'],
    linkMs,
    lossPct: number('LOSS', 0, 30, 0),
    atOnce: number('AT_ONCE', DEFAULTS[depth].atOnce, MAX_AT_ONCE)
  }
  if (problems.length > 0) throw new HarnessError('BAD_SETTINGS', problems.join('; '))
  return settings
}

/** Every ordered pair of the kinds, and a public dialler with each. */
function matrix(): Pair[] {
  return [...MATRIX_KINDS, 'public' as const].flatMap(a => MATRIX_KINDS.map(b => ({ a, b })))
}
