import assert from 'node:assert/strict'
import { BusyError, ShareExceededError } from '../errors.ts'
import { createShares } from './shares.ts'

describe('places for work', () => {
  const sharesOf = (max: number, maxPerAddress: number) =>
    createShares({ what: 'uploads', limit: 'UPLOADS', max, maxPerAddress })

  it('are so many in all, and so many of one address', () => {
    const { take } = sharesOf(3, 2)
    take('a')
    take('a')
    assert.throws(() => take('a'), ShareExceededError)
    const done = take('b')
    assert.throws(() => take('c'), BusyError)
    done()
    take('c')
  })

  it('come free once, however often they are given back', () => {
    const { take } = sharesOf(3, 2)
    const done = take('a')
    take('a')
    take('b')
    done()
    done()
    take('a')
    assert.throws(() => take('a'), ShareExceededError)
    assert.throws(() => take('c'), BusyError)
  })

  it('come free when the work fails', async () => {
    const { run } = sharesOf(1, 1)
    await assert.rejects(
      run('a', async () => {
        throw new Error('no')
      }),
      { message: 'no' }
    )
    assert.equal(await run('a', async () => 'done'), 'done')
  })
})
