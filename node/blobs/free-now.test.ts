import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { freeNow } from './free-now.ts'

describe('memory given back at once', () => {
  it('is that of a whole buffer, which is empty then', () => {
    const bytes = new Uint8Array(1000)
    freeNow(bytes)
    assert.deepEqual([bytes.length, bytes.buffer.byteLength], [0, 0])
  })

  it('is not that of a part, for others have the rest', () => {
    const whole = randomBytes(100_000)
    const copy = Buffer.from(whole)
    for (const part of [whole.subarray(0, 99_999), whole.subarray(1), Buffer.from('pooled by Node')]) freeNow(part)
    assert.ok(whole.equals(copy))
  })
})
