import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { Stream } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import { createNetworkNode, ephemeralIdentity, GENEROUS_LIMITS, type NetworkNode, silentLog } from '../node/index.ts'
import { type CircuitEnd, type Splice, type SpliceOptions, splice } from './splice.ts'
import { eventually } from './testing.ts'

const MIB = 1024 * 1024
const PROTOCOL = '/warren/test/splice/1.0.0'

describe('a splice', function () {
  this.timeout(60_000)
  const nodes: NetworkNode[] = []

  afterEach(async () => {
    await Promise.all(nodes.splice(0).map(node => node.stop()))
  })

  async function start(): Promise<NetworkNode> {
    const node = await createNetworkNode({
      role: 'relay',
      identity: await ephemeralIdentity(),
      listen: ['/ip4/127.0.0.1/tcp/0'],
      enableDht: false,
      dcutr: 'off',
      limits: GENEROUS_LIMITS,
      log: silentLog()
    })
    await node.start()
    nodes.push(node)
    return node
  }

  /** The two outer ends of streams through a third node, joined there. `far` gets no listener before it is given. */
  async function joined(options: Partial<SpliceOptions> = {}) {
    const [near, middle, far] = [await start(), await start(), await start()]
    const ended: CircuitEnd[] = []
    const carried: [number, number] = [0, 0]
    const inner: Stream[] = []
    let farEnd: Stream | undefined
    let spliced: Splice | undefined
    await far.libp2p.handle(PROTOCOL, stream => {
      farEnd = stream
    })
    const onward = await middle.libp2p.dial(far.libp2p.getMultiaddrs().map(String).map(multiaddr))
    await middle.libp2p.handle(PROTOCOL, async stream => {
      inner.push(stream, await onward.newStream(PROTOCOL))
      spliced = splice({
        ends: [inner[0]!, inner[1]!],
        maxBytes: 64 * MIB,
        durationMs: 60_000,
        stallMs: 60_000,
        signal: new AbortController().signal,
        onBytes(from, bytes) {
          carried[from] += bytes
          return 0
        },
        onEnd: why => ended.push(why),
        ...options
      })
    })
    const connection = await near.libp2p.dial(middle.libp2p.getMultiaddrs().map(String).map(multiaddr))
    const nearEnd = await connection.newStream(PROTOCOL)
    await eventually(() => farEnd && spliced, 'both ends are joined')
    return { near: nearEnd, far: farEnd!, inner, ended, carried, spliced: spliced! }
  }

  /** Hash of all that comes until the end. */
  async function hashOf(stream: Stream): Promise<string> {
    const hash = createHash('sha256')
    stream.addEventListener('message', ({ data }) => hash.update(data.subarray()))
    if (!stream.readableEnded) await once(stream, 'end')
    return hash.digest('hex')
  }

  async function send(stream: Stream, bytes: Uint8Array): Promise<string> {
    for (let at = 0; at < bytes.byteLength; at += 50_000) {
      stream.send(bytes.subarray(at, at + 50_000))
      while (stream.writableNeedsDrain) await once(stream, 'drain')
    }
    await stream.close()
    return createHash('sha256').update(bytes).digest('hex')
  }

  it('carries every byte both ways at once, in order, and ends when both ends did', async () => {
    const { near, far, ended, carried } = await joined()
    const sizes = [5 * MIB + 1, 3 * MIB + 7] as const
    const [atFar, atNear, fromNear, fromFar] = await Promise.all([
      hashOf(far),
      hashOf(near),
      send(near, randomBytes(sizes[0])),
      send(far, randomBytes(sizes[1]))
    ])
    assert.deepEqual([atFar, atNear], [fromNear, fromFar])
    await eventually(() => ended.length > 0, 'it ended')
    assert.deepEqual(ended, ['closed'])
    assert.deepEqual(carried, sizes)
  })

  it('carries every byte also when it is told to wait after each slice', async () => {
    const { near, far } = await joined({ onBytes: () => 1 })
    const [atFar, fromNear] = await Promise.all([hashOf(far), send(near, randomBytes(2 * MIB))])
    assert.equal(atFar, fromNear)
  })

  it('carries on after one side said all it had to', async () => {
    const { near, far, ended } = await joined()
    const [atFar, question] = await Promise.all([hashOf(far), send(near, Buffer.from('question'))])
    assert.equal(atFar, question)
    const [atNear, answer] = await Promise.all([hashOf(near), send(far, randomBytes(MIB))])
    assert.equal(atNear, answer)
    await eventually(() => ended.length > 0, 'it ended')
  })

  it('says that bytes wait as long as its sender is held to a rate, and no longer', async () => {
    const held = await joined({ onBytes: () => 60_000 })
    held.near.send(new Uint8Array(1000))
    await eventually(() => held.spliced.hasWaiting(), 'it is held back')
    const free = await joined({ onBytes: () => 1 })
    const came = once(free.far, 'message')
    free.near.send(new Uint8Array(1000))
    await came
    await eventually(() => !free.spliced.hasWaiting(), 'all went')
  })

  it('brings all that was sent before a goodbye, however slowly it may go on', async () => {
    const { near, far, ended } = await joined({ goodbyeMs: 20, onBytes: () => 40 })
    await near.close()
    const [atNear, answer] = await Promise.all([hashOf(near), send(far, randomBytes(MIB))])
    assert.equal(atNear, answer)
    await eventually(() => ended.length > 0, 'it ended')
    assert.deepEqual(ended, ['closed'])
  })

  it('takes no more than its windows from a sender whose far end does not read', async () => {
    const { near, far, inner, carried, ended, spliced } = await joined()
    assert.equal(spliced.hasWaiting(), false)
    far.pause()
    far.addEventListener('message', () => undefined)
    const block = new Uint8Array(64 * 1024)
    let sent = 0
    while (!near.writableNeedsDrain && sent < 64 * MIB) {
      near.send(block)
      sent += block.byteLength
      await new Promise(resolve => setImmediate(resolve))
    }
    assert.ok(sent < 16 * MIB, `${sent} bytes were taken`)
    await eventually(() => inner[0]!.readStatus === 'paused', 'the sender is held back')
    const held = inner[0]!.readBufferLength + inner[1]!.writeBufferLength
    assert.ok(held <= 2 * GENEROUS_LIMITS.maxWindowBytes, `${held} bytes are held`)
    assert.ok(carried[0] <= 8 * MIB)
    assert.equal(spliced.hasWaiting(), true)
    assert.deepEqual(ended, [])
  })

  it('cuts both ends when one takes nothing for too long', async () => {
    const { near, far, ended } = await joined({ stallMs: 200 })
    far.pause()
    far.addEventListener('message', () => undefined)
    const closed = once(near, 'close')
    const block = new Uint8Array(64 * 1024)
    while (near.status === 'open' && !near.writableNeedsDrain) {
      near.send(block)
      await new Promise(resolve => setImmediate(resolve))
    }
    await closed
    assert.deepEqual(ended, ['stalled'])
    await eventually(() => far.status !== 'open', 'the far end is cut')
  })

  it('cuts the other end when one is reset, and both when the relay stops', async () => {
    const first = await joined()
    first.far.abort(new Error('gone'))
    await eventually(() => first.near.status !== 'open', 'the near end is cut')
    assert.deepEqual(first.ended, ['lost'])
    const stopping = new AbortController()
    const second = await joined({ signal: stopping.signal })
    stopping.abort()
    await eventually(() => second.near.status !== 'open' && second.far.status !== 'open', 'both are cut')
    assert.deepEqual(second.ended, ['stopped'])
  })
})
