import assert from 'node:assert/strict'
import { cidOf, PeerRefusedError, TransferCutError } from '../../node/index.ts'
import { NoNodeError } from '../errors.ts'
import { createStorage, type StorageNetwork } from '../storage.ts'
import { createReading } from './reading.ts'

const SIZE_BYTES = 1000
const blob = Uint8Array.from({ length: SIZE_BYTES }, (_, n) => n)
const wrong = blob.map(byte => byte ^ 1)

interface Behaviour {
  bytes: Uint8Array
  /** How many bytes each of its answers has before it is cut, Infinity for all; past these it gives all. */
  cutsAfter?: number[]
}

/** Nodes by name, asked in this order. */
async function readingOf(nodes: Record<string, Behaviour>) {
  const asked: string[] = []
  const ended: string[] = []
  const network: StorageNetwork = {
    self: 'self',
    members: () => Object.keys(nodes).map(peerId => ({ peerId, reachable: peerId === Object.keys(nodes)[0] })),
    connections: () => [],
    store: () => assert.fail(),
    async retrieve(peerId, _cid, { offset = 0 }) {
      const { bytes, cutsAfter } = nodes[peerId]!
      asked.push(peerId)
      if (offset > bytes.byteLength) throw new PeerRefusedError(peerId, 'RANGE_INVALID', 416, 'it ends before')
      const cut = cutsAfter?.shift() ?? Number.POSITIVE_INFINITY
      async function* pieces() {
        yield bytes.subarray(offset, offset + cut)
        if (cut < Number.POSITIVE_INFINITY) throw new TransferCutError('it was cut')
      }
      const begun = pieces()
      const end = async () => {
        ended.push(peerId)
        return await begun.return()
      }
      const read = { next: () => begun.next(), return: end }
      return { sizeBytes: bytes.byteLength, mimeType: '', bytes: { [Symbol.asyncIterator]: () => read } }
    }
  }
  const cid = await cidOf([blob])
  const reading = createReading(createStorage({ network, wait: async () => {} }))
  const whole = async () => (await reading.whole(cid, SIZE_BYTES * 4, new AbortController().signal)).bytes
  const begin = () => reading.begin(cid, SIZE_BYTES * 4, new AbortController().signal)
  return { asked, whole, begin, cid, ended }
}

describe('a whole blob from nodes that may lie', () => {
  for (const [what, says] of [
    ['more', new Uint8Array(SIZE_BYTES * 2)],
    ['fewer', new Uint8Array(10)]
  ] as const) {
    it(`comes from the first when it was cut and a second says ${what} bytes`, async () => {
      const { asked, whole } = await readingOf({ honest: { bytes: blob, cutsAfter: [300] }, liar: { bytes: says } })
      assert.deepEqual(await whole(), blob)
      assert.equal(asked[0], 'honest')
      assert.ok(asked.includes('liar'))
    })
  }

  it('comes from the second when the first is the one that lies of the size and cuts', async () => {
    const liar = { bytes: new Uint8Array(SIZE_BYTES * 2), cutsAfter: [300, 300, 300, 300] }
    const { asked, whole } = await readingOf({ liar, honest: { bytes: blob } })
    assert.deepEqual(await whole(), blob)
    assert.equal(asked[0], 'liar')
  })

  it('comes from either of two that gave wrong bytes between them', async () => {
    const honestFirst = await readingOf({ honest: { bytes: blob, cutsAfter: [300] }, liar: { bytes: wrong } })
    assert.deepEqual(await honestFirst.whole(), blob)
    const liarFirst = await readingOf({ liar: { bytes: wrong, cutsAfter: [300, 300] }, honest: { bytes: blob } })
    assert.deepEqual(await liarFirst.whole(), blob)
  })

  it('names as liars only those that gave wrong bytes alone, never one that went on for them', async () => {
    // The honest one never gives a whole alone: it is cut.
    const cuts = Array<number>(20).fill(300)
    for (const nodes of [
      { honest: { bytes: blob, cutsAfter: [...cuts] }, liar: { bytes: wrong } },
      {
        liar: { bytes: wrong, cutsAfter: [300] },
        honest: { bytes: blob, cutsAfter: [Number.POSITIVE_INFINITY, ...cuts] }
      }
    ]) {
      const { whole, asked } = await readingOf(nodes)
      await assert.rejects(whole(), ({ code, message }: { code: string; message: string }) => {
        assert.equal(code, 'CID_MISMATCH')
        assert.ok(message.includes('liar') && !message.includes('honest'), message)
        return true
      })
      assert.ok(asked.includes('honest'))
    }
  })

  it('comes from another than one that says it is too large, whose answer is ended; too large by all it is refused', async () => {
    const large = { bytes: new Uint8Array(SIZE_BYTES * 5) }
    const { whole, begin, asked, ended } = await readingOf({ liar: large, honest: { bytes: blob } })
    assert.deepEqual(await whole(), blob)
    assert.deepEqual([asked, ended[0]], [['liar', 'honest'], 'liar'])
    assert.equal((await begin()).sizeBytes, SIZE_BYTES)
    const all = await readingOf({ one: large, other: large })
    for (const read of [all.whole, all.begin]) await assert.rejects(read(), { name: 'BlobTooLargeError' })
  })

  it('asks eight nodes that lie, and then no more', async () => {
    const nodes = Object.fromEntries(Array.from({ length: 12 }, (_, nth) => [`liar ${nth}`, { bytes: wrong }]))
    const { whole, asked } = await readingOf(nodes)
    await assert.rejects(whole(), { code: 'CID_MISMATCH' })
    assert.deepEqual([asked.length, new Set(asked).size], [8, 8])
  })

  it('is never more or fewer bytes than were said', async () => {
    for (const bytes of [0, SIZE_BYTES - 1, SIZE_BYTES + 1]) {
      const { cid } = await readingOf({})
      const source = (async function* () {
        yield new Uint8Array(bytes)
      })()
      const got = { sizeBytes: SIZE_BYTES, mimeType: '', bytes: source, from: () => ['one'] }
      const answers = [got]
      const reading = createReading({
        get: async () => answers.shift() ?? Promise.reject(new NoNodeError('none is left'))
      })
      const read = reading.whole(cid, SIZE_BYTES, new AbortController().signal)
      await assert.rejects(read, { code: 'PROTOCOL_VIOLATION' })
    }
  })

  it('names nobody where no node gave a whole alone', async () => {
    const cuts = () => Array<number>(20).fill(300)
    const { whole } = await readingOf({
      first: { bytes: wrong, cutsAfter: cuts() },
      second: { bytes: blob, cutsAfter: [Number.POSITIVE_INFINITY, ...cuts()] }
    })
    await assert.rejects(whole(), ({ code, message }: { code: string; message: string }) => {
      assert.equal(code, 'CID_MISMATCH')
      assert.ok(!/first|second/.test(message), message)
      return true
    })
  })
})
