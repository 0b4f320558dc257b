import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import {
  type AssignedMember,
  assignShards,
  assignShardsInTurns,
  SLOTS_MAX,
  SPARE_OWNERS,
  WEIGHT_OF_MEDIAN_MAX
} from './assign.ts'
import { SHARD_RANGES_MAX, type ShardRange } from './shards.ts'

const GIB = 1024 ** 3
const SHARDS = 1024
const FACTOR = 3
const OWNERS = FACTOR + SPARE_OWNERS

const member = (n: number, more: Partial<AssignedMember> = {}): AssignedMember => ({
  peerId: `peer-${n}`,
  failureGroup: '',
  capacityBytes: 10 * GIB,
  fixed: null,
  isAway: false,
  ...more
})
const crowd = (count: number, more: (n: number) => Partial<AssignedMember> = () => ({})) =>
  Array.from({ length: count }, (_, n) => member(n, more(n)))

type Owners = Map<number, Set<string>>

/** Owners of each shard, those with fixed ranges included. */
function ownersOf(members: AssignedMember[], { shardCount = SHARDS, replicationFactor = FACTOR } = {}): Owners {
  const owners: Owners = new Map(Array.from({ length: shardCount }, (_, shard) => [shard, new Set()]))
  const add = (peerId: string, ranges: readonly ShardRange[]): void => {
    for (const { start, end } of ranges) for (let n = start; n <= end; n++) owners.get(n)!.add(peerId)
  }
  for (const [peerId, ranges] of assignShards(members, { shardCount, replicationFactor })) add(peerId, ranges)
  for (const { peerId, fixed } of members) if (fixed !== null) add(peerId, fixed)
  return owners
}
const without = (members: AssignedMember[], peerId: string) => members.filter(each => each.peerId !== peerId)
const sharesOf = (owners: Owners): Map<string, number> => {
  const shares = new Map<string, number>()
  for (const all of owners.values()) for (const peerId of all) shares.set(peerId, (shares.get(peerId) ?? 0) + 1)
  return shares
}
/** What `after` has and `before` has not, by shard. */
function gained(before: Owners, after: Owners): Map<number, string[]> {
  const all = [...after].map(([shard, owners]): [number, string[]] => [
    shard,
    [...owners].filter(peerId => !before.get(shard)!.has(peerId))
  ])
  return new Map(all.filter(([, peers]) => peers.length > 0))
}

