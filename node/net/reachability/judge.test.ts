import assert from 'node:assert/strict'
import type { NatKindSeen } from '../punching/hard/kinds.ts'
import { judgeReachability } from './judge.ts'
import type { Judgement, ReachabilityFacts, Sighting } from './reachability.types.ts'

const NOTHING: ReachabilityFacts = {
  announced: [],
  ownHosts: ['192.168.1.2'],
  listening: ['/ip4/192.168.1.2/tcp/5011'],
  relayed: ['/ip4/11.0.0.2/tcp/4001/p2p/12D3KooWGRUayrQ5ExzzpnpN9nrhW5jBGpUWBD5UU9TK3QnUBDMd/p2p-circuit'],
  mapped: [],
  dialledBack: [],
  sightings: [],
  natKind: null
}
const seen = (address: string, observer: string, fromOwnPort = true): Sighting => ({ address, observer, fromOwnPort })
const random: NatKindSeen = {
  mapping: 'address-and-port-dependent',
  allocation: 'random',
  filtering: 'address-and-port-dependent'
}
const plain: NatKindSeen = { mapping: 'endpoint-independent', allocation: 'preserving', filtering: 'unknown' }
const unseen: NatKindSeen = { mapping: 'unknown', allocation: 'unknown', filtering: 'unknown' }
const OUTER = '/ip4/11.0.1.1/tcp/7001'
const PUBLIC_HOST = { ownHosts: ['11.0.0.9'], listening: ['/ip4/11.0.0.9/tcp/5011'] }

const cases: Array<
  [what: string, facts: Partial<ReachabilityFacts>, state: Judgement['state'], kind: NatKindSeen | null, first?: string]
> = [
  ['nothing known', {}, 'unknown', null, NOTHING.relayed[0]],
  ['addresses configured', { announced: ['/ip4/11.0.0.9/tcp/5011'] }, 'public', null, '/ip4/11.0.0.9/tcp/5011'],
  [
    'configured, whatever else is seen',
    { announced: ['/dns4/node.example/tcp/5011'], sightings: [seen(OUTER, 'a')], natKind: random },
    'public',
    null,
    '/dns4/node.example/tcp/5011'
  ],
  ['one peer sees another address', { sightings: [seen(OUTER, 'a', false)] }, 'private', unseen, NOTHING.relayed[0]],
  ['a mapped port behind a symmetric NAT', { mapped: [OUTER], natKind: random }, 'public', random, OUTER],
  [
    'two peers see the same port',
    { sightings: [seen(OUTER, 'a'), seen(OUTER, 'b')] },
    'private',
    { ...unseen, mapping: 'endpoint-independent' }
  ],
  [
    'two peers see different ports',
    { sightings: [seen(OUTER, 'a'), seen('/ip4/11.0.1.1/tcp/7002', 'b')] },
    'private',
    { ...unseen, mapping: 'address-dependent' }
  ],
  [
    'two peers see different outer addresses',
    { sightings: [seen(OUTER, 'a'), seen('/ip4/11.0.1.2/tcp/7001', 'b')] },
    'private',
    { ...unseen, mapping: 'address-dependent' }
  ],
  [
    'different ports of connections from any port tell nothing',
    { sightings: [seen(OUTER, 'a', false), seen('/ip4/11.0.1.1/tcp/7002', 'b', false)] },
    'private',
    unseen
  ],
  [
    'TCP and QUIC have ports of their own',
    { sightings: [seen(OUTER, 'a'), seen('/ip4/11.0.1.1/udp/9001/quic-v1', 'b')] },
    'private',
    unseen
  ],
  [
    'the same peer twice is one: the newer counts',
    { sightings: [seen(OUTER, 'a'), seen('/ip4/11.0.1.1/tcp/7002', 'a')] },
    'private',
    unseen
  ],
  ['reflectors see no NAT', { natKind: plain }, 'unknown', null],
  ['reflectors told the kind', { natKind: random }, 'private', random],
  ['reflectors over peers', { natKind: random, sightings: [seen(OUTER, 'a'), seen(OUTER, 'b')] }, 'private', random],
  [
    'no translation',
    { ...PUBLIC_HOST, sightings: [seen('/ip4/11.0.0.9/tcp/40000', 'a', false)] },
    'public',
    null,
    '/ip4/11.0.0.9/tcp/5011'
  ],
  [
    'no translation, but a firewall',
    {
      ...PUBLIC_HOST,
      sightings: [seen('/ip4/11.0.0.9/tcp/40000', 'a', false)],
      dialledBack: [{ address: '/ip4/11.0.0.9/tcp/5011', reached: false }]
    },
    'private',
    null
  ],
  ['autonat got through', { dialledBack: [{ address: OUTER, reached: true }] }, 'public', null, OUTER],
  ['peers in the own network only', { sightings: [seen('/ip4/192.168.1.2/tcp/5011', 'a')] }, 'unknown', null],
  ['a carrier’s address is not public', { sightings: [seen('/ip4/100.64.0.9/tcp/5011', 'a')] }, 'unknown', null],
  [
    'IPv6 without translation',
    {
      ownHosts: ['2600::9'],
      listening: ['/ip6/2600::9/tcp/5011'],
      sightings: [seen('/ip6/2600::9/tcp/40000', 'a', false)]
    },
    'public',
    null,
    '/ip6/2600::9/tcp/5011'
  ]
]

describe('reachability is judged', () => {
  for (const [what, facts, state, kind, first] of cases) {
    it(`${what}: ${state}`, () => {
      const judged = judgeReachability({ ...NOTHING, ...facts })
      assert.equal(judged.state, state)
      assert.deepEqual(judged.kind, kind)
      if (first !== undefined) assert.equal(judged.addresses[0], first)
      assert.notEqual(judged.why, '')
    })
  }

  it('with relayed addresses last, except where the operator says all', () => {
    const { addresses } = judgeReachability({ ...NOTHING, mapped: [OUTER] })
    assert.deepEqual(addresses, [OUTER, ...NOTHING.relayed])
    assert.deepEqual(judgeReachability({ ...NOTHING, announced: [OUTER], mapped: [OUTER] }).addresses, [OUTER])
  })
})
