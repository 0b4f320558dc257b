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

  it('never holds by a figure, or a floor, that was not measured', () => {
    const figure = { what: 'x', unit: 's', target: 2 }
    for (const nothing of [0, Number.NaN, Number.POSITIVE_INFINITY]) {
      assert.equal(row({ ...figure, value: nothing, better: 'lower' }).met, false, `${nothing} for the figure`)
      for (const better of ['lower', 'higher'] as const) {
        for (const value of [1, 1000]) {
          assert.equal(row({ ...figure, value, floor: nothing, better }).met, false, `${value} to ${nothing}`)
        }
      }
    }
    assert.equal(row({ ...figure, value: Number.POSITIVE_INFINITY, better: 'higher' }).met, false)
    assert.equal(row({ what: 'x', unit: '', value: 0, better: 'higher', target: 0 }).met, true)
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
