import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { GENEROUS_LIMITS } from './limits.ts'
import { eventually, startPeer, startRelay } from './testing.ts'

/** To a port; what comes in first is never answered, as when a dial left from an address that is gone. */
async function startDoor(toPort: number): Promise<{ port: number; came: () => number } & AsyncDisposable> {
  const sockets = new Set<Socket>()
  let came = 0
  const server = createServer(inner => {
    sockets.add(inner.on('error', () => undefined))
    if (++came === 1) return
    const outer = connect(toPort, '127.0.0.1').on('error', () => undefined)
    sockets.add(outer)
    inner.pipe(outer).pipe(inner)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    came: () => came,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    }
  }
}

describe('anchors', function () {
  this.timeout(30_000)

  it('are dialled anew when the network changes under a dial', async () => {
    let addresses = ['127.0.0.1']
    await using relay = await startRelay()
    await using door = await startDoor(relay.port)
    const through = relay.address.replace(/\/tcp\/\d+/, `/tcp/${door.port}`)
    const limits = { ...GENEROUS_LIMITS, addressDialTimeoutMs: 20_000, dialTimeoutMs: 20_000 }
    await using peer = await startPeer({ listen: [], relays: [through], readInterfaces: () => addresses, limits })
    await eventually(() => door.came() === 1, 'dialled')
    addresses = ['127.0.0.1', '127.0.0.2']
    // Sooner than the first dial ends by itself.
    await eventually(() => peer.network.anchors().every(({ reserved }) => reserved), 'reserved', 10_000)
    assert.equal(door.came(), 2)
  })
})
