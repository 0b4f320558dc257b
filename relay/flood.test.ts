import assert from 'node:assert/strict'
import { broken, flood } from './flood.ts'

const SECONDS = 6

describe('a relay that is flooded', function () {
  this.timeout(90_000)

  it(`answers at least 99 % of honest peers for ${SECONDS} s, and its memory comes back`, async () => {
    const told: string[] = []
    const report = await flood({ seconds: SECONDS, log: text => told.push(text) })
    const { probes, refused, attempts } = report
    assert.deepEqual(broken(report), [], told.join('; '))
    assert.ok(probes.asked >= 20, `only ${probes.asked} probes were asked`)
    for (const [kind, count] of Object.entries(attempts)) assert.ok(count > 0, `no ${kind} were tried`)
    assert.ok(Object.keys(refused).length > 0, 'nothing was refused')
  })

  it('breaks its word where it answers fewer, or keeps more memory', () => {
    const kept = {
      seconds: 1,
      attempts: {},
      probes: { asked: 100, answered: 99, failures: {}, p99Ms: 1 },
      memoryMib: { before: 100, peak: 300, after: 163 },
      refused: {}
    }
    assert.deepEqual(broken(kept), [])
    assert.equal(broken({ ...kept, memoryMib: { before: 100, peak: 300, after: 164 } }).length, 1)
    assert.equal(broken({ ...kept, probes: { ...kept.probes, answered: 98 } }).length, 1)
  })
})
