import assert from 'node:assert/strict'
import { LINK_CASES, plan as planOf } from '../../netem/index.ts'
import { GUEST_TOPOLOGY, guestProbes } from './guest-probes.ts'

describe("the guest's probes", () => {
  const plan = planOf(GUEST_TOPOLOGY, 'warren')
  const full = guestProbes('full')
  const owners = [...plan.hosts, ...plan.routers].map(({ name }) => name)

  it('are the whole table of link cases, each both ways', () => {
    for (const { name, impairment } of LINK_CASES) {
      const probe = full.find(each => each.name === name)
      assert.deepEqual(probe?.impairments, [impairment, impairment], name)
      assert.deepEqual(plan.hosts.find(host => host.name === probe?.from)?.link.up, impairment, name)
    }
  })

  it('go between hosts of the plan and change links that it has', () => {
    for (const { from, to, change = {} } of full)
      for (const name of [from, to, ...Object.keys(change)]) assert.ok(owners.includes(name), name)
  })

  it('have names of their own, and know what each stream goes through', () => {
    assert.equal(new Set(full.map(({ name }) => name)).size, full.length)
    for (const { name, streams, impairments } of full) assert.equal(streams.length, impairments.length, name)
  })

  it('are fewer when it must be short, all of them known', () => {
    const short = guestProbes('short').map(({ name }) => name)
    assert.equal(short.length, 8)
    assert.ok(short.includes('delay 50 ms'))
  })
})
