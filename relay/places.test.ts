import assert from 'node:assert/strict'
import { createPlaces, type Place } from './places.ts'

const IDLE_MS = 5000
const STALE_MS = 20_000

function placesAt(limits: Partial<Parameters<typeof createPlaces>[0]> = {}) {
  const clock = { nowMs: 0 }
  const places = createPlaces({
    total: 6,
    perPeer: 3,
    perHost: 4,
    idleMs: IDLE_MS,
    staleMs: STALE_MS,
    nowMs: () => clock.nowMs,
    ...limits
  })
  const reclaimed: string[] = []
  return {
    clock,
    reclaimed,
    taken: places.taken,
    take: (peerId: string, host = peerId, hasWaiting = () => false) =>
      places.take(peerId, host, { reclaim: () => reclaimed.push(peerId), hasWaiting })
  }
}

describe('places for circuits', () => {
  it('are so many of a peer, of a host whatever its peers call themselves, and in all', () => {
    const { take, taken } = placesAt()
    for (const peer of ['a', 'a', 'a']) assert.equal(typeof take(peer, 'one'), 'object')
    assert.equal(take('a', 'another'), 'peer-circuits-full')
    assert.equal(typeof take('b', 'one'), 'object')
    assert.equal(take('c', 'one'), 'host-circuits-full')
    assert.equal(typeof take('d', 'two'), 'object')
    assert.equal(typeof take('e', 'two'), 'object')
    assert.equal(take('f', 'two'), 'circuits-full')
    assert.equal(taken(), 6)
  })

  it('come free once, however often they are given back', () => {
    const { take, taken } = placesAt({ perPeer: 2 })
    const first = take('a') as Place
    take('a')
    first.leave()
    first.leave()
    assert.equal(taken(), 1)
    assert.equal(typeof take('a'), 'object')
    assert.equal(take('a'), 'peer-circuits-full')
  })

  it('go to a newcomer of the same host when they run out, the one silent for longest first, and never one in use', () => {
    const { clock, reclaimed, take, taken } = placesAt({ total: 3 })
    const first = take('first', 'one') as Place
    clock.nowMs += 1
    const second = take('second', 'one') as Place
    clock.nowMs += 1
    take('third', 'one')
    clock.nowMs += IDLE_MS - 3
    assert.equal(take('too early', 'one'), 'circuits-full')
    clock.nowMs += 3
    first.touch()
    assert.equal(typeof take('newcomer', 'one'), 'object')
    assert.deepEqual(reclaimed, ['second'])
    // Its circuit ends later by itself: the place is another's by then.
    second.leave()
    assert.equal(taken(), 3)
    assert.equal(typeof take('another', 'one'), 'object')
    assert.deepEqual(reclaimed, ['second', 'third'])
    assert.equal(take('too many', 'one'), 'circuits-full')
  })

  it('are taken from the host that has most of them, so that a crowd pays for itself', () => {
    const { clock, reclaimed, take } = placesAt()
    take('honest')
    clock.nowMs += 1
    for (const peer of ['x', 'y', 'z']) take(peer, 'crowd')
    clock.nowMs += 1
    for (const peer of ['v', 'w']) take(peer)
    clock.nowMs += IDLE_MS
    assert.equal(typeof take('newcomer'), 'object')
    assert.deepEqual(reclaimed, ['x'])
  })

  it('are never taken from a host that has no more of them than the newcomer’s', () => {
    const { clock, reclaimed, take } = placesAt()
    for (const peer of ['a', 'b', 'c']) take(peer)
    const crowd = ['x', 'y', 'z'].map(peer => take(peer, 'crowd') as Place)
    clock.nowMs += IDLE_MS
    for (const place of crowd) place.touch()
    assert.equal(take('more', 'crowd'), 'circuits-full')
    // Its own idle one makes room.
    assert.equal(typeof take('second of a', 'a'), 'object')
    assert.deepEqual(reclaimed, ['a'])
  })

  it('are left to a host that has none when all hosts have one, by the one silent for longest', () => {
    const { clock, reclaimed, take } = placesAt({ total: 3 })
    const [first] = ['a', 'b', 'c'].map(peer => {
      clock.nowMs += 1
      return take(peer) as Place
    })
    clock.nowMs = STALE_MS
    assert.equal(take('too early'), 'circuits-full')
    clock.nowMs += 3
    first!.touch()
    // Whoever has one already pushes out nobody but itself.
    assert.equal(typeof take('second of b', 'b'), 'object')
    assert.deepEqual(reclaimed, ['b'])
    assert.equal(typeof take('newcomer'), 'object')
    assert.deepEqual(reclaimed, ['b', 'c'])
    assert.equal(take('too many'), 'circuits-full')
  })

  it('go by what hurts least: an idle one of a bigger host, of the same host, one of a crowd, a stale one', () => {
    const touched = (places: unknown[]) => {
      for (const place of places) (place as Place).touch()
    }
    const bigger = placesAt()
    const crowd = ['v', 'w', 'x', 'y'].map(peer => bigger.take(peer, 'crowd'))
    for (const peer of ['p', 'q']) bigger.take(peer, 'pair')
    bigger.clock.nowMs += IDLE_MS
    touched(crowd)
    bigger.take('newcomer')
    assert.deepEqual(bigger.reclaimed, ['p'])

    const both = placesAt({ total: 4 })
    both.take('own', 'one')
    for (const peer of ['x', 'y', 'z']) both.take(peer, 'crowd')
    both.clock.nowMs += IDLE_MS
    both.take('second', 'one')
    assert.deepEqual(both.reclaimed, ['x'])

    const same = placesAt({ total: 5 })
    same.take('own', 'one')
    const active = ['w', 'x', 'y', 'z'].map(peer => same.take(peer, 'crowd'))
    same.clock.nowMs += IDLE_MS
    touched(active)
    same.take('second', 'one')
    assert.deepEqual(same.reclaimed, ['own'])

    const old = placesAt({ total: 3 })
    old.take('alone')
    const pair = ['p', 'q'].map(peer => old.take(peer, 'pair'))
    old.clock.nowMs += STALE_MS
    touched(pair)
    old.take('newcomer')
    assert.deepEqual(old.reclaimed, ['p'])
  })

  it('are stale only for a host that has none', () => {
    const { clock, reclaimed, take } = placesAt({ total: 2 })
    take('stale')
    clock.nowMs += STALE_MS
    take('b')
    assert.equal(take('second of b', 'b'), 'circuits-full')
    assert.deepEqual(reclaimed, [])
  })

  it('are not kept by a crowd that says something now and then', () => {
    const { clock, reclaimed, take } = placesAt()
    for (const peer of ['a', 'b']) take(peer)
    const crowd = ['w', 'x', 'y', 'z'].map(peer => take(peer, 'crowd') as Place)
    clock.nowMs += IDLE_MS
    for (const place of crowd) {
      clock.nowMs += 1
      place.touch()
    }
    const taken = ['c', 'd', 'e'].map(peer => typeof take(peer))
    // Then it has no longer twice as many as a newcomer.
    assert.deepEqual(taken, ['object', 'object', 'object'])
    assert.deepEqual(reclaimed, ['w', 'x', 'y'])
    assert.equal(take('f'), 'circuits-full')
  })

  it('are not idle while bytes wait in the circuit', () => {
    const { clock, reclaimed, take } = placesAt({ total: 2 })
    let hasWaiting = true
    take('held back', 'one', () => hasWaiting)
    take('other', 'one')
    clock.nowMs += IDLE_MS
    assert.equal(typeof take('newcomer', 'one'), 'object')
    assert.equal(take('too many', 'one'), 'circuits-full')
    hasWaiting = false
    clock.nowMs += IDLE_MS
    assert.equal(typeof take('later', 'one'), 'object')
    assert.deepEqual(reclaimed, ['other', 'held back'])
  })
})
