import assert from 'node:assert/strict'
import { flipBits, healedAll } from './flips.ts'

// The long form is a command: node node/faults/flips.ts --flips 1000.
const FLIPS = 40

describe('the verdict on flipped bits', () => {
  const good = {
    ...{ flips: 8, blobs: 4, reads: 6, wrongReads: 0, scrubbed: 4, found: 4, foundByScrub: 3, whole: 4, touched: 0 },
    seconds: 1
  }

  it('is good only where every promise was kept', () => {
    assert.equal(healedAll(good), true)
    for (const bad of [{ wrongReads: 1 }, { found: 3 }, { whole: 3 }, { touched: 1 }]) {
      assert.equal(healedAll({ ...good, ...bad }), false, JSON.stringify(bad))
    }
  })

  it('is never good of nothing: no flip, no read, no scrub', () => {
    for (const none of [{ flips: 0 }, { reads: 0 }, { scrubbed: 0, found: 0 }, { blobs: 0, whole: 0 }]) {
      assert.equal(healedAll({ ...good, ...none }), false, JSON.stringify(none))
    }
  })
})

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
