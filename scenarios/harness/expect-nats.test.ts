import { deepEqual, equal, match } from 'node:assert/strict'
import { behaviourOf, type NatSpec, plan, type Topology } from '../../netem/index.ts'
import { behaviourOfPath, natBlindRow, natRow } from './expect-nats.ts'
import { type SeenTimeouts, seenTimeouts } from './nat-timeouts.ts'
import type { NatWords, ProtocolWords } from './nat-words.ts'

const topology = (nat: NatSpec): Topology => ({
  name: 'one',
  description: 'One NAT.',
  networks: { internet: {}, home: { behind: 'internet', nat } },
  hosts: { alice: { role: 'client', on: 'home' } }
})
const LINUX: SeenTimeouts = { udpS: 29, udpStreamS: 119, tcpEstablishedS: 431_999 }
const WORDS: ProtocolWords = {
  translation: 'napt',
  mapping: 'endpoint-independent',
  filtering: 'address-and-port-dependent',
  allocation: 'preserving',
  ports: [5000, 5100],
  hairpin: false,
  address: '11.0.1.1'
}

function judged(nat: NatSpec, words: Partial<NatWords>, timeouts: SeenTimeouts | null = LINUX) {
  const planned = plan(topology(nat), 'claims')
  return natRow(planned, planned.hosts[0]!, { udp: WORDS, tcp: WORDS, ...words }, [timeouts]).row
}

describe('what a NAT claims', () => {
  it('is proved by every word, the address and the timeouts, and by nothing less', () => {
    const row = judged('port-preserving', {})
    deepEqual([row.kind, row.proved, row.observed], ['port-preserving (home)', true, row.claimed])
    match(row.claimed, /^napt, mapping endpoint-independent, .* no hairpin, as 11\.0\.1\.1; UDP 30 s, UDP stream 120 s/)
    for (const other of [
      { translation: 'one-to-one' },
      { mapping: 'address-dependent' },
      { filtering: 'endpoint-independent' },
      { allocation: 'random' },
      { hairpin: true },
      { address: '11.0.1.2' }
    ] as Array<Partial<ProtocolWords>>) {
      equal(judged('port-preserving', { udp: { ...WORDS, ...other } }).proved, false, JSON.stringify(other))
      equal(judged('port-preserving', { tcp: { ...WORDS, ...other } }).proved, false, `TCP ${JSON.stringify(other)}`)
    }
    equal(judged('port-preserving', { udp: null }).proved, false)
    equal(judged('port-preserving', {}, { ...LINUX, udpStreamS: 29 }).proved, false)
    equal(judged('port-preserving', {}, { ...LINUX, tcpEstablishedS: null }).proved, false)
  })

  it('is proved without timeouts only where no table can be read, and says so', () => {
    const row = judged('port-preserving', {}, null)
    equal(row.proved, true)
    match(row.observed, /timeouts not read/)
  })

  it('is a block that every port lies in', () => {
    const block = (ports: [number, number]) => {
      const words = { ...WORDS, allocation: 'block' as const, ports }
      return judged({ kind: 'port-preserving', allocation: 'block' }, { udp: words, tcp: words })
    }
    equal(block([11_264, 12_287]).proved, true)
    equal(block([11_263, 12_287]).proved, false)
    match(block([3000, 3100]).observed, /somewhere in 3000–3100/)
  })

  it('is no UDP where it is blocked', () => {
    const timeouts = { udpS: null, udpStreamS: null, tcpEstablishedS: 3600 }
    equal(judged('udp-blocked', { udp: null }, timeouts).proved, true)
    equal(judged('udp-blocked', {}, timeouts).proved, false, 'UDP that passes was taken for blocked')
  })

  it('is not proved by a prober that saw nothing', () => {
    const planned = plan(topology('symmetric'), 'claims')
    const row = natBlindRow(planned, planned.hosts[0]!, 'no reflector answers')
    deepEqual([row.proved, row.observed], [false, 'nothing: no reflector answers'])
  })
})

describe('NATs one behind the other', () => {
  const path = (...specs: NatSpec[]) => behaviourOfPath(specs.map(behaviourOf))

  it('are as strict as the strictest', () => {
    const { mapping, filtering, allocation, hairpin } = path('symmetric', 'full-cone')
    deepEqual(
      [mapping, filtering, allocation, hairpin],
      ['address-and-port-dependent', 'address-and-port-dependent', 'random', false]
    )
    equal(path('full-cone', 'carrier').hairpin, true)
    equal(path('full-cone', 'carrier').allocation, 'block')
    equal(path('none', 'port-restricted').translation, 'napt')
    equal(path('firewall', 'one-to-one').filtering, 'address-and-port-dependent')
  })

  it('compute ports again only where both do', () => {
    const computed = { kind: 'symmetric', allocation: 'deterministic' } as const
    equal(path('port-restricted', computed).allocation, 'deterministic')
    equal(path('port-restricted-random', computed).allocation, 'random')
  })
})

describe("a router's table", () => {
  const table = [
    'ipv4     2 udp      17 29 src=10.40.1.10 dst=11.0.0.10 sport=40000 dport=46013 [UNREPLIED] src=11.0.0.10 dst=11.0.1.1 sport=46013 dport=40000 mark=0 zone=0 use=2',
    'ipv4     2 udp      17 118 src=10.40.1.10 dst=11.0.0.10 sport=40001 dport=46013 src=11.0.0.10 dst=11.0.1.1 sport=46013 dport=40001 [ASSURED] mark=0 zone=0 use=2',
    'ipv4     2 tcp      6 431999 ESTABLISHED src=10.40.1.10 dst=11.0.0.10 sport=40002 dport=46013 src=11.0.0.10 dst=11.0.1.1 sport=46013 dport=40002 [ASSURED] mark=0 zone=0 use=2',
    'ipv4     2 tcp      6 117 TIME_WAIT src=10.40.1.10 dst=11.0.0.10 sport=40003 dport=46013 src=11.0.0.10 dst=11.0.1.1 sport=46013 dport=40003 [ASSURED] mark=0 zone=0 use=2',
    'ipv4     2 udp      17 3 src=10.40.1.10 dst=11.0.0.10 sport=40000 dport=53 [UNREPLIED] src=11.0.0.10 dst=11.0.1.1 sport=53 dport=40000 mark=0 zone=0 use=2'
  ].join('\n')

  it('tells what is left of each sort of flow to one port', () => {
    deepEqual(seenTimeouts(table, 46_013), { udpS: 29, udpStreamS: 118, tcpEstablishedS: 431_999 })
    deepEqual(seenTimeouts('', 46_013), { udpS: null, udpStreamS: null, tcpEstablishedS: null })
  })
})
