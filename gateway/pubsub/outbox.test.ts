import assert from 'node:assert/strict'
import { createOutbox } from './outbox.ts'

const BUSY = { code: 'PUBLISH_BUSY' }

describe('messages on their way to other gateways', () => {
  it('are so many of a namespace and so many in all, and make room when they are out', () => {
    const outbox = createOutbox({ max: 3, namespaceMax: 2 })
    const first = outbox.take('alice')
    outbox.take('alice')
    assert.throws(() => outbox.take('alice'), BUSY)
    outbox.take('bob')
    assert.throws(() => outbox.take('bob'), BUSY)
    assert.equal(outbox.tryTake('carol'), null)
    first()
    outbox.take('carol')
  })

  it('keep a pace, each namespace its own; what gateways say of themselves does not count', () => {
    const outbox = createOutbox({ pace: { perSecond: 0.001, burst: 2 } })
    for (let count = 0; count < 2; count += 1) outbox.take('alice')()
    assert.throws(() => outbox.take('alice'), BUSY)
    assert.notEqual(outbox.tryTake('alice'), null)
    outbox.take('bob')()
  })
})
