import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import {
  type BlobMeta,
  chunkCount,
  deriveSealSecrets,
  metaText,
  newBlobKey,
  openChunk,
  openMeta,
  plainSize,
  SEAL_CHUNK_BYTES,
  SEAL_TAG_BYTES,
  SealBrokenError,
  sealChunk,
  sealedSize,
  sealMeta
} from './seal.ts'

const cid = 'bafybeihykld7uyxzogax6vgyvag42y7464eywpf55gxi5qpoisibh3c5wa'
const secrets = deriveSealSecrets(Buffer.alloc(32, 9))

describe('seal', () => {
  it('opens what it sealed, cut in any way', () => {
    const key = newBlobKey()
    const plain = randomBytes(1000)
    const sealed = Buffer.concat(
      sealChunk(key, 3, true, [plain.subarray(0, 1), plain.subarray(1, 17), plain.subarray(17)])
    )
    assert.equal(sealed.length, plain.length + SEAL_TAG_BYTES)
    assert.ok(openChunk(key, 3, true, sealed).equals(plain))
    assert.equal(sealed.includes(plain.subarray(0, 16)), false)
  })

  it('refuses a chunk with anything changed, giving nothing out', () => {
    const key = newBlobKey()
    const plain = randomBytes(300)
    const good = Buffer.concat(sealChunk(key, 5, false, [plain]))
    const flipped = (at: number) => {
      const copy = Buffer.from(good)
      copy[at]! ^= 1
      return copy
    }
    const table: Array<[string, () => unknown]> = [
      ['first byte of the body', () => openChunk(key, 5, false, flipped(0))],
      ['last byte of the body', () => openChunk(key, 5, false, flipped(299))],
      ['first byte of the tag', () => openChunk(key, 5, false, flipped(300))],
      ['last byte of the tag', () => openChunk(key, 5, false, flipped(315))],
      ['another place', () => openChunk(key, 4, false, good)],
      ['called the last', () => openChunk(key, 5, true, good)],
      ['cut short', () => openChunk(key, 5, false, good.subarray(0, 200))],
      ['shorter than a tag', () => openChunk(key, 5, false, good.subarray(0, 15))],
      ['empty', () => openChunk(key, 5, false, Buffer.alloc(0))],
      ['a byte more', () => openChunk(key, 5, false, Buffer.concat([good, Buffer.from([0])]))],
      ['another key', () => openChunk(newBlobKey(), 5, false, good)]
    ]
    for (const [name, open] of table) assert.throws(open, SealBrokenError, name)
    assert.ok(openChunk(key, 5, false, good).equals(plain))
  })

  it('refuses metadata with any field changed', () => {
    const key = newBlobKey()
    const meta = sealMeta(secrets, key, { cid, sizeBytes: 11, mimeType: 'text/plain', createdAtMs: 1 })
    assert.ok(openMeta(secrets, cid, metaText(meta)).key.equals(key))
    const wrapped = Buffer.from(meta.wrappedKey, 'base64')
    const wrappedWith = (at: number) => {
      const copy = Buffer.from(wrapped)
      copy[at]! ^= 1
      return copy.toString('base64')
    }
    const changes: Partial<BlobMeta>[] = [
      { version: 2 },
      { cid: 'bafybeifjihox6xexu6jvcnvckwxmbj7ww2kr76tyovmrv2kwezcjzw76zi' },
      { sizeBytes: 12 },
      { mimeType: 'text/html' },
      { createdAtMs: 2 },
      { chunkBytes: 65536 },
      { wrappedKey: wrappedWith(0) },
      { wrappedKey: wrappedWith(20) },
      { wrappedKey: wrappedWith(59) },
      { wrappedKey: '' },
      { mac: Buffer.alloc(32).toString('base64') },
      { mac: '' }
    ]
    for (const change of changes) {
      assert.throws(
        () => openMeta(secrets, cid, metaText({ ...meta, ...change })),
        SealBrokenError,
        `${Object.keys(change)}`
      )
    }
    for (const text of ['', 'null', '[]', '{}', '{"version":1}', metaText(meta).slice(0, -3)]) {
      assert.throws(() => openMeta(secrets, cid, text), SealBrokenError, text)
    }
    assert.throws(() => openMeta(deriveSealSecrets(Buffer.alloc(32, 8)), cid, metaText(meta)), SealBrokenError)
  })

  it('does not take the key of one blob for another', () => {
    const other = 'bafybeifjihox6xexu6jvcnvckwxmbj7ww2kr76tyovmrv2kwezcjzw76zi'
    const facts = { sizeBytes: 11, mimeType: 'text/plain', createdAtMs: 1 }
    const a = sealMeta(secrets, newBlobKey(), { cid, ...facts })
    const b = sealMeta(secrets, newBlobKey(), { cid: other, ...facts })
    assert.throws(() => openMeta(secrets, cid, metaText({ ...a, wrappedKey: b.wrappedKey })), SealBrokenError)
    assert.throws(() => openMeta(secrets, cid, metaText(b)), SealBrokenError)
  })

  it('knows sizes both ways', () => {
    for (const size of [
      1,
      SEAL_CHUNK_BYTES - 1,
      SEAL_CHUNK_BYTES,
      SEAL_CHUNK_BYTES + 1,
      5 * SEAL_CHUNK_BYTES,
      123456789
    ]) {
      assert.equal(plainSize(sealedSize(size)), size)
    }
    assert.equal(chunkCount(SEAL_CHUNK_BYTES + 1), 2)
    for (const sealed of [0, 1, 16, SEAL_CHUNK_BYTES + 16 + 16]) assert.equal(plainSize(sealed), null)
  })
})
