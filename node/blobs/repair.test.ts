import assert from 'node:assert/strict'
import { silentLog } from '../log.ts'
import { startRepair } from './repair.ts'

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
})
