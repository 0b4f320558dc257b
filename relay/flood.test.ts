import assert from 'node:assert/strict'
import { flood } from './flood.ts'

const SECONDS = 6
/** What a relay may have grown by when the flood is over. */
const MAX_GROWN_MIB = 64

describe('a relay that is flooded', function () {
  this.timeout(90_000)

  it(`answers at least 99 % of honest peers for ${SECONDS} s, and its memory comes back`, async () => {
    const told: string[] = []
    const { probes, memoryMib, refused, attempts } = await flood({ seconds: SECONDS, log: text => told.push(text) })
    assert.ok(probes.answered >= 0.99 * probes.asked, `${probes.answered} of ${probes.asked}: ${told.join('; ')}`)
    assert.ok(probes.asked >= 20, `only ${probes.asked} probes were asked`)
    assert.ok(memoryMib.after - memoryMib.before < MAX_GROWN_MIB, JSON.stringify(memoryMib))
    for (const [kind, count] of Object.entries(attempts)) assert.ok(count > 0, `no ${kind} were tried`)
    assert.ok(Object.keys(refused).length > 0, 'nothing was refused')
  })
})
