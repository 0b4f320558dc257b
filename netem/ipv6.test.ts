import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { decode, encode, type Packet } from 'dns-packet'
import { capabilities } from './capabilities.ts'
import { answerOf } from './dns64.ts'
import { TopologyInvalidError } from './errors.ts'
import { CommandFailedError, run } from './exec.ts'
import type { Ipv6Facts } from './fixtures/ipv6-facts.ts'
import { LAB_ZONE, nat64Address } from './ipv6.ts'
import { ipv6Ruleset } from './ipv6-rules.ts'
import { behaviourOf } from './nat-kinds.ts'
import { NAT64_PROGRAM } from './nat64.ts'
import { plan } from './plan.ts'
import type { Topology } from './topology.ts'

const INSIDE = [
  ...['unshare', '--user', '--map-root-user', '--net', '--mount', '--pid', '--fork', '--mount-proc', '--kill-child'],
  ...[
    'sh',
    '-c',
    'mount -t tmpfs tmpfs /run && mkdir /run/netns && exec "$0" "$@"',
    process.execPath,
    '--disable-warning=ExperimentalWarning'
  ]
]
const TIMEOUT_MS = 120_000

describe('a plan with IPv6 in network namespaces', function () {
  this.timeout(TIMEOUT_MS)
  let facts: Ipv6Facts

  before(async function () {
    const needs = ['user-namespaces', 'iproute2', 'nftables', 'nat']
    const missing = (await capabilities()).filter(({ what, has }) => !has && needs.includes(what))
    const translator = await run([NAT64_PROGRAM, '--help']).catch((error: CommandFailedError) => error)
    if (translator instanceof CommandFailedError && translator.exitCode === null) {
      console.log(`    skipped, no ${NAT64_PROGRAM}; mend it with: apt-get install ${NAT64_PROGRAM}`)
      this.skip()
    }
    if (missing.length > 0) {
      console.log(missing.map(({ what, why, fix }) => `    skipped, no ${what}: ${why}; mend: ${fix}`).join('\n'))
      this.skip()
    }
    const script = fileURLToPath(new URL('fixtures/ipv6-facts.ts', import.meta.url))
    const { stdout } = await run([...INSIDE, script], { timeoutMs: TIMEOUT_MS })
    facts = JSON.parse(stdout) as Ipv6Facts
  })

  it('gives each host of such a network its own address, seen as it is everywhere', () => {
    for (const host of ['harry', 'sally', 'mona']) equal(facts.overIpv6[host]?.split(' ')[0], facts.addresses[host])
    equal(facts.addresses.otto, null)
    equal(facts.overIpv6.otto, null)
  })

  it('leaves IPv4 beside it as it is, and none where a network has IPv6 only', () => {
    match(facts.overIpv4.harry ?? '', /11\.0\.1\.1 /)
    equal(facts.overIpv4.mona, null)
  })

  it('drops what nobody inside asked for behind a firewall, and passes it where there is none', () => {
    deepEqual(facts.intruded, { harry: false, sally: true, mona: false })
  })

  it('reaches IPv4 hosts through NAT64, seen as the router’s outer address', () => {
    match(facts.throughNat64 ?? '', /11\.0\.1\.3 /)
  })

  it('answers names: the address a host has, a made one for who has IPv4 only, none for what it does not know', () => {
    deepEqual(facts.names.relay, [facts.addresses.relay])
    deepEqual(facts.names.relayIpv4, ['11.0.0.10'])
    equal(facts.names.otto, 'ENOTFOUND')
    equal(facts.names.unknown, 'ENOTFOUND')
    equal(facts.names.outside, 'EREFUSED')
  })

  it('has no way out, and leaves nothing', () => {
    deepEqual(facts.waysOut, [])
    deepEqual(facts.leftovers, [])
  })
})

