import assert from 'node:assert/strict'
import { nameScope } from './own-namespace.ts'

describe('the names of a namespace', () => {
  it('come back as they went in, whatever they are', () => {
    const { inner, outer } = nameScope('alice')
    for (const name of ['a', '', '::', 'ns::bob::a', 'ns::alice::a']) assert.equal(outer(inner(name)), name)
  })

  it('are never given for another’s, should one come from inside', () => {
    const { outer } = nameScope('alice')
    for (const foreign of [
      'ns::bob::a',
      'ns::alice2::a',
      'ns::alice:',
      'a',
      '',
      nameScope('bob').inner('ns::alice::a')
    ]) {
      assert.throws(() => outer(foreign), RangeError, foreign)
    }
  })

  it('are of a namespace, not of a text that could be read as two', () => {
    for (const text of ['', 'a::b', 'alice:', ':', 'a b', 'a%3A%3Ab', 'ä', 'a\n', '-a']) {
      assert.throws(() => nameScope(text), RangeError, text)
    }
  })
})
