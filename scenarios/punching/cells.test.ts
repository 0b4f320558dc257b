import { deepEqual, equal, match } from 'node:assert/strict'
import { type Cell, controlDiffers, gridCellOf, rowOf } from './cells.ts'
import { type RunResult, timeToDirect } from './run.ts'

const cell: Cell = { a: 'full-cone', b: 'port-restricted', transport: 'quic', stack: 'warren' }
const direct = (ms: number, more: Partial<RunResult> = {}): RunResult => ({
  directMs: ms,
  attempts: 1,
  relayBytesAfter: 0,
  failures: [],
  ...more
})
const never: RunResult = { directMs: null, attempts: 3, relayBytesAfter: 0, failures: ['PUNCH_TIMEOUT'] }

describe('a cell of the grid', () => {
  it('tells runs, interval, times and first attempts', () => {
    const row = rowOf(cell, { path: 'direct' }, [direct(300), direct(100), direct(200, { attempts: 2 })])
    equal(row.wrong, null)
    deepEqual([row.runs, row.successes, row.ci, row.p50Ms, row.p95Ms], [3, 3, [0.292, 1], 200, 300])
    deepEqual([row.attempts, row.firstAttempt, row.control, row.observed], [4, 2, 'direct', 'direct'])
  })

  it('is wrong when a run fails that should not, and names the cause', () => {
    const row = rowOf(cell, { path: 'direct' }, [direct(100), never])
    match(row.wrong ?? '', /1 of 2/)
    deepEqual(row.failures, { PUNCH_TIMEOUT: 1 })
    match(gridCellOf(row).why, /PUNCH_TIMEOUT/)
  })

  it('is wrong when bytes cross the relay after the upgrade', () => {
    match(rowOf(cell, null, [direct(100, { relayBytesAfter: 7 })]).wrong ?? '', /7 bytes/)
  })

  it('counts a run with a problem of its own as failed, whatever it came to', () => {
    equal(rowOf(cell, null, [direct(100, { problem: 'otherwise' })]).successes, 0)
  })

  it('shows a known failure as such', () => {
    const stock: Cell = { a: 'full-cone', b: 'full-cone', transport: 'tcp', stack: 'stock' }
    const shown = gridCellOf(rowOf(stock, null, [{ ...never, attempts: null }]))
    deepEqual([shown.ok, shown.isKnownFailure, shown.shown], [true, true, '–'])
  })

  it('holds the control puncher against reason', () => {
    equal(controlDiffers(cell, { path: 'direct' }), null)
    match(controlDiffers(cell, { path: 'none', problem: 'late' }) ?? '', /none instead of direct \(late\)/)
  })
})

describe('the time to direct', () => {
  const side = (relayedAt: number | null, directAt: number | null) => ({
    connections: [
      ...(relayedAt === null ? [] : [{ ...seen, isDirect: false, openAtMs: relayedAt }]),
      ...(directAt === null ? [] : [{ ...seen, isDirect: true, openAtMs: directAt }])
    ],
    attempts: null,
    failures: []
  })
  const seen = { address: '', closedAtMs: null, bytesSinceMark: 0 }

  it('is from the dialler’s relayed connection to the later of both direct ones', () => {
    equal(timeToDirect(side(100, 250), side(90, 300)), 200)
    equal(timeToDirect(side(100, 350), side(90, 300)), 250)
  })

  it('is none unless both are direct', () => {
    equal(timeToDirect(side(100, 250), side(90, null)), null)
    equal(timeToDirect(side(null, 250), side(90, 300)), null)
  })
})
