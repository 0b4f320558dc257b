import { deepEqual } from 'node:assert/strict'
import { errorOf } from './protocols.ts'

describe('an error told by a peer', () => {
  it('has no line break and no escape: it cannot forge a line of our log', () => {
    const told = {
      error: { code: 'BUSY', message: 'no\n{"level":30,"msg":"all is well"}\u001b[2K\u0085!', status: 503 }
    }
    deepEqual(errorOf(told), { ...told.error, message: 'no {"level":30,"msg":"all is well"} [2K !' })
  })
})
