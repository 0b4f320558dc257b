import assert from 'node:assert/strict'
import { createHeard } from './heard.ts'

describe('what was heard', () => {
  it('never holds more bytes than its list may have, however it changes', () => {
    const heard = createHeard<string>({ maxCount: 100, maxBytes: 60 })
    const list = () => JSON.stringify([...heard.entries()].map(([, { announcement }]) => announcement))
    const byteLength = () => Buffer.byteLength(list()) - 1
    heard.keep('a', 'x'.repeat(20))
    heard.keep('b', 'é'.repeat(10))
    assert.equal(heard.bytes, byteLength())
    assert.equal(heard.fits('c', 'x'.repeat(20)), false)
    heard.keep('c', 'x'.repeat(20))
    assert.equal(heard.get('c'), undefined)
    // In place of its older one there is room.
    heard.keep('a', 'x'.repeat(30))
    assert.equal(heard.get('a')?.announcement.length, 30)
    assert.equal(heard.bytes, byteLength())
    heard.forget('b')
    heard.forget('b')
    heard.keep('c', 'x'.repeat(20))
    assert.equal(heard.bytes, byteLength())
    assert.ok(byteLength() <= 60)
  })

  it('never holds more than its number', () => {
    const heard = createHeard<string>({ maxCount: 2, maxBytes: 1000 })
    for (const id of ['a', 'b', 'c']) heard.keep(id, id)
    heard.keep('a', 'again')
    assert.deepEqual([...heard.entries()].map(([id, { announcement }]) => [id, announcement]).sort(), [
      ['a', 'again'],
      ['b', 'b']
    ])
  })
})
