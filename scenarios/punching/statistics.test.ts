import { deepEqual, equal } from 'node:assert/strict'
import { exactInterval, quantile } from './statistics.ts'

describe('the exact interval', () => {
  it('is the published one', () => {
    deepEqual(exactInterval(50, 50), [0.929, 1])
    deepEqual(exactInterval(0, 50), [0, 0.071])
    deepEqual(exactInterval(3, 3), [0.292, 1])
    deepEqual(exactInterval(5, 10), [0.187, 0.813])
    deepEqual(exactInterval(1, 2), [0.013, 0.987])
  })

  it('says nothing of no runs', () => deepEqual(exactInterval(0, 0), [0, 1]))
})

describe('quantiles', () => {
  it('are values that were measured', () => {
    equal(quantile([30, 10, 20], 0.5), 20)
    equal(quantile([10, 20], 0.5), 10)
    equal(quantile([10, 20, 30], 0.95), 30)
    equal(quantile([7], 0), 7)
  })

  it('of nothing are nothing', () => equal(quantile([], 0.5), null))
})
