import assert from 'node:assert/strict'
import { keptAll, killWriters } from './kill.ts'

// The long form is a command: node node/faults/kill.ts --kills 1000.
const KILLS = 8

describe('kill -9 at random moments', function () {
  this.timeout(60_000)

  it('loses no acknowledged blob and no pin, serves nothing torn, leaves nothing in tmp/', async () => {
    const report = await killWriters({ kills: KILLS })
    assert.equal(report.kills, KILLS)
    assert.ok(report.acknowledged > 0)
    assert.ok(keptAll(report), JSON.stringify(report))
  })
})
