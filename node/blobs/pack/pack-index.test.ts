import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { keyOf } from './cid-key.ts'
import { type Packed, PackIndex } from './pack-index.ts'

const BYTES_EACH_MAX = 84

const digest = (number: number) => createHash('sha256').update(String(number)).digest()
const packed = (number: number): Packed => ({
  pack: 1 + (number % 9),
  offset: number * 3,
  metaBytes: 350,
  sizeBytes: number % 65_000,
  sequence: number + 1,
  storedAtMs: 1_700_000_000_000
})

describe('index of packed blobs', () => {
  it('answers as a Map does, whatever is put in and taken out', () => {
    const step = fc.record({ put: fc.boolean(), number: fc.integer({ min: 0, max: 60 }) })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 400 }), steps => {
        const index = new PackIndex()
        const map = new Map<string, Packed>()
        for (const [at, { put, number }] of steps.entries()) {
          const value = packed(at)
          if (put) index.set(digest(number), value)
          else assert.equal(index.delete(digest(number)), map.has(keyOf(digest(number))))
          if (put) map.set(keyOf(digest(number)), value)
          else map.delete(keyOf(digest(number)))
        }
        assert.equal(index.size, map.size)
        assert.deepEqual(new Map([...index].map(([key, value]) => [keyOf(key), value])), map)
        for (let number = 0; number <= 60; number += 1) {
          assert.deepEqual(index.get(digest(number)), map.get(keyOf(digest(number))) ?? null)
        }
      })
    )
  })

  it('finds each of many, through every growth, and holds no more memory than it says', () => {
    const index = new PackIndex()
    const count = 50_000
    for (let number = 0; number < count; number += 1) index.set(digest(number), packed(number))
    for (let number = 0; number < count; number += 2) assert.ok(index.delete(digest(number)))
    for (let number = 0; number < count; number += 1) assert.equal(index.has(digest(number)), number % 2 === 1)
    for (let number = 0; number < count; number += 2) index.set(digest(number), packed(number))
    assert.equal(index.size, count)
    assert.deepEqual(index.get(digest(count - 1)), packed(count - 1))
    assert.ok(index.memoryBytes < count * BYTES_EACH_MAX, `${index.memoryBytes / count} bytes each`)
  })

  it('may be changed while it is gone through', () => {
    const index = new PackIndex()
    for (let number = 0; number < 5000; number += 1) index.set(digest(number), packed(number))
    let seen = 0
    for (const [key] of index) {
      seen += 1
      if (seen % 2 === 0) index.delete(Uint8Array.from(key))
      if (seen === 100) for (let number = 5000; number < 9000; number += 1) index.set(digest(number), packed(number))
    }
    assert.ok(seen >= 5000)
  })
})
