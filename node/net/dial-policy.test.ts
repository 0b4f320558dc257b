import assert from 'node:assert/strict'
import { networkInterfaces } from 'node:os'
import { multiaddr } from '@multiformats/multiaddr'
import { dialPolicy } from './dial-policy.ts'

const PEER = '12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo'
const RELAY = '12D3KooWGjMCGmTNHDLeUzqs6zPHL2SyoXz7nVGVYyqHvnpJgZcs'

describe('the dial policy', () => {
  const denies = (address: string, options: Partial<Parameters<typeof dialPolicy>[0]> = {}) =>
    dialPolicy({ dialPrivate: 'same-subnet', trusted: [], connectedTo: () => false, ...options }).denyDialMultiaddr?.(
      multiaddr(address)
    ) ?? false

  // A private range that no interface of this machine is in.
  const used = Object.values(networkInterfaces()).flatMap(addresses => (addresses ?? []).map(({ address }) => address))
  const foreign = [17, 77, 177]
    .map(n => `10.${n}.99`)
    .find(net => !used.some(address => address.startsWith(net.slice(0, 5))))

  it('lets public addresses and own subnets through', () => {
    assert.equal(denies('/ip4/11.0.0.1/tcp/4001'), false)
    assert.equal(denies('/ip4/127.0.0.1/tcp/4001'), false)
    assert.equal(denies('/ip6/::1/tcp/4001'), false)
  })

  it('refuses private addresses of other networks, unless told otherwise', () => {
    const address = `/ip4/${foreign}.7/tcp/5011`
    assert.equal(denies(address), true)
    assert.equal(denies('/ip6/fd12:3456::1/tcp/5011'), true)
    assert.equal(denies(address, { dialPrivate: 'always' }), false)
    assert.equal(denies(`${address}/p2p/${PEER}`, { trusted: [multiaddr(`${address}/p2p/${PEER}`)] }), false)
  })

  it('refuses names, which may lead anywhere, unless the configuration has them', () => {
    const trusted = [
      multiaddr(`/dns4/relay.example/tcp/4001/p2p/${RELAY}`),
      multiaddr(`/dnsaddr/bootstrap.example/p2p/${RELAY}`)
    ]
    for (const name of ['dns', 'dns4', 'dns6']) {
      assert.equal(denies(`/${name}/inside.example/tcp/80/ws/p2p/${PEER}`, { trusted }), true)
      assert.equal(denies(`/${name}/relay.example/tcp/22/p2p/${PEER}`, { trusted }), true)
    }
    // An IP address behind a name says nothing of where the name leads.
    assert.equal(denies(`/dns4/inside.example/tcp/80/ip4/11.0.0.1/tcp/80/p2p/${PEER}`, { trusted }), true)
    assert.equal(denies(`/dnsaddr/inside.example/p2p/${PEER}`, { trusted }), true)
    assert.equal(denies('/dns4/relay.example/tcp/4001', { trusted }), false)
    assert.equal(denies(`/dns4/relay.example/tcp/4001/p2p/${RELAY}`, { trusted }), false)
    assert.equal(denies(`/dns4/inside.example/tcp/80`, { dialPrivate: 'always' }), false)
  })

  it('lets the names through that a configured /dnsaddr stands for', () => {
    const trusted = [multiaddr(`/dnsaddr/bootstrap.example/p2p/${RELAY}`)]
    assert.equal(denies(`/dns4/one.bootstrap.example/tcp/4001/p2p/${RELAY}`, { trusted }), false)
    assert.equal(denies(`/dns4/one.bootstrap.example/tcp/4001/p2p/${PEER}`, { trusted }), true)
    assert.equal(denies(`/dns4/one.bootstrap.example/tcp/4001`, { trusted }), true)
  })

  it('judges a circuit by a relay with a name as one by a private address', () => {
    const circuit = `/dns4/relay.example/tcp/4001/p2p/${RELAY}/p2p-circuit/p2p/${PEER}`
    assert.equal(denies(circuit), true)
    assert.equal(denies(circuit, { connectedTo: peerId => peerId === RELAY }), false)
    assert.equal(denies(circuit, { trusted: [multiaddr(`/dns4/relay.example/tcp/4001/p2p/${RELAY}`)] }), false)
    // What stands behind the relay leads nowhere by itself.
    const hidden = `/dns4/inside.example/tcp/80/p2p/${RELAY}/p2p-circuit/ip4/11.0.0.1/tcp/1/p2p/${PEER}`
    assert.equal(denies(hidden), true)
    assert.equal(denies(`/p2p/${RELAY}/p2p-circuit/p2p/${PEER}`), false)
  })

  it('lets a circuit through a relay it is connected to', () => {
    const circuit = `/ip4/${foreign}.7/tcp/4001/p2p/${RELAY}/p2p-circuit/p2p/${PEER}`
    assert.equal(denies(circuit), true)
    assert.equal(denies(circuit, { connectedTo: peerId => peerId === RELAY }), false)
    assert.equal(denies(circuit, { connectedTo: peerId => peerId === PEER }), true)
  })
})
