import { deepEqual, ok } from 'node:assert/strict'
import fc from 'fast-check'
import type { NatKind } from './nat-kinds.ts'
import type { PortMappingSpec } from './port-mapping.ts'
import { many, TOPOLOGY_NAMES, topologyNamed } from './topologies/index.ts'
import type { Impairment, NetworkSpec, Role, Topology } from './topology.ts'
import { validate } from './validate.ts'

const base = (): Topology => structuredClone(topologyNamed('nat-pair'))

/** `path CODE` of every problem of the topology after a change. */
function problemsAfter(change: (topology: Topology) => void): string[] {
  const topology = base()
  change(topology)
  return validate(topology).map(({ path, code }) => `${path} ${code}`)
}

describe('validate', () => {
  for (const name of TOPOLOGY_NAMES) {
    it(`has nothing against ${name}`, () => deepEqual(validate(topologyNamed(name)), []))
  }

  it('reports every problem at once, each with its path', () => {
    const problems = problemsAfter(({ networks, hosts }) => {
      networks['home-a']!.nat = 'conical' as NatKind
      networks['home-b']!.subnet = '10.40.1.0/24'
      networks.internet!.nat = 'symmetric'
      hosts.alice!.on = 'home-c'
      hosts.bob!.role = 'nod' as Role
      hosts.relay!.link = { delayMs: 1, jitterMs: 2, lossPct: 101, rateKbit: 7, speed: 1 } as Impairment
      hosts.gateway!.volume = '../etc'
      delete hosts.chain
    })
    deepEqual(problems, [
      'networks.internet.nat NAT_WITHOUT_BEHIND',
      'networks.home-a.nat UNKNOWN_NAT',
      'networks.home-b.subnet OVERLAPPING_SUBNETS',
      'hosts.relay.link.lossPct OUT_OF_RANGE',
      'hosts.relay.link.speed UNKNOWN_KEY',
      'hosts.relay.link.jitterMs JITTER_OVER_DELAY',
      'hosts.relay.link.rateKbit RATE_UNDER_ONE_PACKET',
      'hosts.alice.on UNKNOWN_NETWORK',
      'hosts.bob.role UNKNOWN_ROLE',
      'hosts.alice.role NODE_WITHOUT_CHAIN',
      'hosts.gateway.volume BAD_VOLUME'
    ])
  })

  const cases: Array<[string, (topology: Topology) => void, string[]]> = [
    ['behind nothing', t => set(t, 'x', { behind: 'nowhere', nat: 'none' }), ['networks.x.behind UNKNOWN_NETWORK']],
    ['behind without a NAT', t => set(t, 'x', { behind: 'internet' }), ['networks.x.behind BEHIND_WITHOUT_NAT']],
    [
      'a cycle',
      t => {
        set(t, 'x', { behind: 'y', nat: 'none' })
        set(t, 'y', { behind: 'x', nat: 'none' })
      },
      ['networks.x.behind CYCLIC_BEHIND', 'networks.y.behind CYCLIC_BEHIND']
    ],
    [
      'port mapping with nothing to map',
      t => {
        t.networks.internet!.portMapping = { protocols: ['pcp'] }
        set(t, 'x', { behind: 'internet', nat: 'one-to-one', portMapping: { protocols: ['upnp'] } })
      },
      ['networks.internet.portMapping PORT_MAPPING_WITHOUT_NAT', 'networks.x.portMapping PORT_MAPPING_CONTRADICTION']
    ],
    [
      'port mapping in words that are none',
      t =>
        set(t, 'x', {
          behind: 'internet',
          nat: 'symmetric',
          portMapping: {
            protocols: ['upnp', 'stun', 'upnp'],
            fault: 'lying',
            leaseS: 1,
            port: 1
          } as unknown as PortMappingSpec
        }),
      [
        'networks.x.portMapping.port UNKNOWN_KEY',
        'networks.x.portMapping.protocols.1 BAD_PORT_MAPPING',
        'networks.x.portMapping.protocols.2 BAD_PORT_MAPPING',
        'networks.x.portMapping.fault BAD_PORT_MAPPING',
        'networks.x.portMapping.leaseS OUT_OF_RANGE',
        'networks.x.portMapping.leaseS PORT_MAPPING_CONTRADICTION'
      ]
    ],
    ['two internets', t => set(t, 'x', {}), ['networks.x TWO_INTERNETS', 'networks.x.subnet OVERLAPPING_SUBNETS']],
    [
      'a host that is called like a router, but for case',
      t => {
        t.hosts['Home-A-nat'] = { role: 'gateway', on: 'internet' }
      },
      ['hosts.Home-A-nat BAD_NAME', 'hosts.Home-A-nat DUPLICATE_NAME']
    ],
    [
      'no relay',
      t => {
        delete t.hosts.relay
      },
      [
        'hosts.gateway.role GATEWAY_WITHOUT_RELAY',
        'hosts.alice.on NATED_NODE_WITHOUT_RELAY',
        'hosts.bob.on NATED_NODE_WITHOUT_RELAY'
      ]
    ],
    [
      'two chains',
      t => {
        t.hosts.other = { role: 'chain', on: 'internet' }
      },
      ['hosts.other.role TWO_CHAINS']
    ],
    [
      'a chain behind a NAT',
      t => {
        t.hosts.chain!.on = 'home-a'
      },
      ['hosts.chain.on NOT_REACHABLE']
    ],
    [
      'more hosts than addresses',
      t => {
        t.networks['home-a']!.subnet = '10.9.9.16/28'
        for (const n of [1, 2, 3, 4]) t.hosts[`extra-${n}`] = { role: 'node', on: 'home-a' }
      },
      ['networks.home-a TOO_MANY_HOSTS']
    ],
    [
      'nodes that share a volume',
      t => {
        t.hosts.bob!.volume = 'alice'
      },
      ['hosts.bob.volume BAD_VOLUME']
    ],
    [
      'a subnet that is none',
      t => {
        t.networks['home-a']!.subnet = '10.9.9.1/24'
      },
      ['networks.home-a.subnet BAD_SUBNET']
    ],
    [
      'both ways of writing a link in one',
      t => {
        t.hosts.bob!.link = { up: {}, delayMs: 3 } as Impairment
      },
      ['hosts.bob.link.delayMs UNKNOWN_KEY']
    ],
    [
      'a word it does not know',
      t => {
        Object.assign(t.hosts.bob!, { colour: 'red' })
      },
      ['hosts.bob.colour UNKNOWN_KEY']
    ]
  ]
  for (const [what, change, expected] of cases) {
    it(`reports ${what}`, () => deepEqual(problemsAfter(change), expected))
  }

  it('reports more hosts than a slot has ports', () => {
    deepEqual(
      validate(many(253)).map(({ path, code }) => `${path} ${code}`),
      ['hosts TOO_MANY_HOSTS']
    )
  })

  it('throws at nothing a file can hold', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), fc.jsonValue(), (a, b, c) => {
        ok(validate(a as unknown as Topology).length > 0)
        const odd = {
          ...base(),
          networks: { internet: a, 'home-a': b },
          hosts: { alice: c, bob: { role: 'node', on: b } }
        }
        ok(validate(odd as unknown as Topology).length > 0)
        const odder = { ...base(), networks: { internet: {}, x: { behind: a, nat: b, link: c, subnet: a } }, hosts: c }
        ok(validate(odder as unknown as Topology).length > 0)
      }),
      { numRuns: 300 }
    )
  })
})

function set(topology: Topology, name: string, network: NetworkSpec): void {
  topology.networks[name] = network
}
