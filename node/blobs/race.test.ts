import assert from 'node:assert/strict'
import { race } from './race.ts'

async function* of<T>(...items: T[]): AsyncGenerator<T> {
  yield* items
}
const never = () => new Promise<never>(() => {})
const options = { staggerMs: 5, maxAtOnce: 3, maxInAll: 10, dispose: () => {}, onFailure: () => {} }

describe('race', () => {
  it('asks in order and stops at the first answer', async () => {
    const asked: string[] = []
    const win = await race(of('a', 'b', 'c'), async peer => void asked.push(peer), { ...options, staggerMs: 60_000 })
    assert.equal(win?.from, 'a')
    assert.deepEqual(asked, ['a'])
  })

  it('goes on when one refuses and past one that is silent, whose signal aborts', async () => {
    let silentAborted = false
    const failures: string[] = []
    const ask = async (peer: string, signal: AbortSignal) => {
      if (peer === 'refuses') throw new Error('no')
      if (peer === 'good') return 42
      signal.addEventListener('abort', () => {
        silentAborted = true
      })
      return await never()
    }
    const win = await race(of('refuses', 'silent', 'good'), ask, { ...options, onFailure: peer => failures.push(peer) })
    assert.deepEqual(win, { from: 'good', value: 42 })
    assert.deepEqual(failures, ['refuses'])
    assert.equal(silentAborted, true)
  })

  it('answers null when everybody refused, and asks no more than allowed', async () => {
    let asked = 0
    const ask = async () => {
      asked += 1
      throw new Error('no')
    }
    assert.equal(await race(of(1, 2, 3, 4, 5), ask, { ...options, maxInAll: 3 }), null)
    assert.equal(asked, 3)
    assert.equal(await race(of<number>(), ask, options), null)
  })

  it('takes an answer while the look-up of more candidates is slow', async () => {
    async function* slow() {
      yield 'quick'
      await never()
    }
    const answer = Promise.withResolvers<number>()
    const asking = race(slow(), () => answer.promise, options)
    setTimeout(() => answer.resolve(1), 20)
    assert.equal((await asking)?.value, 1)
  })

  it('disposes of late answers and ends when aborted', async () => {
    const abort = new AbortController()
    const late = Promise.withResolvers<number>()
    const disposed: number[] = []
    const dispose = (value: number) => disposed.push(value)
    const asked = Promise.withResolvers<void>()
    const ask = () => {
      asked.resolve()
      return late.promise
    }
    const asking = race(of('slow'), ask, { ...options, dispose, signal: abort.signal })
    await asked.promise
    abort.abort()
    await assert.rejects(asking, { name: 'AbortError' })
    late.resolve(7)
    await late.promise
    assert.deepEqual(disposed, [7])
  })
})
