import { equal, ok } from 'node:assert/strict'
import { multiaddr } from '@multiformats/multiaddr'
import type { OpenRequest } from './peer.types.ts'
import { createLabPeer, type LabPeer } from './peer-stack.ts'
import { clockMs } from './watch.ts'

const request = (more: Partial<OpenRequest>): OpenRequest => ({
  id: 'test',
  stack: 'stock',
  transports: ['tcp'],
  family: 4,
  role: 'peer',
  relays: [],
  withinMs: 10_000,
  ...more
})

describe('a peer of the punching lab', function () {
  this.timeout(30_000)
  const running: LabPeer[] = []

  async function start(more: Partial<OpenRequest>): Promise<LabPeer> {
    const peer = await createLabPeer(request(more))
    running.push(peer)
    await peer.start()
    return peer
  }

  async function ready(peer: LabPeer): Promise<LabPeer> {
    const deadline = clockMs() + 10_000
    while (!peer.isReady()) {
      ok(clockMs() < deadline, 'it has no relay')
      await new Promise(resolve => setTimeout(resolve, 10))
    }
    return peer
  }

  afterEach(async () => {
    await Promise.all(running.splice(0).map(async peer => await peer.stop()))
  })

  it('of stock js-libp2p reserves, is met through the relay, and sees bytes come through it and no direct way', async () => {
    const relay = await start({ role: 'relay' })
    const relays = relay.libp2p
      .getMultiaddrs()
      .map(String)
      .filter(address => address.includes('/127.0.0.1/'))
    const [a, b] = [await ready(await start({ relays })), await ready(await start({ relays }))]
    const circuit = b.libp2p.getMultiaddrs().find(address => String(address).includes('/p2p-circuit'))!
    await a.libp2p.dial(multiaddr(String(circuit)))

    const peerId = b.libp2p.peerId.toString()
    const [seen] = a.watch.of(peerId)
    equal(seen?.isDirect, false)
    ok(seen!.openAtMs <= clockMs())
    const deadline = clockMs() + 10_000
    while (a.watch.relayedBytes(peerId) === 0) {
      ok(clockMs() < deadline, 'no byte was seen')
      await new Promise(resolve => setTimeout(resolve, 10))
    }
    a.watch.mark()
    equal(seen!.bytesSinceMark, 0)
    equal(await a.watch.direct(peerId, AbortSignal.abort()), false)
  })

  it('of the product answers requests with bytes that both can compute', async () => {
    const { patternHash, patternName } = await import('./peer-warren.ts')
    const server = await start({ stack: 'warren' })
    const asking = await start({ stack: 'warren' })
    const bytes = 200_000
    await asking.libp2p.dial(server.libp2p.getMultiaddrs())
    const { createHash } = await import('node:crypto')
    const hash = createHash('sha256')
    const answer = await asking.network!.retrieve(server.libp2p.peerId.toString(), patternName(bytes), {
      signal: AbortSignal.timeout(10_000)
    })
    for await (const chunk of answer.bytes) hash.update(chunk)
    equal(hash.digest('hex'), patternHash(bytes))
    equal(asking.watch.of(server.libp2p.peerId.toString())[0]?.isDirect, true)
  })
})
