import { deepEqual, equal, match } from 'node:assert/strict'
import { type Cell, type CellRow, rowOf } from './cells.ts'
import { figureChecks, medianLimitMs } from './figures.ts'

const cell: Cell = { a: 'full-cone', b: 'port-restricted', transport: 'quic', stack: 'warren' }
const row = (times: number[], attempts = 1, more: Partial<Cell> = {}): CellRow =>
  rowOf(
    { ...cell, ...more },
    null,
    times.map(directMs => ({ directMs, attempts, relayBytesAfter: 0, failures: [] }))
  )
const times = (ms: number, count = 20): number[] => Array.from({ length: count }, () => ms)

describe('the figures', () => {
  it('are round trips through the relay, which crosses a link four times', () => {
    equal(medianLimitMs('quic', 15), 340)
    equal(medianLimitMs('tcp', 50), 1400)
  })

  it('hold where medians and first attempts are as promised', () => {
    deepEqual(
      figureChecks([row(times(300)), row(times(400), 1, { transport: 'tcp' })], 15).map(({ holds }) => holds),
      [true, true, true]
    )
  })

  it('do not hold for a slow median, a slow tail or second attempts', () => {
    const [slow] = figureChecks([row(times(341))], 15)
    equal(slow?.holds, false)
    match(slow?.detail ?? '', /full-cone × port-restricted: 341/)
    equal(figureChecks([row([...times(300, 18), 700, 700])], 15)[0]?.holds, false)
    equal(figureChecks([row(times(300), 2)], 15)[1]?.holds, false)
  })

  it('give hard pairs 10 s in all', () => {
    deepEqual(
      [9999, 10_001].map(ms => figureChecks([row(times(ms), 1, { a: 'symmetric' })], 15).map(({ holds }) => holds)),
      [[true], [false]]
    )
  })

  it('are not asked of few runs', () => deepEqual(figureChecks([row(times(9999, 19))], 15), []))
})
