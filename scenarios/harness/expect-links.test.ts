import assert from 'node:assert/strict'
import { type Link, plan, type StreamAsk, type StreamSeen, type Topology } from '../../netem/index.ts'
import { isWithin, linkRows, reflectorsFor, streamsFor, together, waysOf } from './expect-links.ts'

const topology = (link: Link, hostLink?: Link): Topology => ({
  name: 'links',
  description: 'One home, and two hosts to look at it.',
  networks: { internet: {}, home: { behind: 'internet', nat: 'port-preserving', link } },
  hosts: {
    east: { role: 'client', on: 'internet' },
    west: { role: 'client', on: 'internet' },
    inside: { role: 'client', on: 'home', ...(hostLink === undefined ? {} : { link: hostLink }) }
  }
})
const planned = (link: Link, hostLink?: Link) => {
  const all = plan(topology(link, hostLink), 'test')
  const [east, west, inside] = all.hosts
  return { all, east: east!, west: west!, inside: inside! }
}
const came = (ask: StreamAsk, delayMs: number, changes: Partial<StreamSeen> = {}): StreamSeen => ({
  sent: ask.packets,
  received: ask.packets,
  duplicates: 0,
  early: 0,
  reordered: 0,
  lossRuns: 0,
  delayMs: {
    min: delayMs,
    p5: delayMs,
    p25: delayMs,
    p50: delayMs,
    p75: delayMs,
    p95: delayMs,
    max: delayMs,
    mean: delayMs
  },
  rateKbit: 5_000_000,
  checksumErrors: 0,
  notRead: 0,
  ...changes
})

describe('what a plan claims of links', () => {
  it('is each direction by itself, through every link on the way', () => {
    const { all, east, inside } = planned({ up: { delayMs: 5 } }, { up: { delayMs: 2 }, down: { lossPct: 10 } })
    const ways = waysOf(all, inside, east)
    assert.deepEqual(
      ways.map(({ direction, impairments }) => [direction, together(impairments)]),
      [
        ['up', { delayMs: 7 }],
        ['down', { lossPct: 10 }]
      ]
    )
  })

  it('is nothing where nothing is asked', () => {
    const { all, east, inside } = planned({})
    assert.deepEqual(waysOf(all, inside, east), [])
  })

  it('is another way for a peer with impairments of its own, for which somebody there must reflect', () => {
    const { all, east, west, inside } = planned({ up: { delayMs: 5 }, peers: { '11.0.0.11/32': { delayMs: 80 } } })
    assert.equal(west.attachment.address, '11.0.0.11')
    assert.deepEqual(reflectorsFor(all, inside, [east, west]), [east, west])
    assert.deepEqual(
      waysOf(all, inside, west).map(({ impairments }) => impairments),
      [[{ delayMs: 80 }], [{ delayMs: 80 }]]
    )
    assert.deepEqual(reflectorsFor(all, inside, [east, east]), [east])
  })

  it('holds what came against it, and a perfect link for wrong', () => {
    const { all, east, inside } = planned({ up: { delayMs: 5, rateKbit: 8000 }, down: { lossPct: 10 } })
    for (const way of waysOf(all, inside, east)) {
      const streams = streamsFor(way)
      const perfect = linkRows(
        way,
        streams,
        streams.map(ask => came(ask, 0.1)),
        0
      )
      assert.ok(perfect.length > 0)
      assert.deepEqual(
        perfect.filter(({ ok }) => ok),
        [],
        'a perfect link passed'
      )
    }
    const [up] = waysOf(all, inside, east)
    const streams = streamsFor(up!)
    const right = linkRows(
      up!,
      streams,
      streams.map(ask => came(ask, 5.3, { rateKbit: 7600 })),
      0
    )
    assert.deepEqual(
      right.map(({ link, what, ok }) => [link, what, ok]),
      [
        ['inside up', 'delay', true],
        ['inside up', 'rate', true]
      ]
    )
  })

  it('is measured by as many packets as show the rarest chance, as fast as the rate allows', () => {
    const { all, east, inside } = planned({ up: { lossPct: 1, rateKbit: 1000 }, down: { lossPct: 0.1 } })
    const [up, down] = waysOf(all, inside, east)
    assert.ok(streamsFor(down!)[0]!.packets >= 14_000)
    const [paced] = streamsFor(up!)
    assert.ok(paced!.perSecond * (paced!.payloadBytes + 42) * 8 < 500_000, 'the stream itself fills the link')
  })

  it('has a mean where spreads add up', () => {
    const { all, east, inside } = planned({ up: { delayMs: 20, jitterMs: 5 } }, { up: { delayMs: 10, jitterMs: 5 } })
    const [up] = waysOf(all, inside, east)
    const streams = streamsFor(up!)
    const okAt = (ms: number): boolean[] =>
      linkRows(
        up!,
        streams,
        streams.map(ask => came(ask, ms)),
        0
      ).map(({ ok }) => ok)
    assert.deepEqual([okAt(31), okAt(0.1)], [[true], [false]])
  })

  it('knows which addresses are in a subnet', () => {
    assert.ok(isWithin('11.0.0.7', '11.0.0.0/24'))
    assert.ok(isWithin('11.9.0.7', '0.0.0.0/0'))
    assert.ok(!isWithin('11.0.1.7', '11.0.0.0/24'))
    assert.ok(!isWithin('11.0.1.7', '2a11::/16'))
  })
})
