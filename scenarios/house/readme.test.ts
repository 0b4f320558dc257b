import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { examplesOf, matches } from './readme.ts'
import { ROOT } from './tree.ts'

const readme = readFileSync(join(ROOT, 'README.md'), 'utf8')

describe('the README', () => {
  it('opens with what Warren is and the two commands', () => {
    const opening = readme.split('\n## ')[0] as string
    assert.match(opening, /^make testnet-up\b/m)
    assert.match(opening, /^make test\b/m)
  })

  it('has curl examples with what they print', () => {
    const examples = examplesOf(readme, 'Try it').filter(example => example.expected !== null)
    assert.ok(examples.length >= 5)
  })

  it('links only to files that are there', () => {
    const links = [...readme.matchAll(/\]\(([^)#]+)\)/g)].map(match => match[1] as string)
    assert.deepEqual(
      links.filter(link => !existsSync(join(ROOT, link))),
      []
    )
  })

  it('names only make targets that exist', () => {
    const makefile = readFileSync(join(ROOT, 'Makefile'), 'utf8')
    const named = new Set([...readme.matchAll(/(?:^|`)make ([a-z][a-z0-9-]+)/gm)].map(match => match[1] as string))
    const missing = [...named].filter(target => !new RegExp(`^${target}:`, 'm').test(makefile))
    assert.deepEqual(missing, [])
  })

  it('is compared by text, with … for anything', () => {
    assert.ok(matches('{"a":1,"b":2}\n', '{"a":1,…}'))
    assert.ok(!matches('{"a":2}', '{"a":1}'))
    assert.ok(!matches('{"a":1}x', '{"a":1}'))
  })
})
