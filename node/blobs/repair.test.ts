import assert from 'node:assert/strict'
import { silentLog } from '../log.ts'
import { REPAIR_BACKOFF_MIN_MS, REPAIR_QUEUE_MAX, startRepair } from './repair.ts'
import { pause } from './wait.ts'

describe('repair', () => {
  it('looks at every blob at last, however often members come and go', async () => {
    const ending = new AbortController()
    const looked = new Set<string>()
    const both = Promise.withResolvers<void>()
    let changes = 0
    const repair = startRepair({
      mend: async cid => {
        looked.add(cid)
        if (looked.size === 2) both.resolve()
        return true
      },
      list: () => ['one', 'other'],
      isOwn: () => true,
      // Never the same twice: a member that flaps, or many.
      membership: () => String(changes++),
      waits: { tickMs: 5, settleMs: 10_000, settleMaxMs: 50 },
      log: silentLog(),
      signal: ending.signal
    })
    await both.promise
    ending.abort()
    await repair.ended
    assert.ok(changes > 2)
    assert.equal(repair.waiting, 0)
  })

  it('tries what waits again when members came and settled, however long it was to wait', async () => {
    const ending = new AbortController()
    const tried: string[] = []
    let members = 'before'
    const listed = Promise.withResolvers<string[]>()
    const repair = startRepair({
      mend: async cid => tried.push(cid) > 0,
      // Asked for at the full pass after the members settled: that one leaves out what waits.
      list: () => {
        listed.resolve([...tried])
        return []
      },
      isOwn: () => true,
      membership: () => members,
      waits: { tickMs: 5, settleMs: 10, settleMaxMs: 10_000 },
      log: silentLog(),
      signal: ending.signal
    })
    repair.enqueue('falls short')
    members = 'one more'
    assert.deepEqual(await listed.promise, ['falls short'])
    ending.abort()
    await repair.ended
  })

  it('looks for no place in a queue that is full of own blobs', async () => {
    const ending = new AbortController()
    let questions = 0
    const repair = startRepair({
      mend: async () => false,
      list: () => [],
      isOwn: () => {
        questions += 1
        return true
      },
      membership: () => '',
      log: silentLog(),
      signal: ending.signal
    })
    for (let n = 0; n < REPAIR_QUEUE_MAX; n += 1) repair.enqueue(`blob ${n}`)
    questions = 0
    repair.enqueue('one more')
    assert.ok(questions <= 2, `${questions} questions`)
    assert.equal(repair.waiting, REPAIR_QUEUE_MAX)
    ending.abort()
    await repair.ended
  })

  it('notices a holder that went while much is handed over, and looks at its own blobs before the rest', async () => {
    const ending = new AbortController()
    const tried: string[] = []
    let members = 'all'
    const again = Promise.withResolvers<void>()
    const repair = startRepair({
      mend: async cid => {
        tried.push(cid)
        if (tried.filter(each => each === 'own').length === 2) again.resolve()
        if (cid.startsWith('foreign')) {
          members = 'one less'
          await pause(2, ending.signal)
        }
        return true
      },
      list: () => ['own', ...Array.from({ length: 2000 }, (_, n) => `foreign ${n}`)],
      isOwn: cid => cid === 'own',
      membership: () => members,
      waits: { tickMs: 5, settleMs: 5, settleMaxMs: 10_000 },
      log: silentLog(),
      signal: ending.signal
    })
    members = 'changed'
    await again.promise
    assert.ok(tried.length < 1000, `${tried.length} blobs before that`)
    ending.abort()
    await repair.ended
  })

  it('tries what waits when its time came, however often members come and go', async () => {
    const ending = new AbortController()
    const tried = Promise.withResolvers<string>()
    let changes = 0
    const repair = startRepair({
      mend: async cid => {
        tried.resolve(cid)
        return true
      },
      list: () => [],
      isOwn: () => true,
      membership: () => String(changes++),
      waits: { tickMs: 5, settleMs: 600_000, settleMaxMs: 600_000 },
      log: silentLog(),
      signal: ending.signal
    })
    repair.enqueue('falls short')
    assert.equal(await tried.promise, 'falls short')
    ending.abort()
    await repair.ended
  }).timeout(20_000)

  it('looks at the blobs of its own shards first, in the queue and at a full pass, and hands over what is foreign after', async () => {
    const ending = new AbortController()
    const tried: string[] = []
    let members = 'before'
    const all = Promise.withResolvers<void>()
    const repair = startRepair({
      mend: async cid => {
        tried.push(cid)
        if (tried.length === 5) all.resolve()
        return true
      },
      list: () => ['foreign listed', 'own listed'],
      isOwn: cid => cid.startsWith('own'),
      membership: () => members,
      waits: { tickMs: 5, settleMs: 10, settleMaxMs: 10_000 },
      log: silentLog(),
      signal: ending.signal
    })
    for (const cid of ['foreign 1', 'foreign 2', 'own']) repair.enqueue(cid)
    members = 'one less'
    await all.promise
    assert.deepEqual(tried, ['own', 'own listed', 'foreign 1', 'foreign 2', 'foreign listed'])
    ending.abort()
    await repair.ended
  })

  it('looks at an own blob that comes due while foreign ones are handed over before the next of them', async () => {
    const ending = new AbortController()
    const tried: string[] = []
    const all = Promise.withResolvers<void>()
    let members = 'before'
    const repair = startRepair({
      mend: async cid => {
        tried.push(cid)
        if (tried.length === 4) all.resolve()
        if (cid === 'foreign 1') {
          repair.enqueue('own')
          // The pause of one that is new in the queue.
          await pause(REPAIR_BACKOFF_MIN_MS + 10, ending.signal)
        }
        return true
      },
      list: () => ['foreign 1', 'foreign 2', 'foreign 3'],
      isOwn: cid => cid.startsWith('own'),
      membership: () => members,
      waits: { tickMs: 5, settleMs: 10, settleMaxMs: 10_000 },
      log: silentLog(),
      signal: ending.signal
    })
    members = 'other ranges'
    await all.promise
    assert.deepEqual(tried, ['foreign 1', 'own', 'foreign 2', 'foreign 3'])
    ending.abort()
    await repair.ended
  }).timeout(20_000)

  it('looks at every own blob once members came and settled, before the rest of a long queue of foreign ones', async () => {
    const ending = new AbortController()
    const tried: string[] = []
    const all = Promise.withResolvers<void>()
    let members = 'before'
    const settleMs = 10
    const repair = startRepair({
      mend: async cid => {
        tried.push(cid)
        if (tried.length === 5) all.resolve()
        if (cid === 'foreign 1') members = 'one less'
        if (cid.startsWith('foreign')) await pause(2 * settleMs, ending.signal)
        return true
      },
      list: () => (members === 'one less' ? ['own'] : []),
      isOwn: cid => cid.startsWith('own'),
      membership: () => members,
      waits: { tickMs: 5, settleMs, settleMaxMs: 10_000 },
      log: silentLog(),
      signal: ending.signal
    })
    for (const n of [1, 2, 3, 4]) repair.enqueue(`foreign ${n}`)
    members = 'other ranges'
    await all.promise
    // The change is seen after the first, and has settled after the second at the latest.
    assert.ok(tried.indexOf('own') <= 2, tried.join())
    ending.abort()
    await repair.ended
  })

  it('has room in its queue for an own blob when it is full of foreign ones', async () => {
    const ending = new AbortController()
    const options = { mend: async () => true, list: () => [], membership: () => '', log: silentLog() }
    const isOwn = (cid: string) => cid.startsWith('own')
    const repair = startRepair({ ...options, isOwn, signal: ending.signal })
    for (let n = 0; n <= REPAIR_QUEUE_MAX; n++) repair.enqueue(`foreign ${n}`)
    assert.equal(repair.isWaiting(`foreign ${REPAIR_QUEUE_MAX}`), false)
    repair.enqueue('own')
    assert.deepEqual([repair.waiting, repair.isWaiting('own')], [REPAIR_QUEUE_MAX, true])
    ending.abort()
    await repair.ended
  })
})
