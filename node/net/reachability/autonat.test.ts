import assert from 'node:assert/strict'
import type { autoNAT } from '@libp2p/autonat'
import type { Connection } from '@libp2p/interface'
import { startPeer } from '../testing.ts'
import { asksOfOwn, dialsBackFresh } from './autonat.ts'

type Components = Parameters<ReturnType<typeof autoNAT>>[0]

describe('autonat', () => {
  it('dials back by a connection of its own, so that closing it takes nothing from the peer', async () => {
    await using asked = await startPeer()
    await using asking = await startPeer()
    const open = await asking.node.libp2p.dial(asked.node.libp2p.getMultiaddrs())
    const { connectionManager } = (asked.node.libp2p as unknown as { components: Components }).components
    const [address] = asking.node.libp2p.getMultiaddrs()
    const stock = await connectionManager.openConnection(address!)
    assert.ok(asked.node.libp2p.getConnections().includes(stock), 'the package takes the connection that is there')
    const fresh: Connection = await dialsBackFresh(connectionManager).openConnection(address!)
    assert.notEqual(fresh.id, stock.id)
    await fresh.close()
    assert.equal(open.status, 'open')
  })

  it('asks about no address that others say they saw', () => {
    const own = [{ type: 'transport' }, { type: 'ip-mapping' }]
    const manager = { getAddressesWithMetadata: () => [...own, { type: 'observed' }] }
    assert.deepEqual(asksOfOwn(manager as unknown as Components['addressManager']).getAddressesWithMetadata(), own)
  })
})
