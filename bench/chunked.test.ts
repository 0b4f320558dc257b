import assert from 'node:assert/strict'
import { createChunkedCount } from './chunked.ts'

const BODY = '5\r\nhello\r\n10;name=value\r\n0123456789abcdef\r\n0\r\nX-Stream-Error: none\r\n\r\n'

describe('counting a body in chunks', () => {
  it('counts the bytes of the chunks alone, however the pieces are cut', () => {
    for (let size = 1; size <= BODY.length; size += 1) {
      const count = createChunkedCount()
      for (let at = 0; at < BODY.length; at += size) {
        assert.equal(count.isWhole(), false)
        assert.ok(count.take(Buffer.from(BODY.slice(at, at + size))))
      }
      assert.equal(count.bodyBytes(), 21)
      assert.equal(count.isWhole(), true)
    }
  })

  it('has a whole body that is empty', () => {
    const count = createChunkedCount()
    assert.ok(count.take(Buffer.from('0\r\n\r\n')))
    assert.equal(count.bodyBytes(), 0)
    assert.equal(count.isWhole(), true)
  })

  it('refuses what is no size, a line without end, and bytes after the body', () => {
    assert.equal(createChunkedCount().take(Buffer.from('hello\r\n')), false)
    assert.equal(createChunkedCount().take(Buffer.from('\r\n')), false)
    assert.equal(createChunkedCount().take(Buffer.alloc(10_000, '0')), false)
    assert.equal(createChunkedCount().take(Buffer.from('0\r\n\r\n0')), false)
  })
})