describe('shards assigned from the registry', () => {
  it('are the same whatever the order the members come in, and for ever', () => {
    const members = crowd(9, n => ({ failureGroup: `site-${n % 3}` }))
    const answer = assignShards(members, { shardCount: SHARDS, replicationFactor: FACTOR })
    assert.deepEqual(assignShards([...members].reverse(), { shardCount: SHARDS, replicationFactor: FACTOR }), answer)
    // Another version of this program must come to the same: else one upgraded node would move everybody's shards.
    const digest = createHash('sha256')
      .update(JSON.stringify([...answer]))
      .digest('hex')
    assert.equal(digest, 'a80bd66f7b6ee173789c4d3cf37d8c4b3280964f7957880bbb3b803e69ca1874')
  })

  it('have one owner more than replicas are wanted, or everybody', () => {
    for (const count of [1, 2, 3, 4, 5, 12, 40]) {
      for (const owners of ownersOf(crowd(count)).values()) assert.equal(owners.size, Math.min(OWNERS, count))
    }
    assert.equal(assignShards([], { shardCount: SHARDS, replicationFactor: FACTOR }).size, 0)
  })

  it('have owners in as many failure groups as there are, up to all of them', () => {
    // A crowded site, two small ones, and somebody alone.
    const groupOf = (n: number): string => (n < 10 ? 'crowd' : n < 12 ? 'small-1' : n < 14 ? 'small-2' : '')
    const members = crowd(15, n => ({ failureGroup: groupOf(n) }))
    const nameOf = new Map(members.map(({ peerId, failureGroup }) => [peerId, failureGroup || peerId]))
    for (const owners of ownersOf(members).values()) {
      assert.equal(new Set([...owners].map(peerId => nameOf.get(peerId))).size, 4)
    }
    for (const owners of ownersOf(without(members, 'peer-14')).values()) {
      assert.equal(new Set([...owners].map(peerId => nameOf.get(peerId))).size, 3)
    }
  })

  it('move only to who comes and only from who goes: never between two that stay', () => {
    const shapes: Array<[string, (n: number) => Partial<AssignedMember>]> = [
      ['alone', () => ({})],
      ['three sites', n => ({ failureGroup: `site-${n % 3}` })],
      ['one large site and many small ones', n => ({ failureGroup: n % 2 === 0 ? 'large' : '' })],
      ['rooms that differ', n => ({ capacityBytes: 2 ** (n % 5) * GIB, failureGroup: `site-${n % 4}` })],
      ['some by hand', n => (n % 3 === 0 ? { fixed: [{ start: 100 * n, end: 100 * n + 99 }] } : {})]
    ]
    for (const [name, shape] of shapes) {
      for (let count = 2; count <= 10; count++) {
        const before = crowd(count, shape)
        const newcomer = member(count, shape(count))
        const [small, large] = [ownersOf(before), ownersOf([...before, newcomer])]
        for (const [shard, peers] of gained(small, large)) {
          assert.deepEqual(peers, [newcomer.peerId], `${name}: who comes to ${count} gains ${shard}`)
        }
        // The same two pictures are those of a member that goes: what it had goes to at most one other each.
        for (const [shard, peers] of gained(large, small)) {
          assert.ok(large.get(shard)!.has(newcomer.peerId), `${name}: only what it owned goes to others`)
          assert.equal(peers.length, 1, `${name}: shard ${shard} goes to one`)
        }
      }
    }
  })

  it('are even among equals, but for chance', () => {
    for (const count of [5, 8, 32, 100]) {
      const share = (SHARDS * OWNERS) / count
      for (const [peerId, owned] of sharesOf(ownersOf(crowd(count)))) {
        assert.ok(Math.abs(owned - share) <= 5 * Math.sqrt(share), `${peerId} of ${count}: ${owned}, not ${share}`)
      }
    }
  })

  it('follow the room of members, in steps of two', () => {
    const members = crowd(40, n => ({ capacityBytes: (n < 20 ? 64 : 8) * GIB }))
    const shares = sharesOf(ownersOf(members))
    const sum = (from: number, to: number): number =>
      members.slice(from, to).reduce((total, { peerId }) => total + (shares.get(peerId) ?? 0), 0)
    const ratio = sum(0, 20) / sum(20, 40)
    assert.ok(ratio > 5.5 && ratio < 8.5, `eight times the room: ${ratio} times the shards`)
    const grown = members.map(each => ({ ...each, capacityBytes: each.capacityBytes! * 1.2 }))
    assert.deepEqual(ownersOf(grown), ownersOf(members))
  })

  it('of a member that is away stay its own, and each has another owner besides', () => {
    const all = crowd(9, n => ({ failureGroup: `site-${n % 3}` }))
    const away = all.map(each => ({ ...each, isAway: each.peerId === 'peer-4' }))
    const [before, meanwhile, left] = [ownersOf(all), ownersOf(away), ownersOf(without(all, 'peer-4'))]
    for (const [shard, owners] of before) {
      const more = [...meanwhile.get(shard)!].filter(peerId => !owners.has(peerId))
      assert.equal(more.length, owners.has('peer-4') ? 1 : 0)
      assert.deepEqual(new Set([...left.get(shard)!, ...owners]), meanwhile.get(shard))
    }
  })

  it('take members with ranges of their own into account, without giving them others', () => {
    const half: ShardRange[] = [{ start: 0, end: 511 }]
    const members = [...crowd(4, () => ({ fixed: half })), ...Array.from({ length: 6 }, (_, n) => member(10 + n))]
    const assigned = assignShards(members, { shardCount: SHARDS, replicationFactor: FACTOR })
    assert.deepEqual([...assigned.keys()], ['peer-10', 'peer-11', 'peer-12', 'peer-13', 'peer-14', 'peer-15'])
    for (const [shard, owners] of ownersOf(members)) assert.equal(owners.size, OWNERS, `shard ${shard}`)
    // Where those of one site own all, others are still wanted: they would be lost together.
    const site = crowd(6, () => ({ fixed: [{ start: 0, end: SHARDS - 1 }], failureGroup: 'site' }))
    const beside = [member(10), member(11)]
    for (const owners of ownersOf([...site, ...beside]).values()) {
      assert.ok(beside.every(({ peerId }) => owners.has(peerId)))
    }
  })

  it('cover every shard once, also where they are fewer or far more than slots', () => {
    for (const shardCount of [1, 7, 1000, 1025, 100_000]) {
      const assigned = assignShards(crowd(6), { shardCount, replicationFactor: 2 })
      const total = [...assigned.values()].flat().reduce((sum, { start, end }) => sum + end - start + 1, 0)
      assert.equal(total, 3 * shardCount)
      for (const ranges of assigned.values()) {
        assert.ok(ranges.length <= Math.min(SHARD_RANGES_MAX, SLOTS_MAX))
        for (const { start, end } of ranges) assert.ok(start >= 0 && start <= end && end < shardCount)
      }
    }
  })

  it('do not go to a few members that say they have all the room there is', () => {
    const honest = crowd(20)
    const liars = Array.from({ length: OWNERS }, (_, n) => member(100 + n, { capacityBytes: 2 ** 50 }))
    const owners = ownersOf([...honest, ...liars])
    const isLiar = (peerId: string): boolean => liars.some(liar => liar.peerId === peerId)
    const alone = [...owners.values()].filter(all => [...all].every(isLiar)).length
    assert.ok(alone < SHARDS / 10, `${alone} of ${SHARDS} shards are theirs alone`)
    // More than the bound says is no more.
    const said = liars.map(liar => ({ ...liar, capacityBytes: WEIGHT_OF_MEDIAN_MAX * 10 * GIB }))
    assert.deepEqual(ownersOf([...honest, ...said]), owners)
    // Neither they, while they are fewer than half, nor members with ranges by hand set what the bound is.
    const fixed = crowd(40, n => ({ peerId: `fixed-${n}`, capacityBytes: 2 ** 50, fixed: [] }))
    assert.deepEqual(ownersOf([...honest, ...liars, ...fixed]), owners)
  })

  it('are worked out in turns with whatever else there is to do, to the same end, or not at all', async () => {
    const members = crowd(200, n => ({ isAway: n === 0 }))
    const options = { shardCount: SHARDS, replicationFactor: FACTOR }
    let turns = 0
    let isDone = false
    const count = (): void => {
      turns++
      if (!isDone) setImmediate(count)
    }
    setImmediate(count)
    const answer = await assignShardsInTurns(members, options, new AbortController().signal)
    isDone = true
    assert.ok(turns > 1, `${turns} turns`)
    assert.deepEqual(answer, assignShards(members, options))
    assert.equal(await assignShardsInTurns(members, options, AbortSignal.abort()), null)
  })
})
