import { deepEqual, equal, match, ok, throws } from 'node:assert/strict'
import fc from 'fast-check'
import {
  interfaceHolding,
  plannedState,
  rebindSteps,
  refuseMove,
  routerSteps,
  withNat,
  withNextAddress
} from './changes.ts'
import { dropRulesets } from './drops.ts'
import { changes } from './fixtures/change-facts.ts'
import { behaviourOf, type NatSpec } from './nat-kinds.ts'
import { outerAddresses, placeOn } from './places.ts'
import { plan } from './plan.ts'
import { testnet, topologyNamed } from './topologies/index.ts'

const planned = plan(changes, 'x')
const routerNamed = (name: string) => planned.routers.find(router => router.name === name)!
const hostNamed = (name: string) => planned.hosts.find(host => host.name === name)!
const at = (name: string) => hostNamed(name).attachment.network

describe('places', () => {
  it('give every router spare addresses and every host one on every network, none of them twice', () => {
    for (const topology of [changes, testnet, topologyNamed('many', { nodes: 40 })]) {
      const all = plan(topology, 'x', 3)
      const addresses = [
        ...all.routers.flatMap(router => [router.inside.address, router.insideGateway, ...outerAddresses(all, router)]),
        ...all.hosts.flatMap(host => all.networks.map(({ name }) => placeOn(all, host, name).attachment.address)),
        ...all.networks.flatMap(({ bridgeAddress }) => bridgeAddress)
      ]
      deepEqual(addresses, [...new Set(addresses)])
    }
  })

  it('are what the plan says on the own network', () => {
    for (const host of planned.hosts)
      deepEqual(placeOn(planned, host, host.attachment.network).attachment, host.attachment)
  })

  it('say when a network is full or unknown', () => {
    const home = { ...changes.networks['home-a']!, subnet: '10.9.8.0/28' }
    const small = plan({ ...changes, networks: { ...changes.networks, 'home-a': home } }, 'x')
    throws(() => placeOn(small, small.hosts.at(-1)!, 'home-a'), { code: 'NO_ADDRESS_LEFT' })
    throws(() => placeOn(planned, hostNamed('alice'), 'mars'), { code: 'UNKNOWN_NETWORK' })
  })
})

