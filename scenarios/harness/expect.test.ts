import assert from 'node:assert/strict'
import { natPair, plan } from '../../netem/index.ts'
import { linkRows, rateRow } from './expect.ts'
import type { ProbeResult } from './probe-programs.ts'

const planned = plan(natPair('port-preserving', 'symmetric'), 'test')
const [alice, relay] = ['alice', 'relay'].map(name => planned.hosts.find(host => host.name === name)!)
const outsideOf = (name: string): string =>
  planned.routers.find(({ nat }) => nat === planned.hosts.find(host => host.name === name)!.nat)!.outside.address

function probe(address: string, ports: [number, number], roundTripsMs = [20.4, 20.1]): ProbeResult {
  return {
    localPort: 5000,
    seen: ports.map(port => ({ target: 't', address, port })),
    roundTripsMs,
    sent: roundTripsMs.length
  }
}

describe('what a plan claims of links', () => {
  it('is the delay of every link on the way, both ways', () => {
    const row = (roundTrips: number[]) =>
      linkRows(planned, alice!, relay!, probe(outsideOf('alice'), [5000, 5000], roundTrips))
    const [asked] = row([10.2])
    assert.equal(asked?.asked, '10 ms')
    assert.equal(asked?.ok, true)
    assert.equal(row([0.2])[0]?.ok, false, 'an unshaped link passed')
    assert.equal(row([80])[0]?.ok, false, 'a link far too slow passed')
  })

  it('is a rate that nothing exceeds', () => {
    assert.equal(rateRow(alice!, 'up', 1000, [990, 1010, 5000]).ok, true)
    assert.equal(rateRow(alice!, 'up', 1000, [4000, 5000, 1000]).ok, false, 'an unlimited link passed')
    assert.equal(rateRow(alice!, 'up', 1000, []).ok, false)
  })

  it('is a loss within what luck gives', () => {
    const lossy = plan(
      {
        ...natPair(),
        networks: { ...natPair().networks, 'home-a': { behind: 'internet', nat: 'symmetric', link: { lossPct: 10 } } }
      },
      'test'
    )
    const host = lossy.hosts.find(({ name }) => name === 'alice')!
    const seen = (came: number): ProbeResult => ({
      ...probe(
        '11.0.0.9',
        [1, 2],
        Array.from({ length: came }, () => 1)
      ),
      sent: 200
    })
    const ok = (came: number): boolean | undefined =>
      linkRows(lossy, host, relay!, seen(came)).find(({ what }) => what === 'loss')?.ok
    assert.equal(ok(162), true)
    assert.equal(ok(200), false, 'a link that loses nothing passed')
    assert.equal(ok(100), false)
  })
})
