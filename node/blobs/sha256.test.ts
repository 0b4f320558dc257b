import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { sha256 as inBrowsers } from './sha256.browser.ts'
import { sha256 as here } from './sha256.ts'

describe('SHA-256 in pieces', () => {
  it('is the same on Node and in browsers', () => {
    for (const sizes of [[], [0], [1], [55, 1], [64], [63, 64, 65], [262_144, 14]]) {
      const pieces = sizes.map(size => randomBytes(size))
      const expected = createHash('sha256').update(Buffer.concat(pieces)).digest('hex')
      for (const make of [here, inBrowsers]) {
        const hash = pieces.reduce((so, piece) => so.update(piece), make())
        assert.equal(Buffer.from(hash.digest()).toString('hex'), expected)
      }
    }
  })
})
