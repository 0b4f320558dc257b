import { deepEqual, equal, ok } from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { DISTRIBUTIONS, jitterQuantile } from './jitter.ts'
import { binomialInterval, judgeStream, LINK_CASES, STRICT, streamOf } from './link-cases.ts'
import type { StreamSeen } from './link-probe.ts'
import { WORDS } from './validate-link.ts'

/** Where Debian's iproute2 keeps netem's tables. */
const TABLES = ['/usr/lib/tc', '/usr/share/tc', '/usr/lib/x86_64-linux-gnu/tc', '/usr/lib/aarch64-linux-gnu/tc']
const TABLE_SCALE = 8192

const perfect = (sent: number, changes: Partial<StreamSeen> = {}): StreamSeen => ({
  sent,
  received: sent,
  duplicates: 0,
  early: 0,
  reordered: 0,
  lossRuns: 0,
  delayMs: { min: 0.05, p5: 0.05, p25: 0.06, p50: 0.07, p75: 0.08, p95: 0.1, max: 1, mean: 0.08 },
  rateKbit: 100_000,
  checksumErrors: 0,
  notRead: 0,
  ...changes
})
const caseOf = (name: string) => LINK_CASES.find(each => each.name === name)!
const verdicts = (name: string, changes: Partial<StreamSeen>) => {
  const each = caseOf(name)
  const figures = judgeStream(each.impairment, perfect(each.packets, changes), streamOf(each, 'up'), STRICT)
  return Object.fromEntries(figures.map(({ what, ok }) => [what, ok]))
}

describe('the table of link cases', () => {
  it('has every word of an impairment', () => {
    const used = new Set(LINK_CASES.flatMap(({ impairment }) => Object.keys(impairment)))
    deepEqual(
      WORDS.filter(word => !used.has(word)),
      []
    )
  })

  for (const each of LINK_CASES) {
    it(`does not take a perfect link for one with ${each.name}`, () => {
      const figures = judgeStream(each.impairment, perfect(each.packets), streamOf(each, 'up'), STRICT)
      ok(figures.length > 0, 'nothing is judged')
      ok(
        figures.some(figure => !figure.ok),
        JSON.stringify(figures)
      )
    })
  }

  it('takes what was asked for right, and half a millisecond more for wrong', () => {
    const at = (p50: number) => ({ delayMs: { ...perfect(1).delayMs!, min: p50, p50 } })
    deepEqual(verdicts('delay 50 ms', at(50.4)), { delay: true })
    deepEqual(verdicts('delay 50 ms', at(50.6)), { delay: false })
    deepEqual(verdicts('delay 50 ms', { delayMs: null }), { delay: false })
    deepEqual(verdicts('loss 5 %', { received: 19_000, lossRuns: 950 }), { loss: true })
    deepEqual(verdicts('loss 5 %', { received: 18_800, lossRuns: 950 }), { loss: false })
    deepEqual(verdicts('loss 5 % in bursts of 4', { received: 19_000, lossRuns: 250 }), { loss: true, lossBurst: true })
    deepEqual(verdicts('loss 5 % in bursts of 4', { received: 19_000, lossRuns: 950 }), {
      loss: true,
      lossBurst: false
    })
    deepEqual(verdicts('duplicate 10 %', { duplicates: 810 }), { duplicate: true })
    deepEqual(verdicts('corrupt 10 %', { received: 7200 }), { corrupt: true })
    deepEqual(verdicts('rate 10 Mbit/s', { rateKbit: 9600 }), { rate: true })
    deepEqual(verdicts('rate 10 Mbit/s', { rateKbit: 9400 }), { rate: false })
    deepEqual(verdicts('limit 20 packets', { received: 21, rateKbit: 1000 }), { limit: true, rate: true })
  })
})

describe('binomialInterval', () => {
  it('is where all but one in ten thousand fall', () => {
    const [low, high] = binomialInterval(20_000, 0.05, 1e-4)
    // 1000 ± 3.89 deviations of 30.8.
    ok(low >= 878 && low <= 884 && high >= 1117 && high <= 1124, `${low} to ${high}`)
    deepEqual(binomialInterval(10, 0, 1e-4), [0, 0])
    deepEqual(binomialInterval(10, 1, 1e-4), [10, 10])
    deepEqual(binomialInterval(4, 0.5, 1e-4), [0, 4])
  })
})

describe('jitterQuantile', () => {
  it('spreads uniform jitter from one end to the other', () => {
    equal(jitterQuantile('uniform', 0), -1)
    equal(jitterQuantile('uniform', 0.75), 0.5)
  })

  it("is the curve of iproute2's own tables", function () {
    const folder = TABLES.find(path => existsSync(`${path}/normal.dist`))
    if (folder === undefined) this.skip()
    for (const name of DISTRIBUTIONS.filter(each => each !== 'uniform')) {
      const text = readFileSync(`${folder}/${name}.dist`, 'utf8').replaceAll(/^#.*$/gm, '')
      const table = text.trim().split(/\s+/).map(Number)
      table.sort((a, b) => a - b)
      for (const share of [0.02, 0.05, 0.25, 0.5, 0.75, 0.95, 0.98]) {
        const theirs = table[Math.floor(share * table.length)]! / TABLE_SCALE
        ok(Math.abs(jitterQuantile(name, share) - theirs) < 0.02, `${name} at ${share}: ${theirs}`)
      }
    }
  })
})
