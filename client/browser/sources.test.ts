import assert from 'node:assert/strict'
import { cidOf } from '../../node/index.ts'
import { BlobAlteredError } from '../errors.ts'
import { hashed } from './sources.ts'

describe('what a page stores', () => {
  const parts = [Buffer.from('the beginning, '), Buffer.from('and the end')] as const
  const all = Buffer.concat(parts)
  async function* source() {
    yield* parts
  }
  const named = async (bytes: Uint8Array) => ({ cid: await cidOf([bytes]), sizeBytes: bytes.length, peerId: 'peer' })

  it('is not stored before all of it was sent, even where the node names what it had by then', async () => {
    for (const sizeHint of [null, all.length]) {
      const { pieces, check } = hashed(source(), sizeHint, 1000)
      const first = (await pieces.next()).value as Buffer
      const early = await named(first)
      assert.throws(() => check(early), BlobAlteredError)
    }
  })

  it('is what the node names, once all was sent, whether or not its end was seen', async () => {
    const right = await named(all)
    const ended = hashed(source(), null, 1000)
    assert.deepEqual(Buffer.concat(await Array.fromAsync(ended.pieces)), all)
    ended.check(right)
    for (const wrong of [{ cid: (await named(parts[0])).cid }, { sizeBytes: 1 }]) {
      assert.throws(() => ended.check({ ...right, ...wrong }), BlobAlteredError)
    }
    const counted = hashed(source(), all.length, 1000)
    for (const _part of parts) await counted.pieces.next()
    counted.check(right)
  })
})
