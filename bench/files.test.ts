import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { firstFile, numbered } from './files.ts'

const BLOCK_BYTES = 256 * 1024

describe('the files of a comparison', () => {
  it('are the same for the same seed, number and size, in whatever order they are made', () => {
    const once = numbered(firstFile('a', BLOCK_BYTES), 7)
    const again = numbered(numbered(numbered(firstFile('a', BLOCK_BYTES), 1), 300), 7)
    assert.deepEqual(once, again)
    assert.notDeepEqual(once, numbered(firstFile('b', BLOCK_BYTES), 7))
  })

  it('have no block in common, so that no store has one already', () => {
    const blocks = new Set<string>()
    for (const index of [0, 1, 256, 65_536]) {
      const file = numbered(firstFile('a', 4 * BLOCK_BYTES), index)
      for (let at = 0; at < file.length; at += BLOCK_BYTES) {
        blocks.add(hash('sha256', file.subarray(at, at + BLOCK_BYTES)))
      }
    }
    assert.equal(blocks.size, 16)
  })
})
