import assert from 'node:assert/strict'
import { answerError } from './answers.ts'

describe('an error that is answered', () => {
  it('is read no further than it can be one, however much comes', async () => {
    let given = 0
    let ended = false
    const body = new ReadableStream({
      pull(controller) {
        given += 1
        controller.enqueue(new Uint8Array(16 * 1024).fill(0x61))
        if (given === 1000) controller.close()
      },
      cancel() {
        ended = true
      }
    })
    const error = await answerError(new Response(body, { status: 500 }))
    assert.deepEqual([error.status, error.code, ended], [500, 'HTTP_500', true])
    assert.ok(given < 10, `${given} pieces were read`)
    assert.equal(error.message.startsWith('aaa'), true)
  })
})
