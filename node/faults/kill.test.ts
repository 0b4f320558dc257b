import assert from 'node:assert/strict'
import { keptAll, killWriters } from './kill.ts'

// The long form is a command: node node/faults/kill.ts --kills 1000.
const KILLS = 8

describe('kill -9 at random moments', function () {
  this.timeout(60_000)

  for (const packed of [false, true]) {
    const where = packed ? ', with small blobs in packs' : ''
    it(`loses no acknowledged blob and no pin, keeps deletions, serves nothing torn, leaves nothing in tmp/${where}`, async () => {
      const report = await killWriters({ kills: KILLS, packed })
      assert.equal(report.kills, KILLS)
      assert.ok(report.acknowledged > 0)
      assert.ok(keptAll(report), JSON.stringify(report))
    })
  }
})
