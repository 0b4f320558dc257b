import assert from 'node:assert/strict'
import { isRefusal, MAX_REFUSED, retryMs } from './socket-errors.ts'

const errorOf = (code: string) => Object.assign(new Error(code), { code })

describe('the tries of a punch over TCP', () => {
  it('at a port that refuses are soon after each other, and at an end before long', () => {
    for (const code of ['ECONNREFUSED', 'ECONNRESET', 'EHOSTUNREACH']) {
      const gapsMs = Array.from({ length: MAX_REFUSED }, () => retryMs(errorOf(code))!)
      assert.ok(
        gapsMs.every(gapMs => gapMs >= 20 && gapMs <= 80),
        `${gapsMs}`
      )
      assert.ok(isRefusal(errorOf(code)))
    }
  })

  it('go on while an older connection holds the port, because nothing is sent', () => {
    assert.equal(retryMs(errorOf('EADDRNOTAVAIL')), retryMs(errorOf('EADDRINUSE')))
    assert.ok(!isRefusal(errorOf('EADDRNOTAVAIL')) && !isRefusal(errorOf('EADDRINUSE')))
    assert.equal(retryMs(errorOf('EACCES')), undefined)
  })
})