describe('changes of a router', () => {
  const home = routerNamed('home-a-nat')
  const interfaces = { inside: 'i0', outside: 'o0' }

  it('go round its addresses and come back', () => {
    const ring = outerAddresses(planned, home)
    let state = plannedState(home)
    const met = ring.map(() => {
      state = withNextAddress(planned, home, state)
      return state.address
    })
    deepEqual(met, [...ring.slice(1), ring[0]])
  })

  it('forget with everything held, and let go last', () => {
    for (const steps of [rebindSteps(home), routerSteps(home, plannedState(home), interfaces)]) {
      match(steps[0]!.input!, /table ip warren_hold \{/)
      match(steps.at(-1)!.input!, /delete table ip warren_hold/)
      ok(steps.some(({ argv }) => argv.join(' ').includes('conntrack -F')))
    }
  })

  it('give the routes back that went with the address', () => {
    const inner = routerNamed('flat-nat')
    const steps = routerSteps(inner, { ...plannedState(inner), address: '10.40.2.3' }, interfaces)
    const commands = steps.map(({ argv }) => argv.join(' '))
    ok(
      commands.indexOf('ip address add 10.40.2.3/24 dev o0') <
        commands.indexOf('ip route replace default via 10.40.2.254')
    )
  })

  it('are refused with every reason at once', () => {
    const nat = { kind: 'none', mapping: 'address-dependent', udpBlocked: true } as NatSpec
    throws(
      () => withNat(planned, home, plannedState(home), nat),
      (error: Error & { code: string }) => {
        equal(error.code, 'CHANGE_REFUSED')
        for (const word of ['NEEDS_ROUTES', 'nat.mapping', 'nat.udpBlocked']) match(error.message, new RegExp(word))
        return true
      }
    )
    throws(() => withNat(planned, home, plannedState(home), 'conical' as NatSpec), /UNKNOWN_NAT/)
    throws(() => withNat(planned, home, plannedState(home), null as never), /UNKNOWN_NAT/)
    throws(() => withNat(planned, home, plannedState(home), 'one-to-one'), /NAT_ONE_TO_ONE/)
  })

  it('may switch between kinds that route', () => {
    const site = routerNamed('site-nat')
    deepEqual(withNat(planned, site, plannedState(site), 'firewall').behaviour, behaviourOf('firewall'))
  })
})

describe('a move', () => {
  it('is refused where the host has a link of its own', () => {
    throws(() => refuseMove({ ...hostNamed('alice'), link: { up: { delayMs: 1 }, down: null } }), /CHANGE|impairments/)
    refuseMove(hostNamed('alice'))
  })
})

describe('interfaceHolding', () => {
  it('finds an interface by any of the addresses', () => {
    const json = JSON.stringify([
      { ifname: 'lo', addr_info: [{ local: '127.0.0.1' }] },
      { ifname: 'eth7', addr_info: [{ local: '10.0.0.1' }] }
    ])
    equal(interfaceHolding(json, ['10.0.0.9', '10.0.0.1']), 'eth7')
    equal(interfaceHolding(json, ['10.0.0.9']), undefined)
  })
})

describe('dropRulesets', () => {
  it('needs no router where everybody sees the sender itself', () => {
    const rulesets = dropRulesets(planned, at, [
      { from: 'relay', to: 'alice' },
      { from: 'rita', to: 'bob' }
    ])
    deepEqual([...rulesets.keys()], ['alice', 'bob'])
    match(rulesets.get('alice')!, /ip saddr 11\.0\.0\.10 drop/)
  })

  it('marks senders behind one NAT each with a mark of its own, and drops them from any of its addresses', () => {
    const rulesets = dropRulesets(planned, at, [
      { from: 'bob', to: 'alice' },
      { from: 'fred', to: 'alice' }
    ])
    match(rulesets.get('home-b-nat')!, /ip saddr 10\.40\.2\.10 ip dscp set 1/)
    match(rulesets.get('flat-nat')!, /ip saddr 10\.40\.4\.10 ip dscp set 2/)
    match(rulesets.get('alice')!, /ip dscp 2 ip saddr \{ 10\.40\.2\.253, 10\.40\.2\.3, 11\.0\.1\.2, 11\.0\.2\.2/)
  })

  it('follows a host that moved', () => {
    const moved = dropRulesets(planned, name => (name === 'alice' ? 'internet' : at(name)), [
      { from: 'alice', to: 'bob' }
    ])
    deepEqual([...moved.keys()], ['bob'])
  })

  it('refuses strangers, pairs of one, and more marks than there are', () => {
    throws(() => dropRulesets(planned, at, [{ from: 'zoe', to: 'alice' }]), { code: 'UNKNOWN_HOST' })
    throws(() => dropRulesets(planned, at, [{ from: 'alice', to: 'alice' }]), { code: 'CHANGE_REFUSED' })
    const crowd = plan(
      {
        ...changes,
        networks: { internet: {}, big: { behind: 'internet', nat: 'symmetric' } },
        hosts: {
          chain: { role: 'chain', on: 'internet' },
          relay: { role: 'relay', on: 'internet' },
          ...Object.fromEntries(Array.from({ length: 64 }, (_, n) => [`n${n}`, { role: 'node' as const, on: 'big' }]))
        }
      },
      'x'
    )
    const pairs = Array.from({ length: 64 }, (_, n) => ({ from: `n${n}`, to: 'relay' }))
    throws(() => dropRulesets(crowd, () => 'big', pairs), /more than 63/)
    dropRulesets(crowd, () => 'big', pairs.slice(1))
  })

  it('has rules for every receiver and none for anybody who is in no pair', () => {
    const names = planned.hosts.map(({ name }) => name)
    const pair = fc.record({ from: fc.constantFrom(...names), to: fc.constantFrom(...names) })
    fc.assert(
      fc.property(fc.array(pair.filter(({ from, to }) => from !== to)), pairs => {
        const owners = [...dropRulesets(planned, at, pairs).keys()].filter(name => names.includes(name))
        deepEqual(new Set(owners), new Set(pairs.map(({ to }) => to)))
      })
    )
  })
})
