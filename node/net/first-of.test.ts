import assert from 'node:assert/strict'
import { firstOf, type Runner } from './first-of.ts'
import { createPatience } from './patience.ts'

const never = new AbortController().signal

function runner(headStartMs: number, result: Promise<string>, begun: string[] = [], name = ''): Runner<string> {
  return {
    headStartMs,
    run: () => {
      begun.push(name)
      return result
    }
  }
}

describe('a race with head starts', () => {
  it('begins the next one at once when the one before failed, and none after a winner', async () => {
    const begun: string[] = []
    const runners = [
      runner(60_000, Promise.reject(new Error('no')), begun, 'a'),
      runner(60_000, Promise.resolve('b'), begun, 'b'),
      runner(60_000, Promise.resolve('c'), begun, 'c')
    ]
    assert.equal(await firstOf(runners, never), 'b')
    assert.deepEqual(begun, ['a', 'b'])
  })

  it('does not wait for one that hangs, and tells it that it lost', async () => {
    let lost: AbortSignal | undefined
    const hangs: Runner<string> = {
      headStartMs: 1,
      run: signal => {
        lost = signal
        return new Promise<string>(() => undefined)
      }
    }
    assert.equal(await firstOf([hangs, runner(1, Promise.resolve('second'))], never), 'second')
    assert.equal(lost?.aborted, true)
  })

  it('fails with all failures, with nothing to try, and when it is told to stop', async () => {
    const failing = ['one', 'two'].map(why => runner(1, Promise.reject(new Error(why))))
    await assert.rejects(firstOf(failing, never), (error: AggregateError) => error.errors.length === 2)
    await assert.rejects(firstOf([], never), AggregateError)
    const stop = new AbortController()
    const hanging = firstOf([runner(1, new Promise<string>(() => undefined))], stop.signal)
    stop.abort(new Error('stop'))
    await assert.rejects(hanging, /stop/)
  })
})

describe('the patience of a request', () => {
  const cut = new Error('cut')

  it('ends after four fruitless tries with a peer that was not there before', async () => {
    const patience = createPatience({ retryMs: 1, recoverMs: 60_000 }, false)
    for (let tried = 0; tried < 4; tried++) await patience.wait(cut, never)
    await assert.rejects(patience.wait(cut, never), cut)
  })

  it('goes on for as long as a peer that was there may come back, and anew after progress', async () => {
    const patience = createPatience({ retryMs: 1, recoverMs: 60_000 }, true)
    for (let tried = 0; tried < 6; tried++) await patience.wait(cut, never)
    const short = createPatience({ retryMs: 1, recoverMs: 0 }, true)
    for (let tried = 0; tried < 4; tried++) await short.wait(cut, never)
    short.progressed()
    for (let tried = 0; tried < 4; tried++) await short.wait(cut, never)
    await assert.rejects(short.wait(cut, never), cut)
  })
})
