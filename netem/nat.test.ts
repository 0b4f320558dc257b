import { equal } from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { NAT_PRESETS, natRuleset } from './nat.ts'
import { NAT_KINDS } from './validate.ts'

describe('natRuleset', () => {
  for (const kind of NAT_KINDS) {
    it(`is what netem/golden/nat-${kind}.nft says (UPDATE_GOLDEN=1 writes it)`, () => {
      const text = natRuleset({
        kind,
        insideInterface: 'inside',
        outsideInterface: 'outside',
        outsideAddress: '11.0.1.1'
      })
      const file = new URL(`golden/nat-${kind}.nft`, import.meta.url)
      if (process.env.UPDATE_GOLDEN === '1') writeFileSync(file, text)
      equal(text, readFileSync(file, 'utf8'))
      equal(NAT_PRESETS[kind].kind, kind)
    })
  }
})
