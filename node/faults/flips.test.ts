import assert from 'node:assert/strict'
import { flipBits, healedAll } from './flips.ts'

// The long form is a command: node node/faults/flips.ts --flips 1000.
const FLIPS = 40

describe('flipped bits over three replicas', function () {
  this.timeout(120_000)

  for (const packed of [false, true]) {
    const where = packed ? 'in packs' : 'in folders'
    it(`are all found; every read is right; three good copies come back and no good one is deleted: ${where}`, async () => {
      const report = await flipBits({ flips: FLIPS, packed })
      assert.equal(report.flips, FLIPS)
      assert.ok(healedAll(report), JSON.stringify(report))
    })
  }
})
