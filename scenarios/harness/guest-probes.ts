/** The lab that is laid out in the guest, and what is measured in it. Pure. */
import {
  type Impairment,
  LINK_CASES,
  type LinkCase,
  type LinkSpec,
  readLink,
  streamOf,
  type Topology
} from '../../netem/index.ts'
import type { GuestProbe } from './guest-program.ts'

const DIRECTIONS = ['up', 'down'] as const

const caseHost = (index: number): string => `case-${index + 1}`

const HOME = 'home-nat'
/** Address of `far`, the second host on the internet: peers are named by address. */
const FAR = '11.0.0.11'

const ACCESS = { up: { delayMs: 30, rateKbit: 2000 }, down: { delayMs: 20, lossPct: 5 } }
const PEERS = {
  plain: { near: { delayMs: 10 }, far: { delayMs: 60, lossPct: 10 } },
  twice: { near: {}, far: { duplicatePct: 20, delayMs: 5 } }
}
const byPeer = ({ near, far }: { near: Impairment; far: Impairment }): LinkSpec => ({
  up: near,
  down: near,
  peers: { [`${FAR}/32`]: far }
})

/** A host for each case, which has it as its own link both ways; a home whose access line is impaired; links by peer. */
export const GUEST_TOPOLOGY: Topology = {
  name: 'netem-guest',
  description: 'Every link case at a host of its own, a home behind a NAT with an impaired access line, links by peer.',
  networks: { internet: {}, home: { behind: 'internet', nat: 'port-preserving', link: ACCESS } },
  hosts: {
    near: { role: 'client', on: 'internet' },
    far: { role: 'client', on: 'internet' },
    alice: { role: 'client', on: 'home' },
    carol: { role: 'client', on: 'internet', link: byPeer(PEERS.plain) },
    dave: { role: 'client', on: 'internet', link: byPeer(PEERS.twice) },
    ...Object.fromEntries(
      LINK_CASES.map(({ impairment: link }, index) => [caseHost(index), { role: 'client', on: 'internet', link }])
    )
  }
}

/** A probe, and what each of its streams goes through; null: nothing. */
export interface Asked extends GuestProbe {
  impairments: Array<Impairment | null>
}

type Packets = Pick<LinkCase, 'packets' | 'payloadBytes' | 'perSecond'>
const FEW: Packets = { packets: 300, payloadBytes: 100, perSecond: 300 }
const MANY: Packets = { packets: 3000, payloadBytes: 100, perSecond: 1000 }

type Way = [direction: 'up' | 'down', impairment: Impairment | null, packets: Packets]

function asked(name: string, from: string, to: string, ways: Way[], change?: Asked['change']): Asked {
  return {
    name,
    from,
    to,
    ...(change === undefined ? {} : { change }),
    streams: ways.map(([direction, impairment, packets]) =>
      streamOf({ name, impairment: impairment ?? {}, ...packets }, direction)
    ),
    impairments: ways.map(([, impairment]) => impairment)
  }
}

const both = (impairment: Impairment | null, packets: Packets): Way[] =>
  DIRECTIONS.map(direction => [direction, impairment, packets])

/** Enough to see that the commands work: every structure they have, and a delay, a rate and a limit. */
const SHORT = new Set([
  'access line of a home',
  'host to another peer',
  'delay 50 ms',
  'limit 20 packets',
  'access line changed while it stands',
  'duplicates given to a link that has none',
  'duplicates changed',
  'links made perfect while they stand'
])

/** In this order: some change links first. */
export function guestProbes(depth: 'short' | 'full'): Asked[] {
  return allProbes().filter(({ name }) => depth === 'full' || SHORT.has(name))
}

function allProbes(): Asked[] {
  const { plain, twice } = PEERS
  return [
    asked('access line of a home', 'alice', 'near', [
      ['up', ACCESS.up, { ...FEW, perSecond: 50 }],
      ['up', ACCESS.up, { packets: 200, payloadBytes: 1200, perSecond: 400 }],
      ['down', ACCESS.down, MANY]
    ]),
    asked('host to one peer', 'carol', 'near', both(plain.near, FEW)),
    asked('host to another peer', 'carol', 'far', both(plain.far, MANY)),
    asked('perfect to one peer', 'dave', 'near', both(null, FEW)),
    asked('duplicates to another peer', 'dave', 'far', both(twice.far, MANY)),
    ...LINK_CASES.map((linkCase, index) =>
      asked(linkCase.name, caseHost(index), 'near', both(linkCase.impairment, linkCase))
    ),
    asked('access line changed while it stands', 'alice', 'near', both(plain.near, FEW), {
      [HOME]: readLink(byPeer(PEERS.plain))
    }),
    asked('access line changed, to another peer', 'alice', 'far', both(plain.far, MANY)),
    asked('host given a link while it stands', 'near', 'far', both({ delayMs: 40 }, FEW), {
      near: readLink({ delayMs: 40 })
    }),
    asked('duplicates given to a link that has none', 'dave', 'near', both({ duplicatePct: 30 }, MANY), {
      near: readLink({}),
      dave: readLink({ duplicatePct: 30 })
    }),
    asked('duplicates changed', 'dave', 'near', both({ duplicatePct: 10, delayMs: 5 }, MANY), {
      dave: readLink({ duplicatePct: 10, delayMs: 5 })
    }),
    asked('duplicates taken away', 'dave', 'near', both({ lossPct: 10 }, MANY), { dave: readLink({ lossPct: 10 }) }),
    asked('links made perfect while they stand', 'alice', 'near', both(null, FEW), {
      [HOME]: readLink({})
    })
  ]
}
