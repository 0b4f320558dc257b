/** Peers that misbehave, over real connections: each is answered or cut in bounded time, and the node goes on. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import type { Stream } from '@libp2p/interface'
import { CHUNK_BYTES, frameReader, MAX_HEADER_BYTES, sendHeader } from './frames.ts'
import { DEFAULT_LIMITS, GENEROUS_LIMITS } from './limits.ts'
import { PROTOCOLS } from './protocols.ts'
import { eventually, memoryHandlers, startPeer, type TestPeer } from './testing.ts'

const MIB = 1024 * 1024
const TIMINGS = { headerTimeoutMs: 300, idleTimeoutMs: 500, resumeWaitMs: 300, replyTimeoutMs: 5000 }
const PATIENT = { idleTimeoutMs: 20_000 }

describe('a node among hostile peers', function () {
  this.timeout(60_000)
  let node: TestPeer
  let peer: TestPeer

  before(async () => {
    node = await startPeer({ timings: TIMINGS })
    peer = await startPeer()
    await peer.node.libp2p.dial(node.node.libp2p.getMultiaddrs())
  })
  after(() => Promise.all([node, peer].map(each => each[Symbol.asyncDispose]())))

  const open = (protocol: string): Promise<Stream> => peer.node.libp2p.dialProtocol(node.node.libp2p.peerId, protocol)
  const healthy = async () => assert.equal((await peer.network.health(node.network.self)).status, 'healthy')

  const prefixed = (text: string) => Buffer.concat([Buffer.from([text.length]), Buffer.from(text)])
  const malformed: Array<[string, Uint8Array]> = [
    ['an empty header', Buffer.from([0])],
    ['no JSON', prefixed('hello')],
    ['an array', prefixed('[1]')],
    ['null', prefixed('null')],
    ['a varint without end', Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff])],
    ['a header over the limit', Buffer.concat([Buffer.from([0x81, 0x40]), Buffer.alloc(MAX_HEADER_BYTES + 1, 0x20)])],
    ['a length of 200 MiB and nothing more', Buffer.from([0x80, 0x80, 0x80, 0x64])],
    ['wrong fields', prefixed('{"cid":7}')],
    ['a negative offset', prefixed('{"cid":"x","offset":-1}')],
    ['a fraction', prefixed('{"cid":"x","length":0.5}')]
  ]
  for (const protocol of [PROTOCOLS.retrieve, PROTOCOLS.store, PROTOCOLS.replicate]) {
    it(`answers malformed headers of ${protocol} with PROTOCOL_VIOLATION`, async () => {
      for (const [what, bytes] of malformed) {
        const stream = await open(protocol)
        const reader = frameReader(stream)
        stream.send(bytes)
        const answer = (await reader.header(PATIENT)) as { error: { code: string; status: number } }
        assert.equal(answer.error?.code, 'PROTOCOL_VIOLATION', what)
        assert.equal(answer.error?.status, 400, what)
        stream.abort(new Error('done'))
      }
      await healthy()
    })
  }

  it('cuts a peer that opens a stream and says nothing', async () => {
    const stream = await open(PROTOCOLS.store)
    const answer = await frameReader(stream).header(PATIENT)
    assert.equal((answer as { error: { code: string } }).error.code, 'PEER_TIMEOUT')
    await eventually(() => stream.remoteWriteStatus === 'closed', 'closed')
    stream.abort(new Error('done'))
    await eventually(() => node.network.activeTransfers() === 0, 'nothing runs')
  })

  it('gives up an upload that stops in the middle, after waiting for its sender to come back', async () => {
    const stream = await open(PROTOCOLS.store)
    const reader = frameReader(stream)
    await sendHeader(stream, { sizeBytes: MIB, transfer: randomBytes(18).toString('base64url') }, PATIENT)
    stream.send(randomBytes(1000))
    await assert.rejects(reader.header(PATIENT), { code: 'TRANSFER_CUT' })
    stream.abort(new Error('done'))
    await eventually(() => node.network.activeTransfers() === 0, 'nothing runs')
    assert.equal(node.blobs.size, 0)
  })

  it('may not send more bytes than the blob it announces has', async () => {
    const length = 1000
    await using liar = await startPeer()
    await liar.node.libp2p.dial(node.node.libp2p.getMultiaddrs())
    await liar.node.libp2p.handle(
      PROTOCOLS.retrieve,
      async stream => {
        const reader = frameReader(stream)
        await reader.header(PATIENT)
        await sendHeader(stream, { sizeBytes: 10, mimeType: 'text/plain', offset: 0, length }, PATIENT)
        stream.send(randomBytes(length))
        await stream.close()
      },
      { force: true }
    )
    const begun = node.network.retrieve(liar.network.self, 'x', { signal: AbortSignal.timeout(20_000) })
    await assert.rejects(begun, { code: 'PROTOCOL_VIOLATION' })
  })

  it('does not let one peer go on with the upload of another', async () => {
    const transfer = randomBytes(18).toString('base64url')
    const stream = await open(PROTOCOLS.store)
    await sendHeader(stream, { sizeBytes: MIB, transfer }, PATIENT)
    stream.send(randomBytes(1000))
    await using other = await startPeer()
    await other.node.libp2p.dial(node.node.libp2p.getMultiaddrs())
    const theirs = await other.node.libp2p.dialProtocol(node.node.libp2p.peerId, PROTOCOLS.store)
    const reader = frameReader(theirs)
    await sendHeader(theirs, { sizeBytes: MIB, transfer, resume: true }, PATIENT)
    const answer = (await reader.header(PATIENT)) as { error: { code: string } }
    assert.equal(answer.error.code, 'TRANSFER_UNKNOWN')
    stream.abort(new Error('done'))
    theirs.abort(new Error('done'))
  })

  it('answers BUSY above its cap of requests, and serves again below it', async () => {
    await using small = await startPeer({
      limits: { ...GENEROUS_LIMITS, maxInboundTransfers: 2 },
      timings: { headerTimeoutMs: 30_000 }
    })
    await peer.node.libp2p.dial(small.node.libp2p.getMultiaddrs())
    const silent = await Promise.all(
      [1, 2].map(() => peer.node.libp2p.dialProtocol(small.node.libp2p.peerId, PROTOCOLS.retrieve))
    )
    await eventually(() => small.network.activeTransfers() === 2, 'two run')
    await assert.rejects(peer.network.health(small.network.self), { code: 'BUSY' })
    for (const stream of silent) stream.abort(new Error('done'))
    await eventually(() => small.network.activeTransfers() === 0, 'none runs')
    assert.equal((await peer.network.health(small.network.self)).status, 'healthy')
  })
})

describe('a reader who leaves before the answer', function () {
  this.timeout(60_000)

  it('lets go of the blob it asked for', async () => {
    const asked = Promise.withResolvers<void>()
    const gone = Promise.withResolvers<void>()
    let ended = false
    const bytes = {
      next: async () => ({ done: false as const, value: randomBytes(1) }),
      async return() {
        ended = true
        return { done: true as const, value: undefined }
      },
      [Symbol.asyncIterator]() {
        return this
      }
    }
    await using node = await startPeer({
      handlers: blobs => ({
        ...memoryHandlers(blobs),
        async get() {
          asked.resolve()
          await gone.promise
          return { sizeBytes: MIB, mimeType: '', bytes }
        }
      })
    })
    await using peer = await startPeer()
    await peer.node.libp2p.dial(node.node.libp2p.getMultiaddrs())
    const stream = await peer.node.libp2p.dialProtocol(node.node.libp2p.peerId, PROTOCOLS.retrieve)
    await sendHeader(stream, { cid: 'x' }, PATIENT)
    await asked.promise
    stream.abort(new Error('left'))
    const [connection] = node.node.libp2p.getConnections(peer.node.libp2p.peerId)
    const answering = () => connection?.streams.some(({ protocol }) => protocol === PROTOCOLS.retrieve)
    await eventually(() => !answering(), 'the stream is gone')
    gone.resolve()
    await eventually(() => ended, 'the blob was let go')
  })
})

describe('back-pressure', function () {
  this.timeout(60_000)

  /** A source that counts what was taken from it. */
  function counted(sizeBytes: number) {
    const chunk = randomBytes(CHUNK_BYTES)
    const state = { taken: 0 }
    const open = (offset = 0) =>
      (async function* () {
        for (let at = offset; at < sizeBytes; at += CHUNK_BYTES) {
          state.taken += CHUNK_BYTES
          yield chunk
        }
      })()
    return { state, open }
  }
  /** Windows (2 MiB at most), read buffers and what the sockets hold. */
  const IN_FLIGHT_BYTES = 12 * MIB
  const SIZE = 64 * MIB

  it('holds an upload back while the receiver does not read', async () => {
    const gate = Promise.withResolvers<void>()
    await using node = await startPeer({
      handlers: blobs => ({
        ...memoryHandlers(blobs),
        async put(source) {
          let sizeBytes = 0
          for await (const chunk of source) {
            if (sizeBytes === 0) await gate.promise
            sizeBytes += chunk.byteLength
          }
          return { cid: 'counted', sizeBytes }
        }
      })
    })
    await using peer = await startPeer()
    await peer.node.libp2p.dial(node.node.libp2p.getMultiaddrs())
    const { state, open } = counted(SIZE)
    const stored = peer.network.store(node.network.self, { sizeBytes: SIZE, open })
    await still(state)
    assert.ok(state.taken > 0 && state.taken < IN_FLIGHT_BYTES, `${state.taken} bytes left the source`)
    gate.resolve()
    assert.equal((await stored).sizeBytes, SIZE)
  })

  it('holds a download back while its reader does not read', async () => {
    const { state, open } = counted(SIZE)
    await using node = await startPeer({
      handlers: blobs => ({
        ...memoryHandlers(blobs),
        get: async (_cid, { offset = 0 }) => ({ sizeBytes: SIZE, mimeType: '', bytes: open(offset) })
      })
    })
    await using peer = await startPeer()
    await peer.node.libp2p.dial(node.node.libp2p.getMultiaddrs())
    const { bytes } = await peer.network.retrieve(node.network.self, 'x', { signal: new AbortController().signal })
    await still(state)
    assert.ok(state.taken < IN_FLIGHT_BYTES, `${state.taken} bytes left the source`)
    let got = 0
    for await (const chunk of bytes) got += chunk.byteLength
    assert.equal(got, SIZE)
  })

  /** Waits until nothing more is taken: ten looks in a row see the same. */
  async function still(state: { taken: number }): Promise<void> {
    let last = -1
    let same = 0
    await eventually(() => {
      same = state.taken === last && last > 0 ? same + 1 : 0
      last = state.taken
      return same >= 10
    }, 'the source stands still')
  }
})

