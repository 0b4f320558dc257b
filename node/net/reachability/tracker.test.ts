import assert from 'node:assert/strict'
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import { silentLog } from '../../log.ts'
import { startPeer } from '../testing.ts'
import { createReachability } from './tracker.ts'

/** The bytes decode, the text that they make does not: `/dns4/a/b/tcp/8080`. */
const UNREADABLE = multiaddr(Uint8Array.from([54, 3, ...Buffer.from('a/b'), 6, 0x1f, 0x90]))

describe('what peers see of us', () => {
  for (const [what, observed] of [
    ['bytes that are no text', UNREADABLE],
    ['a name', multiaddr('/dns4/there.example/tcp/8080')],
    ['an IP address without a port', multiaddr('/ip4/11.0.0.1')]
  ] as Array<[string, Multiaddr]>) {
    it(`is believed of no peer that tells ${what}`, async () => {
      await using peer = await startPeer()
      const { libp2p, parts } = peer.node
      const tracker = createReachability({ libp2p, parts, announced: [], portMapping: false, log: silentLog() })
      const tell = (observedAddr: Multiaddr, id: string) => {
        const connection = { id, direction: 'outbound', direct: true, remotePeer: libp2p.peerId }
        const detail = { peerId: libp2p.peerId, connection, observedAddr, listenAddrs: [], protocols: [] }
        libp2p.dispatchEvent(new CustomEvent('peer:identify', { detail: detail as never }))
      }
      tracker.start()
      try {
        const before = tracker.current()
        tell(observed, 'liar')
        assert.deepEqual(tracker.current(), before)
        tell(multiaddr('/ip4/11.0.0.1/tcp/4001'), 'honest')
        assert.equal(tracker.current().state, 'private')
      } finally {
        await tracker.stop()
      }
    })
  }
})
