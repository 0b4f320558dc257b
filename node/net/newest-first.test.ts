import assert from 'node:assert/strict'
import type { Connection, PeerId } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import { startLine } from './life/testing.ts'
import { newestFirst } from './newest-first.ts'
import { eventually, startPeer, startRelay } from './testing.ts'

describe('a relay', function () {
  this.timeout(30_000)

  it('asks all connections of a peer for a sign of life, and leads by the newest that is not suspect', async () => {
    const connection = (id: string, openedAt: number, direct = true) =>
      ({ id, direct, status: 'open', timeline: { open: openedAt } }) as Connection
    const all = [connection('old', 1), connection('dead', 3), connection('new', 2), connection('relayed', 4, false)]
    const probed: string[] = []
    const service = newestFirst(
      ({ connectionManager }) =>
        (count: number) =>
          connectionManager
            .getConnections({} as PeerId)
            .slice(0, count)
            .map(({ id }) => id),
      () => ({ isSuspect: ({ id }) => id === 'dead', probe: ({ id }) => probed.push(id) })
    )
    const first = service({ connectionManager: { getConnections: () => all } })
    assert.deepEqual(first(4), ['new', 'old', 'relayed', 'dead'])
    assert.deepEqual(probed, ['old', 'dead', 'new', 'relayed'])
    all.splice(1)
    assert.deepEqual(first(1), ['old'])
    assert.equal(probed.length, 4, 'one that has no alternative is not asked')
  })

  it('leads to a peer by its newest connection while an older one is dead and does not know it', async () => {
    await using relay = await startRelay()
    await using line = await startLine(relay.port)
    await using asking = await startPeer({ listen: [] })
    await using peer = await startPeer({ listen: [], relays: [lineTo(relay.address, line.port)] })
    const { libp2p } = peer.node
    await eventually(() => peer.network.anchors().every(({ reserved }) => reserved), 'reserved')
    await libp2p.dial(multiaddr(relay.address), { force: true })
    const relayed = () => relay.node.libp2p.getConnections(libp2p.peerId)
    await eventually(() => relayed().length >= 2, 'several connections')
    const [dead] = relayed()
    line.freeze()
    await asking.node.libp2p.dial(multiaddr(`${relay.address}/p2p-circuit/p2p/${peer.identity.peerId}`), {
      signal: AbortSignal.timeout(5000)
    })
    assert.equal(dead?.status, 'open', 'the dead one is there still')
  })
})

const lineTo = (address: string, port: number): string => address.replace(/\/tcp\/\d+/, `/tcp/${port}`)
