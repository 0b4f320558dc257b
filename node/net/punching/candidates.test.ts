import assert from 'node:assert/strict'
import { multiaddr } from '@multiformats/multiaddr'
import fc from 'fast-check'
import { ephemeralIdentity } from '../../identity.ts'
import { candidates, isPublicAddress, MAX_PORTS_PER_HOST, type PunchProtocol, punchProtocolOf } from './candidates.ts'

const OWN = ['/ip4/11.0.0.9/tcp/5001', '/ip4/11.0.0.9/udp/5001/quic-v1', '/ip6/2600::9/tcp/5001']

describe('the candidates of a punch', () => {
  let peerId = ''
  let stranger = ''
  before(async () => {
    peerId = (await ephemeralIdentity()).peerId
    stranger = (await ephemeralIdentity()).peerId
  })

  function chosen(named: readonly Uint8Array[], protocols: PunchProtocol[] = ['tcp', 'quic-v1'], max = 8): string[] {
    return candidates(named, {
      peerId,
      own: OWN.map(address => multiaddr(address)),
      protocols: new Set(protocols),
      isUsable: isPublicAddress,
      max
    }).map(({ address }) => address.toString())
  }
  const bytes = (...addresses: string[]) => addresses.map(address => multiaddr(address).bytes)

  it('are public addresses of shared transports, with the peer’s id', () => {
    const good = ['/ip4/11.0.0.1/tcp/4001', '/ip4/11.0.0.1/udp/4001/quic-v1', '/ip6/2600::1/tcp/4001']
    assert.deepEqual(
      chosen(bytes(...good)),
      good.map(address => `${address}/p2p/${peerId}`)
    )
    assert.deepEqual(chosen(bytes(`${good[0]}/p2p/${peerId}`)), [`${good[0]}/p2p/${peerId}`])
    assert.deepEqual(chosen(bytes(...good), ['tcp']).length, 2)
  })

  it('are nothing else, whatever a peer names', () => {
    const bad = [
      '/ip4/10.0.0.1/tcp/4001',
      '/ip4/192.168.1.1/udp/4001/quic-v1',
      '/ip4/100.64.0.1/tcp/4001',
      '/ip4/127.0.0.1/tcp/4001',
      '/ip4/169.254.169.254/tcp/4001',
      '/ip4/0.0.0.0/tcp/4001',
      '/ip4/224.0.0.251/udp/5353/quic-v1',
      '/ip4/255.255.255.255/udp/4001/quic-v1',
      '/ip6/::1/tcp/4001',
      '/ip6/fd00::1/tcp/4001',
      '/ip6/fc12:3456::1/tcp/4001',
      '/ip6/fe80::1/tcp/4001',
      '/ip6/ff02::1/tcp/4001',
      '/ip6/::ffff:10.0.0.1/tcp/4001',
      '/ip6/::ffff:11.0.0.1/tcp/4001',
      '/ip6/2001:db8::1/tcp/4001',
      '/ip4/11.0.0.1/tcp/0',
      '/ip4/11.0.0.1/tcp/4001/ws',
      '/ip4/11.0.0.1/udp/4001',
      '/ip4/11.0.0.1/udp/4001/quic',
      '/ip4/11.0.0.1/udp/4001/webrtc-direct',
      '/ip4/11.0.0.1',
      '/dns4/victim.example/tcp/4001',
      '/ip6zone/eth0/ip6/fe80::1/tcp/4001',
      `/ip4/11.0.0.1/tcp/4001/p2p/${stranger}`,
      `/ip4/11.0.0.1/tcp/4001/p2p/${stranger}/p2p-circuit`,
      `/ip4/11.0.0.1/tcp/4001/p2p/${stranger}/p2p-circuit/p2p/${peerId}`,
      // Where services are that no peer punches from.
      '/ip4/11.0.0.1/tcp/22',
      '/ip4/11.0.0.1/udp/53/quic-v1',
      '/ip6/2600::1/tcp/1023',
      // Ourselves, and a family and transport that we have no address of.
      OWN[0]!,
      '/ip6/2600::1/udp/4001/quic-v1'
    ]
    assert.deepEqual(chosen(bytes(...bad)), [])
    assert.deepEqual(chosen([new Uint8Array(0), new Uint8Array(4000), Uint8Array.of(255, 255)]), [])
  })

  it('are named once each and never more than the cap', () => {
    assert.equal(chosen(bytes(...Array(5).fill('/ip4/11.0.0.1/tcp/4001'), '/ip4/11.0.0.1/tcp/4002')).length, 2)
    const thousands = Array.from(
      { length: 5000 },
      (_, at) => `${at % 2 === 0 ? '/ip4/11.0.0.1' : '/ip6/2600::1'}/tcp/${at + 2000}`
    )
    const max = MAX_PORTS_PER_HOST * 2
    assert.equal(chosen(bytes(...thousands)).length, max)
    assert.equal(chosen(bytes(...thousands), undefined, max - 1).length, max - 1)
  })

  it('are of few hosts and few ports of each, every transport before a second port of one', () => {
    const hosts = ['/ip4/11.0.0.1', '/ip4/11.0.0.2', '/ip4/11.0.0.3', '/ip6/2600::1', '/ip6/2600::2', '/ip6/2600::3']
    const everywhere = hosts.flatMap(host => [4001, 4002, 4003, 4004].map(port => `${host}/tcp/${port}`))
    const found = chosen(bytes(...everywhere, '/ip4/11.0.0.1/udp/4005/quic-v1'), undefined, 1000)
    const used = new Map<string, string[]>()
    for (const [, family, host = '', transport, port] of found.map(address => address.split('/')))
      used.set(host, [...(used.get(host) ?? []), `${family} ${transport} ${port}`])
    assert.deepEqual([...used.keys()].toSorted(), ['11.0.0.1', '11.0.0.2', '2600::1', '2600::2'])
    for (const ports of used.values()) assert.equal(ports.length, MAX_PORTS_PER_HOST)
    assert.deepEqual(used.get('11.0.0.1'), ['ip4 tcp 4001', 'ip4 udp 4005', 'ip4 tcp 4002'])
  })

  it('come of any bytes without an error', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 64 }), { maxLength: 32 }), named => {
        assert.ok(chosen(named).length <= 8)
      })
    )
  })

  it('are public only as IP addresses: a name may lead into our own network', () => {
    assert.equal(isPublicAddress(multiaddr('/ip4/11.0.0.1/tcp/80/ws')), true)
    for (const name of ['dns', 'dns4', 'dns6', 'dnsaddr'])
      assert.equal(isPublicAddress(multiaddr(`/${name}/inside.example/tcp/80/ws`)), false)
    assert.equal(isPublicAddress(multiaddr('/ip6zone/eth0/ip6/2600::1/tcp/80/ws')), false)
  })

  it('have a protocol only as bare IP addresses', () => {
    assert.equal(punchProtocolOf(multiaddr(`/ip4/11.0.0.1/tcp/1/p2p/${peerId}`)), 'tcp')
    assert.equal(punchProtocolOf(multiaddr('/ip6/::1/udp/1/quic-v1')), 'quic-v1')
    assert.equal(punchProtocolOf(multiaddr('/ip4/11.0.0.1/tcp/1/tls/ws')), null)
  })
})
