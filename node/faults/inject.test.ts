import assert from 'node:assert/strict'
import { heldAll, injectFaults } from './inject.ts'
import { CALLS, whyNot } from './injection.ts'

// The long form is a command: node node/faults/inject.ts (7 calls, 3 faults, the first 20 of each).
const NTHS = [2]

describe('system calls that fail', function () {
  this.timeout(120_000)

  for (const packed of [false, true]) {
    const where = packed ? ', with small blobs in packs' : ''
    it(`never lead to an acknowledgement, nor to a lost or wrong blob${where}`, async function () {
      const why = await whyNot()
      if (why !== null) {
        process.stdout.write(`      skipped: ${why}\n`)
        this.skip()
      }
      const report = await injectFaults({ nths: NTHS, faults: ['EIO', 'kill'], packed })
      assert.equal(report.runs, Object.keys(CALLS).length * NTHS.length * 2)
      assert.ok(heldAll(report), JSON.stringify(report))
      assert.deepEqual(Object.keys(report.hitsByCall).sort(), Object.keys(CALLS).sort(), 'every call was met')
      assert.ok(report.refused > 0)
    })
  }
})
