import { equal } from 'node:assert/strict'
import { mostAtOnce } from './spans.ts'

const span = (who: string, fromMs: number, toMs: number) => ({ who, fromMs, toMs })

describe('spans', () => {
  it('overlap or follow one another', () => {
    equal(mostAtOnce([]), 0)
    equal(mostAtOnce([span('a', 0, 1), span('b', 1, 2), span('c', 2, 3)]), 1)
    equal(mostAtOnce([span('a', 0, 9), span('b', 1, 3), span('c', 2, 4), span('d', 5, 6)]), 3)
  })

  it('of one peer count once', () => {
    equal(mostAtOnce([span('a', 0, 9), span('a', 0, 8), span('b', 3, 4)]), 2)
  })
})
