import { deepEqual, equal, ok, throws } from 'node:assert/strict'
import fc from 'fast-check'
import { PARTITION_SHAPES, type PartitionShape, partition } from './partitions.ts'
import { seededRandom } from './random.ts'

const names = (count: number): string[] => Array.from({ length: count }, (_, n) => `n${n}`)
const random = (seed = 'x') => seededRandom(seed)
/** Whom each host still hears, itself included. */
function hears(hosts: string[], pairs: Array<{ from: string; to: string }>): Map<string, Set<string>> {
  return new Map(
    hosts.map(to => [to, new Set(hosts.filter(from => !pairs.some(pair => pair.from === from && pair.to === to)))])
  )
}

describe('partition', () => {
  it('halves: everyone hears exactly its own half, the first half is the smaller', () => {
    const { groups, pairs } = partition('halves', names(5), random())
    deepEqual(
      groups.map(({ length }) => length),
      [2, 3]
    )
    const heard = hears(names(5), pairs)
    for (const group of groups) for (const name of group) deepEqual(heard.get(name), new Set(group))
  })

  it('bridge: one host hears everybody, the halves hear it and themselves', () => {
    const { groups, pairs } = partition('bridge', names(5), random())
    const [left, bridge, right] = groups as [string[], string[], string[]]
    equal(bridge.length, 1)
    const heard = hears(names(5), pairs)
    equal(heard.get(bridge[0]!)!.size, 5)
    for (const half of [left, right]) for (const name of half) deepEqual(heard.get(name), new Set([...half, ...bridge]))
  })

  it('one-way: only what the first group sends is lost', () => {
    const { pairs } = partition('one-way', [['a', 'b'], ['c']], random())
    deepEqual(pairs, [
      { from: 'a', to: 'c' },
      { from: 'b', to: 'c' }
    ])
  })

  it('isolate: one host is alone, the others miss nothing of each other', () => {
    const { groups, pairs } = partition('isolate', names(4), random())
    const heard = hears(names(4), pairs)
    for (const group of groups) for (const name of group) deepEqual(heard.get(name), new Set(group))
    equal(groups[0]!.length, 1)
  })

  it('ring: everyone hears a majority, nobody the same, nobody everybody', () => {
    for (let count = 4; count <= 12; count++) {
      const { pairs } = partition('ring', names(count), random())
      const heard = [...hears(names(count), pairs).values()]
      for (const { size } of heard) ok(size > count / 2 && size < count, `${size} of ${count}`)
      equal(new Set(heard.map(set => [...set].sort().join())).size, count)
      for (const { from, to } of pairs) ok(pairs.some(pair => pair.from === to && pair.to === from))
    }
  })

  it('takes groups as they are', () => {
    const { groups, pairs } = partition('halves', [['a'], ['b'], ['c']], random())
    deepEqual(groups, [['a'], ['b'], ['c']])
    equal(pairs.length, 6)
  })

  it('is the same for the same seed, and names no pair twice and no host with itself', () => {
    const shape = fc.constantFrom(...PARTITION_SHAPES)
    fc.assert(
      fc.property(shape, fc.integer({ min: 4, max: 15 }), fc.string(), (which, count, seed) => {
        const first = partition(which, names(count), random(seed))
        deepEqual(partition(which, names(count), random(seed)), first)
        const written = first.pairs.map(({ from, to }) => `${from} ${to}`)
        equal(new Set(written).size, written.length)
        ok(first.pairs.every(({ from, to }) => from !== to))
        deepEqual(new Set(first.groups.flat()), new Set(names(count)))
      })
    )
  })

  it('says what a shape needs', () => {
    const cases: Array<[PartitionShape, Parameters<typeof partition>[1], RegExp]> = [
      ['halves', ['a'], /group 1 of 2 has no host/],
      ['bridge', ['a', 'b'], /has no host/],
      ['bridge', [['a'], ['b']], /it needs 3 groups, these are 2/],
      ['ring', names(3), /it needs 4 or more groups/],
      ['isolate', [], /has no host/],
      ['one-way', [['a'], ['a']], /a is named twice/],
      ['star' as PartitionShape, names(4), /the shapes are halves/]
    ]
    for (const [shape, parties, why] of cases) {
      throws(() => partition(shape, parties, random()), { code: 'BAD_PARTITION', message: why })
    }
  })
})
