/**
 * Our grid weighed by what NATs there are: a model, not a measurement of the internet. Each mix says where its shares
 * come from and what we assumed where the source is silent. Pure.
 */
import type { NatKind } from '../../netem/index.ts'
import type { PunchTransport } from './expected.ts'

export interface NatMix {
  name: string
  source: string
  /** What the source does not say. */
  assumed: string
  /** Shares of each kind; they add up to 1. */
  shares: Partial<Record<NatKind, number>>
  /** Where the source has TCP by itself. */
  tcpShares?: Partial<Record<NatKind, number>>
}

/** A result of one ordered pair. */
export interface MixCell {
  a: string
  b: string
  transport: PunchTransport
  runs: number
  successes: number
}

export interface MixResult {
  mix: NatMix
  /** Chance that two peers drawn from the mix are connected directly: by each transport, and by the better of both. */
  tcp: number | null
  quic: number | null
  either: number | null
  /** Share of all pairs of the mix that the grid has cells for; the rest is left out. */
  covered: number
}

export interface Published {
  what: string
  figure: string
}

/** Measurements of others, of peers as they are out there. */
export const PUBLISHED: Published[] = [
  {
    what: 'DCUtR in the IPFS network, 4.4 million attempts (Trautwein et al., arXiv 2510.27500, 2025), by TCP and QUIC alike',
    figure: '70 % ± 7.1 %'
  },
  { what: 'Tailscale, UDP (“How NAT traversal works”, 2020, and its NAT traversal series, 2025)', figure: '> 90 %' }
]

/** Mapping independent of the endpoint, evenly over what such NATs filter. */
const CONES: NatKind[] = ['full-cone', 'address-restricted', 'port-restricted', 'port-preserving']
/** Another mapping for each endpoint, ports drawn or counted. */
const SYMMETRIC: NatKind[] = ['symmetric', 'symmetric-sequential']

export const MIXES: NatMix[] = [
  {
    name: 'homes of 2005',
    source:
      'Ford, Srisuresh, Kegel: “Peer-to-Peer Communication Across Network Address Translators”, USENIX 2005: of the NATs tested 82 % could be punched by UDP, 64 % by TCP',
    assumed: 'those that could not be punched are symmetric, half of them sequential; the others filter by turns',
    shares: { ...evenly(CONES, 0.82), ...evenly(SYMMETRIC, 0.18) },
    tcpShares: { ...evenly(CONES, 0.64), ...evenly(SYMMETRIC, 0.36) }
  },
  {
    name: 'file sharers of 2010, at worst',
    source:
      'Halkes, Pouwelse: “UDP NAT and Firewall Puncturing in the Wild”, NETWORKING 2011: 64 % of all peers are behind a NAT or firewall that should allow punching',
    assumed:
      'nobody has a public address, which some did: the other 36 % are symmetric (half of them sequential) but for a sixth of them, which lets no UDP through',
    shares: { ...evenly(CONES, 0.64), ...evenly(SYMMETRIC, 0.3), 'udp-blocked': 0.06 }
  },
  {
    name: 'fixed-line carriers of 2016',
    source:
      'Richter et al.: “A Multi-perspective Analysis of Carrier-Grade NAT Deployment”, IMC 2016: symmetric mapping at best in 11 % of the non-cellular networks with carrier-grade NAT',
    assumed:
      'a network counts as one peer; the others are half open to everybody and half port-restricted; symmetric ones draw ports, half of them in blocks',
    shares: { 'full-cone': 0.445, 'carrier-strict': 0.445, ...evenly(['symmetric', 'symmetric-block'], 0.11) }
  },
  {
    name: 'cellular carriers of 2016',
    source: 'the same: symmetric mapping at best in 40 % of the cellular networks',
    assumed: 'as before',
    shares: { 'full-cone': 0.3, 'carrier-strict': 0.3, ...evenly(['symmetric', 'symmetric-block'], 0.4) }
  }
]

/** Two peers drawn independently; a cell that was not run is left out, and the rest weighed up. */
export function weigh(mix: NatMix, cells: readonly MixCell[]): MixResult {
  const chance = (a: string, b: string, transport: PunchTransport): number | null => {
    const found = cells.filter(cell => cell.a === a && cell.b === b && cell.transport === transport)
    const runs = found.reduce((sum, cell) => sum + cell.runs, 0)
    return runs === 0 ? null : found.reduce((sum, cell) => sum + cell.successes, 0) / runs
  }
  const over = (
    shares: NatMix['shares'],
    of: (a: string, b: string) => number | null
  ): { mean: number | null; covered: number } => {
    let [sum, covered] = [0, 0]
    for (const [a, shareA] of Object.entries(shares)) {
      for (const [b, shareB] of Object.entries(shares)) {
        const value = of(a, b)
        if (value === null) continue
        sum += shareA * shareB * value
        covered += shareA * shareB
      }
    }
    return { mean: covered === 0 ? null : sum / covered, covered }
  }
  const tcp = over(mix.tcpShares ?? mix.shares, (a, b) => chance(a, b, 'tcp'))
  const quic = over(mix.shares, (a, b) => chance(a, b, 'quic'))
  const either = over(mix.shares, (a, b) => {
    const both = [chance(a, b, 'tcp'), chance(a, b, 'quic')].filter(value => value !== null)
    return both.length === 0 ? null : Math.max(...both)
  })
  return { mix, tcp: tcp.mean, quic: quic.mean, either: either.mean, covered: either.covered }
}

function evenly(kinds: NatKind[], share: number): Partial<Record<NatKind, number>> {
  return Object.fromEntries(kinds.map(kind => [kind, share / kinds.length]))
}
