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

  it('lets public addresses, names and own subnets through', () => {
    assert.equal(denies('/ip4/11.0.0.1/tcp/4001'), false)
    assert.equal(denies('/dns4/relay.example/tcp/4001'), false)
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

  it('lets a circuit through a relay it is connected to', () => {
    const circuit = `/ip4/${foreign}.7/tcp/4001/p2p/${RELAY}/p2p-circuit/p2p/${PEER}`
    assert.equal(denies(circuit), true)
    assert.equal(denies(circuit, { connectedTo: peerId => peerId === RELAY }), false)
    assert.equal(denies(circuit, { connectedTo: peerId => peerId === PEER }), true)
  })
})
