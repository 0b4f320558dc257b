import { deepEqual, match } from 'node:assert/strict'
import fc from 'fast-check'
import { LINK_PRESET_NAMES } from './link-presets.ts'
import { readLink } from './links.ts'
import type { Link } from './topology.ts'
import type { Problem } from './validate.ts'
import { validateLink } from './validate-link.ts'

function problemsOf(link: unknown): Problem[] {
  const problems: Problem[] = []
  validateLink(link as Link, 'link', (path, code, message, severity) =>
    problems.push({ path, code, message, ...(severity === undefined ? {} : { severity }) })
  )
  return problems
}
const codesOf = (link: unknown): string[] => problemsOf(link).map(({ path, code }) => `${path} ${code}`)

describe('validateLink', () => {
  for (const name of LINK_PRESET_NAMES) {
    it(`has nothing against ${name}, whole or with changes`, () => {
      deepEqual(problemsOf(name), [])
      deepEqual(
        problemsOf({ preset: name, rateKbit: 1000 }).filter(each => each.severity === undefined),
        []
      )
      deepEqual(problemsOf({ preset: name, up: { lossPct: 7 }, peers: { '11.0.0.0/24': {} } }), [])
    })
  }

  const cases: Array<[what: string, link: unknown, expected: string[], fix: RegExp]> = [
    ['text where a number belongs', { delayMs: '50' }, ['link.delayMs NOT_A_NUMBER'], /write delayMs: 50$/],
    ['a unit in the value', { delayMs: '0.2s' }, ['link.delayMs NOT_A_NUMBER'], /write delayMs: 200$/],
    ['another unit', { rateKbit: '5mbit' }, ['link.rateKbit NOT_A_NUMBER'], /write rateKbit: 5000$/],
    ['a word without its unit', { delay: 50 }, ['link.delay UNIT_MISSING'], /write delayMs: 50/],
    ['an unknown word', { speed: 50 }, ['link.speed UNKNOWN_KEY'], /the words are delayMs/],
    ['an unknown preset', 'mobile-5g', ['link UNKNOWN_PRESET'], /mobile-4g/],
    ['an unknown preset with changes', { preset: 'x' }, ['link.preset UNKNOWN_PRESET'], /wifi-bad/],
    ['loss over everything', { lossPct: 101 }, ['link.lossPct OUT_OF_RANGE'], /from 0 to 100/],
    ['less than a packet a second', { rateKbit: 12 }, ['link.rateKbit RATE_UNDER_ONE_PACKET'], /at least 13/],
    ['bursts of nothing', { lossBurst: 4 }, ['link.lossBurst BURST_WITHOUT_LOSS'], /lossPct/],
    ['bursts too short', { lossPct: 75, lossBurst: 2 }, ['link.lossBurst BURST_TOO_SHORT'], /at least 3$/],
    [
      'a distribution of nothing',
      { delayMs: 5, distribution: 'normal' },
      ['link.distribution DISTRIBUTION_WITHOUT_JITTER'],
      /jitterMs/
    ],
    [
      'an unknown distribution',
      { distribution: 'flat' },
      ['link.distribution UNKNOWN_DISTRIBUTION', 'link.distribution DISTRIBUTION_WITHOUT_JITTER'],
      /paretonormal/
    ],
    ['nothing that could be overtaken', { reorderPct: 5 }, ['link.reorderPct REORDER_WITHOUT_DELAY'], /delayMs/],
    ['jitter over delay', { delayMs: 1, jitterMs: 2 }, ['link.jitterMs JITTER_OVER_DELAY'], /raise delayMs/],
    ['half a packet', { limitPackets: 1.5 }, ['link.limitPackets OUT_OF_RANGE'], /whole/],
    ['a peer that is no subnet', { peers: { '11.0.0.0': {} } }, ['link.peers.11.0.0.0 BAD_SUBNET'], /11\.0\.0\.0\/24/],
    [
      'peers of peers',
      { peers: { '11.0.0.0/8': { peers: {} } } },
      ['link.peers.11.0.0.0/8.peers UNKNOWN_KEY'],
      /none of their own/
    ],
    ['a direction beside words', { up: {}, delayMs: 3 }, ['link.delayMs UNKNOWN_KEY'], /into up or down/],
    [
      'what changes make of a preset',
      { preset: 'lan', jitterMs: 5 },
      ['link.jitterMs JITTER_OVER_DELAY'],
      /raise delayMs/
    ]
  ]
  for (const [what, link, expected, fix] of cases) {
    it(`reports ${what}, and what to write`, () => {
      deepEqual(codesOf(link), expected)
      match(problemsOf(link)[0]!.message, fix)
    })
  }

  it('warns of a limit too small for rate × delay with the number that fits', () => {
    const [warning, ...others] = problemsOf({ delayMs: 100, rateKbit: 100_000, limitPackets: 100 })
    deepEqual(others, [])
    deepEqual([warning!.severity, warning!.code], ['warning', 'LIMIT_TOO_SMALL'])
    match(warning!.message, /less than the 826 .* 2890 fit$/)
    deepEqual(problemsOf({ delayMs: 100, rateKbit: 100_000, limitPackets: 826 }), [])
  })

  it('throws at nothing a file can hold', () => {
    fc.assert(
      fc.property(fc.jsonValue(), link => {
        problemsOf(link)
        problemsOf({ preset: 'wifi', up: link, peers: { '10.0.0.0/8': link } })
        problemsOf({ preset: link, peers: link })
      })
    )
  })
})

describe('readLink', () => {
  it('fills presets in, with words of them changed in both directions or one', () => {
    deepEqual(readLink('lan').up, { delayMs: 0.2, rateKbit: 1_000_000 })
    deepEqual(readLink({ preset: 'lan', delayMs: 3 }).down, { delayMs: 3, rateKbit: 1_000_000 })
    deepEqual(readLink({ preset: 'lan', down: { delayMs: 3 } }), {
      up: { delayMs: 0.2, rateKbit: 1_000_000 },
      down: { delayMs: 3, rateKbit: 1_000_000 }
    })
  })

  it('puts the longest prefix first, and gives peers what is not said of them from the link itself', () => {
    const { peers } = readLink({
      up: { delayMs: 1 },
      down: { delayMs: 2 },
      peers: { '11.0.0.0/8': { up: { delayMs: 9 } }, '11.0.0.0/24': { down: {} }, '11.2.0.0/16': { lossPct: 1 } }
    })
    deepEqual(peers, [
      { prefix: '11.0.0.0/24', up: { delayMs: 1 }, down: null },
      { prefix: '11.2.0.0/16', up: { lossPct: 1 }, down: { lossPct: 1 } },
      { prefix: '11.0.0.0/8', up: { delayMs: 9 }, down: { delayMs: 2 } }
    ])
  })

  it('is perfect where words only say how', () => {
    deepEqual(readLink({ limitPackets: 5, distribution: 'normal', lossBurst: 2 }), { up: null, down: null })
  })
})
