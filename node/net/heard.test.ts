import assert from 'node:assert/strict'
import { createHeard, type Heard, STANDING, type Standing } from './heard.ts'

/** Announcements here are texts, `<host> <anything>`. */
function heardOf(limits: { maxCount: number; maxBytes: number }) {
  const standings = new Map<string, Standing>()
  const heard = createHeard<string>({
    ...limits,
    hostOf: text => text.split(' ')[0]!,
    standing: peerId => standings.get(peerId) ?? STANDING.stranger
  })
  return { heard, standings }
}
const idsOf = (heard: Heard<string>) => [...heard.entries()].map(([id]) => id)

describe('what was heard', () => {
  it('never holds more bytes than its list may have, however it changes', () => {
    const { heard } = heardOf({ maxCount: 100, maxBytes: 60 })
    const list = () => JSON.stringify([...heard.entries()].map(([, { announcement }]) => announcement))
    const byteLength = () => Buffer.byteLength(list()) - 1
    heard.keep('a', 'x'.repeat(20))
    heard.keep('b', 'é'.repeat(10))
    assert.equal(heard.bytes, byteLength())
    assert.equal(heard.keep('c', 'x'.repeat(60)), false)
    assert.equal(heard.get('c'), undefined)
    // In place of its older one there is room.
    heard.keep('a', 'x'.repeat(30))
    assert.equal(heard.get('a')?.announcement.length, 30)
    assert.equal(heard.bytes, byteLength())
    heard.forget('b')
    heard.forget('b')
    heard.keep('c', 'x'.repeat(20))
    assert.equal(heard.bytes, byteLength())
    heard.keep('d', 'x'.repeat(50))
    assert.deepEqual(idsOf(heard), ['d'])
    assert.equal(heard.bytes, byteLength())
    assert.ok(byteLength() <= 60)
  })

  it('counts the older one of a peer as gone when a newer one comes: it neither makes room nor keeps others from any', () => {
    const { heard } = heardOf({ maxCount: 100, maxBytes: 60 })
    heard.keep('a', 'x'.repeat(20))
    heard.keep('b', 'x'.repeat(30))
    heard.keep('a', 'y'.repeat(20))
    assert.deepEqual(idsOf(heard), ['b', 'a'])
    heard.keep('b', 'y'.repeat(30))
    heard.keep('a', 'x'.repeat(45))
    assert.deepEqual(idsOf(heard), ['a'])
    assert.ok(heard.bytes <= 60)
    heard.keep('c', 'x'.repeat(5))
    heard.keep('a', 'x'.repeat(57))
    assert.deepEqual(idsOf(heard), ['a'])
    assert.ok(heard.bytes <= 60)
  })

  it('never holds more than its number: a newcomer takes the place of the stranger unheard for longest', () => {
    const { heard } = heardOf({ maxCount: 3, maxBytes: 1000 })
    for (const id of ['a', 'b', 'c']) heard.keep(id, id)
    heard.keep('a', 'again')
    heard.keep('d', 'd')
    assert.deepEqual(idsOf(heard), ['c', 'a', 'd'])
  })

  it('hears an honest newcomer, and keeps the one before it, whoever many identities of one host there are', () => {
    const { heard } = heardOf({ maxCount: 100, maxBytes: 100_000 })
    for (let i = 0; i < 100; i++) heard.keep(`crowd ${i}`, `crowd ${i}`)
    heard.keep('early', 'there')
    for (let i = 100; i < 1000; i++) heard.keep(`crowd ${i}`, `crowd ${i}`)
    heard.keep('late', 'elsewhere')
    assert.equal(idsOf(heard).length, 100)
    assert.ok(heard.get('early') !== undefined && heard.get('late') !== undefined)
  })

  it('counts the bytes of a host as well: a few long announcements are a crowd', () => {
    const { heard } = heardOf({ maxCount: 1000, maxBytes: 10_000 })
    heard.keep('honest', 'there')
    for (let i = 0; i < 50; i++) heard.keep(`fat ${i}`, `crowd ${'x'.repeat(900)}`)
    assert.ok(heard.get('honest') !== undefined)
  })

  it('keeps ordinary strangers from large ones of invented hosts, which make room for newcomers', () => {
    const { heard } = heardOf({ maxCount: 10_000, maxBytes: 4 * 2 ** 20 })
    const large = (i: number) => `host${i} ${'x'.repeat(43_000)}`
    for (let i = 0; i < 1000; i++) heard.keep(`honest ${i}`, `home${i} ${'x'.repeat(900)}`)
    for (let i = 0; i < 500; i++) heard.keep(`large ${i}`, large(i))
    for (let i = 1000; i < 1500; i++) heard.keep(`honest ${i}`, `home${i} ${'x'.repeat(900)}`)
    assert.equal(idsOf(heard).filter(id => id.startsWith('honest')).length, 1500)
    assert.ok(heard.get('large 499') !== undefined)
  })

  it('is open to a large newcomer as long as others as large are there', () => {
    const { heard } = heardOf({ maxCount: 10_000, maxBytes: 100_000 })
    const large = (i: number) => `host${i} ${'x'.repeat(30_000)}`
    for (let i = 0; i < 10; i++) heard.keep(`large ${i}`, large(i))
    assert.deepEqual(idsOf(heard), ['large 7', 'large 8', 'large 9'])
    for (let i = 0; i < 500; i++) heard.keep(`honest ${i}`, `home${i} ${'x'.repeat(900)}`)
    assert.equal(heard.keep('large', large(10)), false)
  })

  it('keeps whom we are connected to from strangers, and members of the registry from both', () => {
    const { heard, standings } = heardOf({ maxCount: 3, maxBytes: 1000 })
    standings.set('member', STANDING.member).set('connected', STANDING.connected)
    for (const id of ['member', 'connected', 'stranger 0']) heard.keep(id, id)
    for (let i = 1; i < 50; i++) heard.keep(`stranger ${i}`, `host${i}`)
    assert.deepEqual(idsOf(heard), ['member', 'connected', 'stranger 49'])
    for (const id of ['c1', 'c2', 'c3']) {
      standings.set(id, STANDING.connected)
      heard.keep(id, id)
    }
    assert.deepEqual(idsOf(heard), ['member', 'c2', 'c3'])
    assert.equal(heard.keep('stranger 50', 'host50'), false)
    assert.deepEqual(idsOf(heard), ['member', 'c2', 'c3'])
  })
})
