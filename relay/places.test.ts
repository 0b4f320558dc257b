import assert from 'node:assert/strict'
import { createPlaces, type Place } from './places.ts'

const IDLE_MS = 5000

function placesAt(limits: Partial<Parameters<typeof createPlaces>[0]> = {}) {
  const clock = { nowMs: 0 }
  const places = createPlaces({
    total: 6,
    perPeer: 3,
    perHost: 4,
    idleMs: IDLE_MS,
    nowMs: () => clock.nowMs,
    ...limits
  })
  const reclaimed: string[] = []
  return {
    clock,
    reclaimed,
    taken: places.taken,
    take: (peerId: string, host = peerId) => places.take(peerId, host, () => reclaimed.push(peerId))
  }
}

describe('places for circuits', () => {
  it('are so many of a peer, of a host whatever its peers call themselves, and in all', () => {
    const { take, taken } = placesAt()
    for (const peer of ['a', 'a', 'a']) assert.equal(typeof take(peer, 'one'), 'object')
    assert.equal(take('a', 'another'), 'peer-circuits-full')
    assert.equal(typeof take('b', 'one'), 'object')
    assert.equal(take('c', 'one'), 'host-circuits-full')
    assert.equal(typeof take('d'), 'object')
    assert.equal(typeof take('e'), 'object')
    assert.equal(take('f'), 'circuits-full')
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

  it('go to a newcomer when they run out, the one silent for longest first, and never one in use', () => {
    const { clock, reclaimed, take, taken } = placesAt({ total: 3 })
    const first = take('first') as Place
    clock.nowMs += 1
    const second = take('second') as Place
    clock.nowMs += 1
    take('third')
    clock.nowMs += IDLE_MS - 3
    assert.equal(take('too early'), 'circuits-full')
    clock.nowMs += 3
    first.touch()
    assert.equal(typeof take('newcomer'), 'object')
    assert.deepEqual(reclaimed, ['second'])
    // Its circuit ends later by itself: the place is another's by then.
    second.leave()
    assert.equal(taken(), 3)
    assert.equal(typeof take('another'), 'object')
    assert.deepEqual(reclaimed, ['second', 'third'])
    assert.equal(take('too many'), 'circuits-full')
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
})
