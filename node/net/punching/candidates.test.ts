import assert from 'node:assert/strict'
import { multiaddr } from '@multiformats/multiaddr'
import fc from 'fast-check'
import { ephemeralIdentity } from '../../identity.ts'
import { candidates, isPublicAddress, type PunchProtocol, punchProtocolOf } from './candidates.ts'

const OWN = ['/ip4/11.0.0.9/tcp/5001', '/ip4/11.0.0.9/udp/5001/quic-v1', '/ip6/2600::9/tcp/5001']

describe('the candidates of a punch', () => {
  let peerId = ''
  let stranger = ''
  before(async () => {
    peerId = (await ephemeralIdentity()).peerId
    stranger = (await ephemeralIdentity()).peerId
  })

  function chosen(named: readonly Uint8Array[], protocols: PunchProtocol[] = ['tcp', 'quic-v1']): string[] {
    return candidates(named, {
      peerId,
      own: OWN.map(address => multiaddr(address)),
      protocols: new Set(protocols),
      isUsable: isPublicAddress,
      max: 8
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
      '/ip4/10.0.0.1/tcp/1',
      '/ip4/192.168.1.1/udp/1/quic-v1',
      '/ip4/100.64.0.1/tcp/1',
      '/ip4/127.0.0.1/tcp/1',
      '/ip4/169.254.169.254/tcp/80',
      '/ip4/0.0.0.0/tcp/1',
      '/ip4/224.0.0.251/udp/5353/quic-v1',
      '/ip4/255.255.255.255/udp/1/quic-v1',
      '/ip6/::1/tcp/1',
      '/ip6/fd00::1/tcp/1',
      '/ip6/fc12:3456::1/tcp/1',
      '/ip6/fe80::1/tcp/1',
      '/ip6/ff02::1/tcp/1',
      '/ip6/::ffff:10.0.0.1/tcp/1',
      '/ip6/::ffff:11.0.0.1/tcp/1',
      '/ip6/2001:db8::1/tcp/1',
      '/ip4/11.0.0.1/tcp/0',
      '/ip4/11.0.0.1/tcp/1/ws',
      '/ip4/11.0.0.1/udp/1',
      '/ip4/11.0.0.1/udp/1/quic',
      '/ip4/11.0.0.1/udp/1/webrtc-direct',
      '/ip4/11.0.0.1',
      '/dns4/victim.example/tcp/1',
      '/ip6zone/eth0/ip6/fe80::1/tcp/1',
      `/ip4/11.0.0.1/tcp/1/p2p/${stranger}`,
      `/ip4/11.0.0.1/tcp/1/p2p/${stranger}/p2p-circuit`,
      `/ip4/11.0.0.1/tcp/1/p2p/${stranger}/p2p-circuit/p2p/${peerId}`,
      // Ourselves, and a family and transport that we have no address of.
      OWN[0]!,
      '/ip6/2600::1/udp/1/quic-v1'
    ]
    assert.deepEqual(chosen(bytes(...bad)), [])
    assert.deepEqual(chosen([new Uint8Array(0), new Uint8Array(4000), Uint8Array.of(255, 255)]), [])
  })

  it('are named once each and never more than the cap', () => {
    assert.equal(chosen(bytes(...Array(5).fill('/ip4/11.0.0.1/tcp/4001'), '/ip4/11.0.0.1/tcp/4002')).length, 2)
    const thousands = Array.from({ length: 5000 }, (_, at) => `/ip4/11.0.0.1/tcp/${at + 1}`)
    assert.equal(chosen(bytes(...thousands)).length, 8)
  })

  it('come of any bytes without an error', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 64 }), { maxLength: 32 }), named => {
        assert.ok(chosen(named).length <= 8)
      })
    )
  })

  it('have a protocol only as bare IP addresses', () => {
    assert.equal(punchProtocolOf(multiaddr(`/ip4/11.0.0.1/tcp/1/p2p/${peerId}`)), 'tcp')
    assert.equal(punchProtocolOf(multiaddr('/ip6/::1/udp/1/quic-v1')), 'quic-v1')
    assert.equal(punchProtocolOf(multiaddr('/ip4/11.0.0.1/tcp/1/tls/ws')), null)
  })
})
