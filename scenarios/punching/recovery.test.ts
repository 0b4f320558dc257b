import { deepEqual, equal } from 'node:assert/strict'
import type { StreamedRequest } from './peer.types.ts'
import { recoveryOf } from './recovery.ts'

const request = (beganAtMs: number, tookMs: number | null, isDirect: boolean, problem?: string): StreamedRequest => ({
  beganAtMs,
  answeredAtMs: tookMs === null ? null : beganAtMs + tookMs,
  isDirect,
  ...(problem === undefined ? {} : { problem })
})

describe('recovery from an event', () => {
  it('is from the end of the act to the first answer, and to the first direct one that stays direct', () => {
    const seen = recoveryOf(
      [
        request(0, 10, true),
        request(90, 500, false),
        request(110, 700, false),
        request(210, 50, true),
        request(310, 60, false),
        request(1200, 20, true),
        request(1300, 20, true)
      ],
      100
    )
    deepEqual([seen.requests, seen.lost, seen.toTrafficMs, seen.toDirectMs], [7, 0, 160, 1120])
  })

  it('counts what was begun before and lost by the act', () => {
    const seen = recoveryOf([request(90, null, false, 'cut'), request(110, 5, true)], 100)
    deepEqual([seen.lost, seen.problems], [1, { cut: 1 }])
    equal(seen.toDirectMs, 15)
  })

  it('is none where nothing came back, or only by the relay', () => {
    equal(recoveryOf([request(0, 1, true), request(110, null, false)], 100).toTrafficMs, null)
    deepEqual(recoveryOf([request(110, 20, false)], 100).toDirectMs, null)
  })
})
