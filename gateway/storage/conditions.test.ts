import assert from 'node:assert/strict'
import { conditionOf, isKnown, mayAnswerRange } from './conditions.ts'

const of = (headers: Record<string, string>) => conditionOf(name => headers[name] ?? '')

describe('the conditions of a request', () => {
  it('are lists of entity tags, or any', () => {
    assert.equal(of({}), null)
    assert.deepEqual(of({ 'if-match': '*' }), { match: '*' })
    assert.deepEqual(of({ 'if-none-match': ' * ' }), { noneMatch: '*' })
    assert.deepEqual(of({ 'if-match': '"a"' }), { match: ['a'] })
    assert.deepEqual(of({ 'if-match': '"a" ,\t"b,c",, "",' }), { match: ['a', 'b,c', ''] })
    assert.deepEqual(of({ 'if-match': '"a"', 'if-none-match': '"b"' }), { match: ['a'], noneMatch: ['b'] })
  })

  it('compare strongly for If-Match and weakly for If-None-Match', () => {
    assert.deepEqual(of({ 'if-match': 'W/"a"' }), { match: [] })
    assert.deepEqual(of({ 'if-none-match': 'W/"a"' }), { noneMatch: ['a'] })
  })

  it('are refused when they are no such list: a write is never done without the condition it came with', () => {
    for (const value of ['a', '"a', 'a"', '"a" "b"', '"a";"b"', '*, "a"', "'a'", 'w/"a"', '"a"b', '"\u0000"', '**']) {
      assert.throws(() => of({ 'if-match': value }), { code: 'INVALID_REQUEST' }, value)
      assert.throws(() => of({ 'if-none-match': value }), { code: 'INVALID_REQUEST' }, value)
    }
    assert.throws(() => of({ 'if-match': Array(101).fill('"a"').join(',') }), { code: 'INVALID_REQUEST' })
    assert.equal((of({ 'if-match': Array(100).fill('"a"').join(',') })?.match ?? []).length, 100)
  })

  it('of a reader that make no sense are no reason to answer nothing', () => {
    assert.equal(isKnown('"a", W/"b"', 'b'), true)
    assert.equal(isKnown('*', 'b'), true)
    for (const value of ['', '"a"', 'b', '"b']) assert.equal(isKnown(value, 'b'), false, value)
    assert.equal(mayAnswerRange('', 'b'), true)
    assert.equal(mayAnswerRange('"b"', 'b'), true)
    for (const value of ['"a"', 'W/"b"', 'Sat, 28 Nov 2026 00:00:00 GMT'])
      assert.equal(mayAnswerRange(value, 'b'), false)
  })
})
