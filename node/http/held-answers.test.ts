import assert from 'node:assert/strict'
import { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import { SPAN_MAX_BYTES } from '../blobs/sealed-span.ts'
import { createHeldAnswers } from './held-answers.ts'
import type { Answer } from './request.ts'

function answer(): Answer & { end: () => void } {
  const req = new IncomingMessage(new Socket())
  const res = new ServerResponse(req)
  return { req, res, end: () => res.emit('close') }
}

describe('memory for answers held whole', () => {
  it('is given until it is all taken, and again when answers are over', () => {
    const held = createHeldAnswers(2 * SPAN_MAX_BYTES)
    const [first, second] = [held.take(), held.take()]
    assert.deepEqual([first.bytes, second.bytes, held.take().bytes], [SPAN_MAX_BYTES, SPAN_MAX_BYTES, 0])
    const one = answer()
    first.keep(one, SPAN_MAX_BYTES)
    first.release()
    second.release()
    second.release()
    assert.equal(held.bytes, SPAN_MAX_BYTES)
    one.end()
    assert.equal(held.bytes, 0)
  })

  it('is no more than an answer has', () => {
    const held = createHeldAnswers(SPAN_MAX_BYTES + 10)
    const small = answer()
    held.take().keep(small, 10)
    assert.equal(held.bytes, 10)
    assert.equal(held.take().bytes, SPAN_MAX_BYTES)
    small.end()
    assert.equal(held.bytes, SPAN_MAX_BYTES)
  })

  it('is not taken by an answer that is over already', () => {
    const held = createHeldAnswers()
    const gone = answer()
    gone.req.socket.destroy()
    held.take().keep(gone, 1000)
    assert.equal(held.bytes, 0)
  })
})
