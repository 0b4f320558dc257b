import assert from 'node:assert/strict'
import { parseRange } from './range.ts'

describe('range', () => {
  it('reads one range of bytes', () => {
    const table: Array<[string | undefined, unknown]> = [
      [undefined, null],
      ['bytes=0-0', { offset: 0, length: 1 }],
      ['bytes=10-19', { offset: 10, length: 10 }],
      ['bytes=10-', { offset: 10, length: 90 }],
      ['bytes=-10', { offset: 90, length: 10 }],
      ['bytes=-1000', { offset: 0, length: 100 }],
      ['bytes=90-1000', { offset: 90, length: 10 }],
      ['bytes=100-', 'unsatisfiable'],
      ['bytes=-0', 'unsatisfiable'],
      ['bytes=5-4', null],
      ['bytes=-', null],
      ['bytes=0-1,5-6', null],
      ['lines=0-1', null],
      ['bytes=a-b', null]
    ]
    for (const [header, expected] of table) assert.deepEqual(parseRange(header, 100), expected, header)
  })
})
