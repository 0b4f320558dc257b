import assert from 'node:assert/strict'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { createLibp2p } from 'libp2p'
import { PeerUnreachableError } from '../errors.ts'
import { silentLog } from '../log.ts'
import { createAnchors } from './anchors.ts'
import { createPaths, MAX_UNREACHABLE } from './paths.ts'
import { startPeer } from './testing.ts'

describe('paths to peers', function () {
  this.timeout(30_000)

  it('remember a bounded number of peers that were out of reach, the latest ones', async () => {
    await using peer = await startPeer()
    const libp2p = await createLibp2p()
    const anchors = createAnchors({ relays: [], bootstrap: [], reserving: false, log: silentLog() })
    const paths = createPaths({ libp2p, parts: peer.node.parts, anchors, connectTimeoutMs: 1000 })
    const ids: string[] = []
    for (let i = 0; i <= MAX_UNREACHABLE; i++) {
      const id = peerIdFromPrivateKey(await generateKeyPair('Ed25519')).toString()
      ids.push(id)
      await assert.rejects(paths.connect(id), PeerUnreachableError)
    }
    assert.deepEqual(
      [0, 1, MAX_UNREACHABLE].map(index => paths.reachable(ids[index]!)),
      [true, false, false]
    )
    await libp2p.stop()
  })
})
