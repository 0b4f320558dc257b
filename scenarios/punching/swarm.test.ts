import { deepEqual, equal, ok } from 'node:assert/strict'
import { plan } from '../../netem/index.ts'
import { expected } from './expected.ts'
import {
  growth,
  isLower,
  leftOver,
  type PairResult,
  SWARM_KINDS,
  SWARM_SIZES,
  slotOf,
  swarmHost,
  swarmHosts,
  swarmPairs,
  swarmTopology,
  transportsAt,
  unnamed
} from './swarm.ts'

describe('the swarm', () => {
  it('is of NATs that an ordinary punch opens between any two, by TCP and by QUIC', () => {
    for (const a of SWARM_KINDS)
      for (const b of SWARM_KINDS)
        for (const transport of ['tcp', 'quic'] as const)
          equal(expected(a, b, transport).method, 'ordinary', `${a} × ${b} by ${transport}`)
  })

  it('is fifty peers behind ten NATs and over a hundred pairs in full, twenty behind five when short', () => {
    equal(swarmHosts(SWARM_SIZES.full).length, 50)
    ok(swarmPairs(SWARM_SIZES.full).length >= 100)
    equal(swarmHosts(SWARM_SIZES.short).length, 20)
  })

  for (const [depth, size] of Object.entries(SWARM_SIZES)) {
    it(`has each pair once, of different NATs, and every peer as often on either side (${depth})`, () => {
      const pairs = swarmPairs(size)
      const names = pairs.map(({ a, b }) => [a, b].sort().join(' '))
      equal(new Set(names).size, pairs.length)
      const natOf = (host: string): string => host.split('-')[1]!
      ok(pairs.every(({ a, b }) => natOf(a) !== natOf(b)))
      for (const host of swarmHosts(size)) {
        equal(pairs.filter(({ a }) => a === host).length, size.dials)
        equal(pairs.filter(({ b }) => b === host).length, size.dials)
      }
    })

    it(`is a valid topology with every host of the pairs (${depth})`, () => {
      const names = plan(swarmTopology(size, 15, 0), 'seed').hosts.map(({ name }) => name)
      ok(swarmPairs(size).every(({ a, b }) => names.includes(a) && names.includes(b)))
    })
  }

  it('punches by TCP alone, by QUIC alone, and by both', () => {
    const both = ['tcp', 'quic'] as const
    deepEqual(
      [0, 1, 2, 3].map(slot => transportsAt(slot, both).join('+')),
      ['tcp', 'quic', 'tcp+quic', 'tcp']
    )
    deepEqual(
      [0, 1, 2].map(slot => transportsAt(slot, ['quic']).join('+')),
      ['quic', 'quic', 'quic']
    )
    equal(slotOf(swarmHost(9, 4)), 4)
    ok(swarmPairs(SWARM_SIZES.full).every(({ a, b }) => slotOf(a) === slotOf(b)))
  })

  const result = (more: Partial<PairResult>): PairResult => ({
    pair: swarmPairs(SWARM_SIZES.short)[0]!,
    directMs: null,
    by: null,
    attempts: 1,
    failures: ['timeout (tcp)'],
    ...more
  })

  it('wants a named cause of every pair that stays on the relay', () => {
    const good = [
      result({}),
      result({ directMs: 300, failures: [] }),
      result({ failures: ['internal (none)', 'busy (none)'] })
    ]
    deepEqual(unnamed(good), [])
    const bad = [
      result({ failures: [] }),
      result({ failures: ['switched-off (hard, undecided)'] }),
      result({ failures: ['internal (none)'] }),
      result({ problem: 'no answer' })
    ]
    deepEqual(unnamed(bad), bad)
  })

  it('is worse than one at a time only beyond what that leaves to chance', () => {
    equal(isLower({ successes: 147, runs: 150 }, { successes: 100, runs: 100 }).lower, false)
    equal(isLower({ successes: 140, runs: 150 }, { successes: 100, runs: 100 }).lower, true)
    equal(isLower({ successes: 0, runs: 0 }, { successes: 100, runs: 100 }).lower, true)
  })

  it('has left a socket open when it has more of them than its connections account for', () => {
    const held = (tcp: number, udp: number, connections: number) => ({ sockets: { tcp, udp }, connections })
    equal(leftOver(held(3, 5, 3), held(3, 5, 3)), 0)
    equal(leftOver(held(3, 5, 3), held(3, 6, 3)), 1)
    ok(leftOver(held(3, 5, 3), held(4, 5, 4)) <= 0)
    equal(leftOver(held(3, 5, 3), held(3, 9, 4)), 1)
    equal(leftOver(held(3, 5, 3), held(3, 6, 2)), 1)
  })

  it('may grow by a tenth in all, and one of it by twice that', () => {
    const each = (...after: number[]) => after.map(one => ({ host: String(one), before: 100, after: one }))
    equal(growth(each(109, 110)).tooMuch, false)
    equal(growth(each(111, 112)).tooMuch, true)
    equal(growth(each(120, 99)).tooMuch, false)
    deepEqual(
      growth(each(121, 90)).beyond.map(({ host }) => host),
      ['121']
    )
    equal(growth(each(121, 90)).tooMuch, true)
  })
})
