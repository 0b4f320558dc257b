import assert from 'node:assert/strict'
import { startPeer } from './testing.ts'

describe('a stream opened in the moment its connection ends', () => {
  it('fails, and nothing else does', async () => {
    await using a = await startPeer()
    await using b = await startPeer()
    const connection = await a.node.libp2p.dial(b.node.libp2p.getMultiaddrs())
    const { muxer } = connection as unknown as { muxer: { maConn: { writeStatus: string } } }
    // Between the opening of the stream and the microtask that sends its first frame.
    const opening = connection.newStream('/ipfs/ping/1.0.0')
    muxer.maConn.writeStatus = 'closed'
    await assert.rejects(opening)
    muxer.maConn.writeStatus = 'writable'
  })
})
