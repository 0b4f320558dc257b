import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { circuitRelayServer } from '@libp2p/circuit-relay-v2'
import { identify } from '@libp2p/identify'
import type { Connection } from '@libp2p/interface'
import { noise } from '@libp2p/noise'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { CODE_IP4 } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { dialThrough, startPeer } from './punch.ts'

const MAX_LINES = 60

describe('the example punch', function () {
  this.timeout(60_000)

  it('makes a relayed connection direct on both sides', async () => {
    const relay = await createLibp2p({
      addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
      transports: [tcp()],
      connectionEncrypters: [noise()],
      streamMuxers: [yamux()],
      services: { identify: identify(), relay: circuitRelayServer() }
    })
    const address = String(relay.getMultiaddrs()[0])
    // A peer announces its own listeners on this machine too, which would need no punch: only punch ports are used.
    const start = (direct: PromiseWithResolvers<Connection>, ports: Set<string>) =>
      startPeer(address, {
        isUsable: candidate => {
          const [host, port] = candidate.getComponents()
          return host?.code === CODE_IP4 && !ports.has(port?.value ?? '')
        },
        onDirect: (_, connection) => direct.resolve(connection)
      })
    const [atA, atB] = [Promise.withResolvers<Connection>(), Promise.withResolvers<Connection>()]
    const listeners = new Set<string>()
    const [a, b] = [await start(atA, listeners), await start(atB, listeners)]
    try {
      for (const peer of [a, b]) {
        for (const own of peer.getMultiaddrs()) {
          const [, port, quic] = own.getComponents()
          if (quic?.name === 'quic-v1' && port?.value !== undefined) listeners.add(port.value)
        }
      }
      const relayed = await dialThrough(a, address, b.peerId.toString())
      assert.equal(relayed.direct, false)
      for (const connection of await Promise.all([atA.promise, atB.promise])) {
        assert.equal(connection.direct, true)
        assert.match(connection.remoteAddr.toString(), /\/tcp\/\d+\/p2p\//)
      }
    } finally {
      await Promise.all([a.stop(), b.stop(), relay.stop()])
    }
  })

  it('fits on a page', async () => {
    const text = await readFile(new URL('./punch.ts', import.meta.url), 'utf8')
    assert.ok(text.trimEnd().split('\n').length < MAX_LINES)
  })
})
