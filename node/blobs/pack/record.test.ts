import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { cidOfDigest, digestOfCid } from '../cid.ts'
import { cidWith, digestIn } from './cid-key.ts'
import { deletionOf, draftBytes, type RecordDraft, readHeader, recordAt, writeRecord } from './record.ts'

const blob = (sequence: number, bytes = 100): RecordDraft => ({
  kind: 'blob',
  digest: randomBytes(32),
  sequence,
  storedAtMs: 1_700_000_000_000 + sequence,
  meta: Buffer.from('{"cid":"…"}\n'),
  data: randomBytes(bytes)
})

function written(draft: RecordDraft, pack = 7): Buffer {
  const bytes = Buffer.alloc(draftBytes(draft))
  assert.equal(writeRecord(bytes, 0, pack, draft), bytes.length)
  return bytes
}

describe('records of a pack', () => {
  it('read as they were written', () => {
    for (const draft of [blob(1), blob(2 ** 40, 70_000), deletionOf(randomBytes(32), 3, 1_700_000_000_000)]) {
      const bytes = written(draft)
      const found = recordAt(bytes, 0, 7)
      assert.ok(typeof found === 'object')
      assert.equal(found.bytes, bytes.length)
      const { kind, sequence, storedAtMs, metaBytes, dataBytes, digest } = found.record
      assert.deepEqual([kind, sequence, storedAtMs], [draft.kind, draft.sequence, draft.storedAtMs])
      assert.deepEqual([metaBytes, dataBytes], [draft.meta.length, draft.data.length])
      assert.deepEqual(Buffer.from(digest), Buffer.from(draft.digest))
    }
  })

  it('are none with any byte missing at the end, any bit changed, or in another pack', () => {
    const bytes = written(blob(5))
    for (let length = 0; length < bytes.length; length += 1) {
      assert.equal(recordAt(bytes.subarray(0, length), 0, 7), 'short', `${length} bytes`)
    }
    for (let bit = 0; bit < bytes.length * 8; bit += 1) {
      const changed = Buffer.from(bytes)
      changed[bit >> 3]! ^= 1 << (bit & 7)
      assert.equal(recordAt(changed, 0, 7), 'none', `bit ${bit}`)
    }
    assert.equal(recordAt(bytes, 0, 8), 'none')
    assert.equal(readHeader(Buffer.alloc(64), 0, 7), null)
  })

  it('name CIDs as cid.ts does, and no text that is not canonical', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), digest => {
        const cid = cidWith(digest)
        assert.equal(cid, cidOfDigest(digest))
        assert.deepEqual(Buffer.from(digestIn(cid)!), Buffer.from(digestOfCid(cid)))
      })
    )
    const cid = cidWith(randomBytes(32))
    const last = cid.at(-1) === 'a' ? 'b' : String.fromCharCode(cid.charCodeAt(58) + 1)
    for (const text of ['', cid.slice(1), `${cid}a`, cid.toUpperCase(), `z${cid.slice(1)}`, cid.slice(0, -1) + last]) {
      assert.equal(digestIn(text), null, text)
    }
    assert.equal(digestIn(`bafkrei${cid.slice(7)}`), null, 'another codec')
    assert.equal(digestIn(`${cid.slice(0, 10)}é${cid.slice(11)}`), null)
  })
})
