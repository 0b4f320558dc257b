import assert from 'node:assert/strict'
import { multiaddr } from '@multiformats/multiaddr'
import { startLine } from './life/testing.ts'
import { eventually, startPeer, startRelay } from './testing.ts'

describe('a relay', function () {
  this.timeout(30_000)

  it('leads to a peer by its newest connection while an older one is dead and does not know it', async () => {
    await using relay = await startRelay()
    await using line = await startLine(relay.port)
    await using asking = await startPeer({ listen: [] })
    await using peer = await startPeer({ listen: [], relays: [lineTo(relay.address, line.port)] })
    const { libp2p } = peer.node
    await eventually(() => peer.network.anchors().every(({ reserved }) => reserved), 'reserved')
    await libp2p.dial(multiaddr(relay.address), { force: true })
    const relayed = () => relay.node.libp2p.getConnections(libp2p.peerId)
    await eventually(() => relayed().length === 2, 'two connections')
    line.freeze()
    await asking.node.libp2p.dial(multiaddr(`${relay.address}/p2p-circuit/p2p/${peer.identity.peerId}`), {
      signal: AbortSignal.timeout(5000)
    })
    assert.equal(relayed().length, 2, 'the dead one is there still')
  })
})

const lineTo = (address: string, port: number): string => address.replace(/\/tcp\/\d+/, `/tcp/${port}`)
