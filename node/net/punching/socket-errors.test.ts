import assert from 'node:assert/strict'
import { isRefusal, MAX_REFUSED, retryMs } from './socket-errors.ts'

const errorOf = (code: string) => Object.assign(new Error(code), { code })

describe('the tries of a punch over TCP', () => {
  it('at a port that refuses are few, the first soon after each other and the last far apart', () => {
    for (const code of ['ECONNREFUSED', 'ECONNRESET', 'EHOSTUNREACH']) {
      const gapsMs = Array.from({ length: MAX_REFUSED - 1 }, (_, at) => retryMs(errorOf(code), at + 1)!)
      assert.ok(
        gapsMs.slice(0, 7).every(gapMs => gapMs >= 20 && gapMs <= 60),
        `${gapsMs}`
      )
      assert.ok(gapsMs.at(-1)! >= 200 && gapsMs.at(-1)! <= 600, `${gapsMs}`)
      // Longer than the two sides begin apart, also over slow lines.
      assert.ok(gapsMs.reduce((sum, gapMs) => sum + gapMs, 0) > 800, `${gapsMs}`)
      assert.ok(isRefusal(errorOf(code)))
    }
  })

  it('go on while an older connection holds the port, because nothing is sent', () => {
    assert.equal(retryMs(errorOf('EADDRNOTAVAIL'), 0), retryMs(errorOf('EADDRINUSE'), 1000))
    assert.ok(!isRefusal(errorOf('EADDRNOTAVAIL')) && !isRefusal(errorOf('EADDRINUSE')))
    assert.equal(retryMs(errorOf('EACCES'), 0), undefined)
  })
})
