import assert from 'node:assert/strict'
import { generateKeyPair } from '@libp2p/crypto/keys'
import type { Connection } from '@libp2p/interface'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import type { Multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { PeerUnreachableError } from '../errors.ts'
import { silentLog } from '../log.ts'
import { createAnchors } from './anchors.ts'
import { createPaths, MAX_UNREACHABLE } from './paths.ts'
import { eventually, startPeer } from './testing.ts'

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

  it('lead through a relay that is asked once more when it does not answer', async () => {
    await using peer = await startPeer()
    const libp2p = await createLibp2p()
    const [id, relay] = await Promise.all(
      [0, 1].map(async () => peerIdFromPrivateKey(await generateKeyPair('Ed25519')).toString())
    )
    const anchors = createAnchors({
      relays: [`/ip4/127.0.0.1/tcp/1/p2p/${relay}`],
      bootstrap: [],
      reserving: false,
      log: silentLog()
    })
    const met = { direct: false } as Connection
    let asked = 0
    const transportManager = {
      ...peer.node.parts.transportManager,
      // The first time the relay waits for a peer that comes back by another connection.
      dial: async () => (++asked === 1 ? await new Promise<Connection>(() => undefined) : met)
    }
    const paths = createPaths({ libp2p, parts: { transportManager }, anchors, connectTimeoutMs: 10_000 })
    assert.equal(await paths.connect(id!), met)
    assert.equal(asked, 2)
    await libp2p.stop()
  })

  it('lead over a suspect connection, and meanwhile through a relay', async () => {
    await using peer = await startPeer()
    await using other = await startPeer()
    const { libp2p } = peer.node
    const direct = await libp2p.dial(other.node.libp2p.getMultiaddrs())
    const relay = peerIdFromPrivateKey(await generateKeyPair('Ed25519')).toString()
    const relays = [`/ip4/127.0.0.1/tcp/1/p2p/${relay}`]
    const anchors = createAnchors({ relays, bootstrap: [], reserving: false, log: silentLog() })
    const asked: string[] = []
    const transportManager = {
      ...peer.node.parts.transportManager,
      async dial(address: Multiaddr) {
        asked.push(address.toString())
        return { direct: false } as Connection
      }
    }
    let isSuspect = false
    const use = { used: () => undefined, isSuspect: () => isSuspect }
    const paths = createPaths({ libp2p, parts: { transportManager }, anchors, connectTimeoutMs: 10_000, use })
    const { peerId } = other.identity
    assert.equal(await paths.connect(peerId), direct)
    assert.deepEqual(asked, [])
    isSuspect = true
    assert.equal(await paths.connect(peerId), direct)
    await eventually(() => asked.length > 0, 'asked')
    assert.deepEqual(asked, [`${relays[0]}/p2p-circuit/p2p/${peerId}`])
  })

  it('are direct again when the suspect connection is gone, also while a relay is still asked', async () => {
    await using peer = await startPeer()
    await using other = await startPeer()
    const { libp2p } = peer.node
    const addresses = other.node.libp2p.getMultiaddrs()
    const suspect = await libp2p.dial(addresses)
    const relay = peerIdFromPrivateKey(await generateKeyPair('Ed25519')).toString()
    const relays = [`/ip4/127.0.0.1/tcp/1/p2p/${relay}`]
    const anchors = createAnchors({ relays, bootstrap: [], reserving: false, log: silentLog() })
    let asked = 0
    const transportManager = {
      ...peer.node.parts.transportManager,
      async dial(): Promise<Connection> {
        asked++
        return await new Promise(() => undefined)
      }
    }
    const use = { used: () => undefined, isSuspect: (connection: Connection) => connection === suspect }
    const paths = createPaths({ libp2p, parts: { transportManager }, anchors, connectTimeoutMs: 3000, use })
    const { peerId } = other.identity
    assert.equal(await paths.connect(peerId), suspect)
    await eventually(() => asked > 0, 'asked')
    await libp2p.peerStore.merge(other.node.libp2p.peerId, { multiaddrs: addresses })
    await suspect.close()
    assert.equal((await paths.connect(peerId)).direct, true)
  })

  it('do not ask a relay again that answered', async () => {
    await using peer = await startPeer()
    const libp2p = await createLibp2p()
    const [id, relay] = await Promise.all(
      [0, 1].map(async () => peerIdFromPrivateKey(await generateKeyPair('Ed25519')).toString())
    )
    const relays = [`/ip4/127.0.0.1/tcp/1/p2p/${relay}`]
    const anchors = createAnchors({ relays, bootstrap: [], reserving: false, log: silentLog() })
    let asked = 0
    const transportManager = {
      ...peer.node.parts.transportManager,
      async dial(): Promise<Connection> {
        asked++
        throw new Error('no reservation')
      }
    }
    const paths = createPaths({ libp2p, parts: { transportManager }, anchors, connectTimeoutMs: 10_000 })
    await assert.rejects(paths.connect(id!), PeerUnreachableError)
    assert.equal(asked, 1)
    await libp2p.stop()
  })
})
