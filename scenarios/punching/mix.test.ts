import { equal, ok } from 'node:assert/strict'
import { MIXES, type MixCell, type NatMix, weigh } from './mix.ts'

const mix: NatMix = { name: 'm', source: 's', assumed: 'a', shares: { 'full-cone': 0.8, symmetric: 0.2 } }
const cell = (a: string, b: string, successes: number, transport: 'tcp' | 'quic' = 'quic'): MixCell => ({
  a,
  b,
  transport,
  runs: 10,
  successes
})
const near = (value: number | null, wanted: number): void => ok(Math.abs((value ?? 9) - wanted) < 1e-9, `${value}`)

describe('the grid weighed by a mix', () => {
  it('counts each ordered pair by the product of its shares', () => {
    const cells = [
      cell('full-cone', 'full-cone', 10),
      cell('full-cone', 'symmetric', 10),
      cell('symmetric', 'full-cone', 5),
      cell('symmetric', 'symmetric', 0)
    ]
    const { quic, tcp, covered } = weigh(mix, cells)
    near(quic, 0.64 + 0.16 + 0.08)
    equal(tcp, null)
    near(covered, 1)
  })

  it('leaves out what was not run and says how much that is', () => {
    const { quic, covered } = weigh(mix, [cell('full-cone', 'full-cone', 10)])
    near(quic, 1)
    near(covered, 0.64)
  })

  it('takes the better transport of each pair', () => {
    near(weigh(mix, [cell('full-cone', 'full-cone', 10), cell('full-cone', 'full-cone', 2, 'tcp')]).either, 1)
  })

  it('has shares that add up, and a source, in every mix', () => {
    for (const { name, shares, tcpShares, source } of MIXES) {
      for (const each of [shares, tcpShares ?? shares])
        near(
          Object.values(each).reduce((sum, share) => sum + share, 0),
          1
        )
      ok(/\d{4}|the same/.test(source), name)
    }
  })
})
