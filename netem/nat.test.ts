import { equal } from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { natRuleset } from './nat.ts'
import { behaviourOf, NAT_KINDS } from './nat-kinds.ts'

describe('natRuleset', () => {
  for (const kind of NAT_KINDS) {
    it(`is what netem/golden/nat-${kind}.nft says (UPDATE_GOLDEN=1 writes it)`, () => {
      const text = natRuleset({
        behaviour: behaviourOf(kind),
        insideInterface: 'inside',
        outsideInterface: 'outside',
        outsideAddress: '11.0.1.1',
        insideHost: '10.40.1.10',
        portMapping: null
      })
      const file = new URL(`golden/nat-${kind}.nft`, import.meta.url)
      if (process.env.UPDATE_GOLDEN === '1') writeFileSync(file, text)
      equal(text, readFileSync(file, 'utf8'))
    })
  }
})
