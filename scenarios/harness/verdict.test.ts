import assert from 'node:assert/strict'
import { exitCodeOf, worst } from './verdict.ts'

describe('verdicts', () => {
  it('take the worst: invalid, fail, unknown, pass', () => {
    assert.equal(worst(['pass', 'fail', 'invalid', 'unknown']), 'invalid')
    assert.equal(worst(['pass', 'unknown', 'fail']), 'fail')
    assert.equal(worst(['unknown', 'pass']), 'unknown')
    assert.equal(worst(['pass', 'pass']), 'pass')
  })

  it('never take a skip for a pass', () => {
    assert.equal(worst(['skip', 'pass']), 'pass')
    assert.equal(worst(['skip', 'skip']), 'skip')
    assert.equal(worst([]), 'skip')
  })

  it('have the exit codes of the design', () => {
    assert.deepEqual((['pass', 'fail', 'unknown', 'invalid', 'skip'] as const).map(exitCodeOf), [0, 1, 1, 2, 3])
  })
})
