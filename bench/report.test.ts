import assert from 'node:assert/strict'
import { markdownOf, median, row } from './report.ts'

describe('a bench row', () => {
  it('is judged by its ratio to the floor of the same run', () => {
    assert.equal(row({ what: 'up', value: 30, unit: 's', floor: 20, better: 'lower', target: 2 }).met, true)
    assert.equal(row({ what: 'up', value: 41, unit: 's', floor: 20, better: 'lower', target: 2 }).met, false)
    assert.equal(row({ what: 'rate', value: 40, unit: '/s', floor: 100, better: 'higher', target: 0.5 }).met, false)
  })

  it('is judged by its value where there is no floor, and not at all without a target', () => {
    assert.equal(row({ what: 'up', value: 12, unit: 's', better: 'lower', target: 15 }).met, true)
    assert.equal(row({ what: 'up', value: 12, unit: 's', better: 'lower' }).met, null)
  })

  it('takes the middle of what was measured', () => {
    assert.equal(median([3, 1, 2]), 2)
    assert.equal(median([4, 1, 2, 3]), 2.5)
    assert.throws(() => median([]), RangeError)
  })

  it('is told with its verdict on a page, with what was skipped', () => {
    const rows = [row({ what: 'a|b', value: 1, unit: 's', floor: 4, better: 'lower', target: 0.5 })]
    const page = markdownOf('put', rows, ['against nginx: not installed'])
    assert.match(
      page,
      /^# put\n\n\| what .*\n.*---.*\n\| a\\\|b \| 1\.00 s \| 4\.00 s \| 0\.250 \| 0\.500 \| {2}\| met \|\n/
    )
    assert.match(page, /Skipped: against nginx: not installed\./)
  })
})
