import { deepEqual, equal, ok, throws } from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import fc from 'fast-check'
import { contains, parseAddress, parseCidr } from './addresses.ts'
import { TopologyInvalidError } from './errors.ts'
import { NAT_KINDS, type NatKind } from './nat-kinds.ts'
import { plan } from './plan.ts'
import type { Plan } from './plan.types.ts'
import { SLOTS } from './slots.ts'
import { many, TOPOLOGY_NAMES, topologyNamed } from './topologies/index.ts'
import type { HostSpec, NetworkSpec, Topology } from './topology.ts'

const GOLDEN_NODES = 12

describe('plan', () => {
  for (const name of TOPOLOGY_NAMES) {
    it(`is what netem/golden/${name}.json says (UPDATE_GOLDEN=1 writes it)`, () => {
      const text = `${JSON.stringify(plan(topologyNamed(name, { nodes: GOLDEN_NODES }), 'golden'), null, 2)}\n`
      const file = new URL(`golden/${name}.json`, import.meta.url)
      if (process.env.UPDATE_GOLDEN === '1') writeFileSync(file, text)
      equal(text, readFileSync(file, 'utf8'))
    })
  }

  it('gives no address, port, bridge, peer id or account twice, and the same bytes for the same arguments', () => {
    fc.assert(
      fc.property(topologies(), fc.string(), fc.nat({ max: SLOTS - 1 }), (topology, seed, slot) => {
        const first = plan(topology, seed, slot)
        equal(JSON.stringify(plan(structuredClone(topology), seed, slot)), JSON.stringify(first))
        checkUnique(first)
        checkInside(first)
      }),
      { numRuns: 60 }
    )
  })

  it('gives two slots nothing in common but keys', () => {
    const plans = Array.from({ length: SLOTS }, (_, slot) => plan(topologyNamed('testnet'), 'x', slot))
    unique(plans.flatMap(({ hosts }) => hosts.map(({ controlPort }) => controlPort)))
    unique(plans.flatMap(({ networks }) => networks.map(({ bridge }) => bridge)))
    unique(plans.flatMap(({ networks }) => networks.map(({ subnet }) => subnet)))
    unique(plans.flatMap(addressesOf))
    equal(new Set(plans.map(({ hosts }) => hosts[0]?.identity?.peerId)).size, 1)
  })

  it('gives another seed other keys', () => {
    const [a, b] = [plan(many(2), 'a'), plan(many(2), 'b')]
    ok(a.apiKey !== b.apiKey && a.chain?.registry !== b.chain?.registry)
    a.hosts.forEach((host, index) => {
      ok(host.identity === null || host.identity.peerId !== b.hosts[index]?.identity?.peerId)
    })
  })

  it('plans 240 nodes', () => {
    checkUnique(plan(many(240), 'x', 15))
  })

  it('plans a NAT behind a NAT and routes of NATs that do not translate', () => {
    const nested: Topology = {
      name: 'nested',
      description: 'A home behind a carrier, and a routed site.',
      networks: {
        internet: {},
        carrier: { behind: 'internet', nat: 'symmetric' },
        home: { behind: 'carrier', nat: 'port-preserving' },
        site: { behind: 'internet', nat: 'none' }
      },
      hosts: {
        relay: { role: 'relay', on: 'internet' },
        chain: { role: 'chain', on: 'internet' },
        alice: { role: 'node', on: 'home' },
        bob: { role: 'node', on: 'site' }
      }
    }
    const { routers, hosts } = plan(nested, 'x')
    const home = routers.find(({ nat }) => nat === 'home')!
    equal(home.outside.address, '10.40.1.253')
    equal(home.outsideGateway, '10.40.1.254')
    const site = routers.find(({ nat }) => nat === 'site')!
    deepEqual(hosts[0]!.routes, [{ to: site.insideSubnet, via: site.outside.address }])
    equal(hosts[0]!.leg, true)
    deepEqual(hosts[2]!.routes, [])
  })

  it('refuses what is not valid, with the problems', () => {
    throws(
      () => plan({ ...many(1), networks: {} }, 'x'),
      (error: unknown) =>
        error instanceof TopologyInvalidError && error.code === 'TOPOLOGY_INVALID' && error.problems.length > 1
    )
    throws(() => plan(many(1), 'x', SLOTS), { code: 'SLOT_OUT_OF_RANGE' })
  })
})

function unique(values: unknown[]): void {
  equal(new Set(values).size, values.length)
}

function addressesOf({ hosts, routers, networks }: Plan): string[] {
  return [
    ...hosts.map(({ attachment }) => attachment.address),
    ...routers.flatMap(({ inside, outside }) => [inside.address, outside.address]),
    ...networks.flatMap(({ bridgeAddress, defaultGateway }) => [bridgeAddress, defaultGateway])
  ]
}

function checkUnique(planned: Plan): void {
  unique(addressesOf(planned))
  unique(planned.hosts.map(({ controlPort }) => controlPort))
  unique(planned.hosts.flatMap(({ identity }) => identity?.peerId ?? []))
  unique([...planned.hosts.flatMap(({ account }) => account?.address ?? []), planned.chain?.deployer.address])
  unique(planned.networks.map(({ bridge }) => bridge))
  for (const { bridge } of planned.networks) ok(bridge.length <= 15)
}

function checkInside({ networks, hosts, routers }: Plan): void {
  const attachments = [...hosts.map(h => h.attachment), ...routers.flatMap(({ inside, outside }) => [inside, outside])]
  for (const { network, address } of attachments) {
    const { subnet } = networks.find(({ name }) => name === network)!
    ok(contains(parseCidr(subnet)!, parseAddress(address)!))
  }
}

/** Valid topologies: up to 8 LANs, nested at will, hosts anywhere that is allowed. */
function topologies(): fc.Arbitrary<Topology> {
  // One-to-one has room for one host only.
  const kinds = NAT_KINDS.filter(kind => kind !== 'one-to-one')
  const lan = fc.record({ nat: fc.constantFrom<NatKind>(...kinds), behind: fc.nat() })
  return fc.tuple(fc.array(lan, { maxLength: 8 }), fc.array(fc.nat(), { maxLength: 30 })).map(([lans, nodes]) => {
    const names = ['internet', ...lans.map((_, index) => `lan-with-a-name-${index}`)]
    const networks: Record<string, NetworkSpec> = { internet: {} }
    lans.forEach(({ nat, behind }, index) => {
      networks[names[index + 1]!] = { nat, behind: names[behind % (index + 1)]! }
    })
    const hosts: Record<string, HostSpec> = {
      relay: { role: 'relay', on: 'internet' },
      chain: { role: 'chain', on: 'internet' }
    }
    nodes.forEach((on, index) => {
      hosts[`node-${index}`] = { role: 'node', on: names[on % names.length]! }
    })
    return { name: 'any', description: 'Generated.', networks, hosts }
  })
}
