import assert from 'node:assert/strict'
import fc from 'fast-check'
import { ByteQueue, encodeVarint } from './bytes.ts'
import { replayable, skip } from './sources.ts'

async function* chunksOf(bytes: Uint8Array, sizes: readonly number[]) {
  let at = 0
  for (let i = 0; at < bytes.byteLength; i++) {
    const size = sizes[i % sizes.length] ?? 1
    yield bytes.subarray(at, at + size)
    at += size
  }
}

async function collect(source: AsyncIterable<Uint8Array>, most = Number.POSITIVE_INFINITY): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of source) {
    chunks.push(chunk)
    size += chunk.byteLength
    if (size >= most) break
  }
  return Buffer.concat(chunks)
}

const bytes = fc.uint8Array({ minLength: 1, maxLength: 300 })
const sizes = fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 5 })

describe('sources that go on from an offset', () => {
  it('skip the first bytes, whatever the chunks', () =>
    fc.assert(
      fc.asyncProperty(bytes, sizes, fc.nat(320), async (all, parts, offset) => {
        assert.deepEqual(await collect(skip(chunksOf(all, parts), offset)), Buffer.from(all.subarray(offset)))
      })
    ))

  it('replay what lies within the window after a cut anywhere', () =>
    fc.assert(
      fc.asyncProperty(bytes, sizes, fc.nat(300), fc.nat(300), async (all, parts, cut, back) => {
        const replay = replayable(chunksOf(all, parts), 1000)
        const before = await collect(replay.openAt(0), cut + 1)
        const from = Math.min(back, before.byteLength)
        assert.deepEqual(await collect(replay.openAt(from)), Buffer.from(all.subarray(from)))
        assert.ok(replay.whole())
      })
    ))

  it('keep no more than the window, and say when the bytes are gone', async () => {
    const all = Buffer.alloc(100, 'abcdefghij')
    const replay = replayable(chunksOf(all, [10]), 30)
    await collect(replay.openAt(0))
    assert.equal(replay.whole(), false)
    assert.deepEqual(await collect(replay.openAt(70)), all.subarray(70))
    await assert.rejects(collect(replay.openAt(50)), RangeError)
  })
})

describe('bytes that arrived', () => {
  it('give back every varint and refuse one that is too long', () =>
    fc.assert(
      fc.property(fc.nat(2 ** 28 - 1), fc.boolean(), (value, split) => {
        const queue = new ByteQueue()
        const encoded = encodeVarint(value)
        if (split) for (const byte of encoded) queue.push(Uint8Array.of(byte))
        else queue.push(encoded)
        queue.push(Buffer.from('rest'))
        assert.equal(queue.takeVarint(4), value)
        assert.equal(queue.takeText(4), 'rest')
        assert.equal(queue.byteLength, 0)
      })
    ))

  it('wait for the rest of a varint', () => {
    const queue = new ByteQueue()
    queue.push(Uint8Array.of(0x80))
    assert.equal(queue.takeVarint(4), null)
    queue.push(Uint8Array.of(0x80, 0x80, 0x80))
    assert.equal(queue.takeVarint(4), 'invalid')
  })
})