describe('thirty peers behind one address', function () {
  const TIMEOUT_MS = 60_000
  this.timeout(2 * TIMEOUT_MS)

  // Thirty peers in one process on a busy machine are slow; numbers are what is tried here, not times.
  const PATIENT = {
    dialTimeoutMs: TIMEOUT_MS,
    addressDialTimeoutMs: TIMEOUT_MS,
    upgradeTimeoutMs: TIMEOUT_MS,
    negotiationTimeoutMs: TIMEOUT_MS
  }

  async function arrivals(limits: typeof GENEROUS_LIMITS): Promise<number> {
    await using node = await startPeer({ limits: { ...limits, ...PATIENT } })
    const patient = { limits: { ...GENEROUS_LIMITS, ...PATIENT } }
    const peers = await Promise.all(Array.from({ length: 30 }, () => startPeer(patient)))
    try {
      const addresses = node.node.libp2p.getMultiaddrs()
      const dials = await Promise.allSettled(peers.map(peer => peer.node.libp2p.dial(addresses)))
      return dials.filter(({ status }) => status === 'fulfilled').length
    } finally {
      await Promise.all(peers.map(peer => peer[Symbol.asyncDispose]()))
    }
  }

  it('all connect at once with the generous limits', async () => {
    assert.equal(await arrivals(GENEROUS_LIMITS), 30)
  })

  it('mostly do not with the defaults: the limit is really ours to set', async () => {
    assert.ok((await arrivals(DEFAULT_LIMITS)) < 30)
  })
})