describe('DNS64', () => {
  const names = { web: { ipv4: '11.0.0.10', ipv6: null }, six: { ipv4: '11.0.0.11', ipv6: '2a11:10:1::b' } }
  const ask = (name: string, type: 'A' | 'AAAA' | 'TXT'): Packet =>
    decode(encode(answerOf({ id: 7, type: 'query', questions: [{ name, type, class: 'IN' }] }, LAB_ZONE, names)))
  const data = (packet: Packet) => packet.answers?.map(answer => ('data' in answer ? answer.data : null))

  it('makes an address for a host with IPv4 alone, and keeps the own one of others', () => {
    deepEqual(data(ask(`web.${LAB_ZONE}`, 'AAAA')), ['64:ff9b::b00:a'])
    deepEqual(data(ask(`SIX.${LAB_ZONE}`, 'AAAA')), ['2a11:10:1::b'])
    deepEqual(data(ask(`web.${LAB_ZONE}`, 'A')), ['11.0.0.10'])
    deepEqual(data(ask(`web.${LAB_ZONE}`, 'TXT')), [])
    equal(nat64Address('11.0.0.10'), '64:ff9b::b00:a')
  })

  it('says which names there are not, and refuses those of others', () => {
    equal((ask(`nobody.${LAB_ZONE}`, 'A') as Packet & { rcode: string }).rcode, 'NXDOMAIN')
    equal((ask('example.com', 'A') as Packet & { rcode: string }).rcode, 'REFUSED')
  })
})

describe('IPv6 in a topology', () => {
  const topology = (networks: Topology['networks']): Topology => ({
    name: 'six',
    description: 'A topology with IPv6.',
    networks,
    hosts: { relay: { role: 'relay', on: 'internet' } }
  })
  const problems = (networks: Topology['networks']): string[] => {
    try {
      plan(topology(networks), 'seed')
      return []
    } catch (error) {
      if (!(error instanceof TopologyInvalidError)) throw error
      return error.problems.map(({ path, code }) => `${path} ${code}`)
    }
  }

  it('is refused where it cannot be, all at once', () => {
    deepEqual(
      problems({
        internet: {},
        a: { behind: 'internet', nat: 'symmetric', ipv6: 'dual' },
        b: { behind: 'internet', nat: 'symmetric', ipv6Filter: 'none' },
        c: { behind: 'internet', nat: 'symmetric', ipv6: 'six' as 'dual' }
      }),
      ['networks.a.ipv6 IPV6_WITHOUT_UPLINK', 'networks.b.ipv6Filter IPV6_CONTRADICTION', 'networks.c.ipv6 BAD_IPV6']
    )
    deepEqual(problems({ internet: { ipv6: 'only' } }), ['networks.internet.ipv6 IPV6_CONTRADICTION'])
    deepEqual(
      problems({
        internet: { ipv6: 'dual' },
        a: { behind: 'internet', nat: 'firewall', ipv6: 'only' },
        b: { behind: 'a', nat: 'symmetric', ipv6: 'dual' }
      }),
      ['networks.a.nat IPV6_CONTRADICTION', 'networks.b.behind IPV6_CONTRADICTION']
    )
  })

  it('gives every slot and network a /64 of its own', () => {
    const networks: Topology['networks'] = {
      internet: { ipv6: 'dual' },
      a: { behind: 'internet', nat: 'symmetric', ipv6: 'dual' },
      b: { behind: 'a', nat: 'symmetric', ipv6: 'dual' }
    }
    const subnets = [0, 1].flatMap(slot =>
      plan(topology(networks), 'seed', slot).networks.map(({ ipv6 }) => ipv6?.subnet)
    )
    equal(new Set(subnets).size, 6)
    const [relay] = plan(topology(networks), 'seed').hosts
    ok(relay?.ipv6?.routes.every(({ via }) => via === '2a11:10:1::101'))
    equal(relay?.ipv6?.routes.length, 2)
  })

  it('is filtered as netem/golden/ipv6-*.nft say (UPDATE_GOLDEN=1 writes them)', () => {
    for (const [name, filter, nat64] of [
      ['firewall', 'firewall', null],
      ['none', 'none', null],
      ['nat64', 'firewall', '2a11:10:2::64']
    ] as const) {
      const text = ipv6Ruleset({
        edge: { filter, nat64 },
        behaviour: behaviourOf('port-preserving'),
        insideInterface: 'inside',
        outsideInterface: 'outside'
      })
      const file = new URL(`golden/ipv6-${name}.nft`, import.meta.url)
      if (process.env.UPDATE_GOLDEN === '1') writeFileSync(file, text)
      equal(text, readFileSync(file, 'utf8'))
    }
  })
})
