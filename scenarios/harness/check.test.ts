import assert from 'node:assert/strict'
import { startChecks } from './check.ts'

const never = new AbortController().signal

describe('checks', () => {
  it('record what holds and what does not, and go on', () => {
    const check = startChecks({ signal: never })
    check.that('first', true, 'seen')
    check.equal('second', [1], [2])
    check.equal('third', Buffer.from('ab'), new Uint8Array([0x61, 0x62]))
    check.skip('fourth', 'not here')
    assert.deepEqual(
      check.results.map(({ name, verdict }) => [name, verdict]),
      [
        ['first', 'pass'],
        ['second', 'fail'],
        ['third', 'pass'],
        ['fourth', 'skip']
      ]
    )
    assert.equal(check.results[1]?.detail, 'got [1], expected [2]')
  })

  it('wait for a fact, errors included', async () => {
    const check = startChecks({ signal: never })
    let looks = 0
    const look = async (): Promise<number> => {
      looks += 1
      if (looks === 1) throw new Error('not yet')
      return looks
    }
    assert.equal(await check.eventually('comes', look, seen => seen === 2), 2)
    assert.equal(check.results[0]?.verdict, 'pass')
  })

  it('stop the story when the fact never comes, with what was seen last', async () => {
    const check = startChecks({ signal: never })
    await assert.rejects(
      check.eventually(
        'never',
        async () => 'nothing',
        () => false,
        { withinMs: 0 }
      ),
      { code: 'CHECK_FAILED' }
    )
    assert.match(check.results[0]?.detail ?? '', /nothing/)
  })

  it('end at once when the run is interrupted', async () => {
    const controller = new AbortController()
    const check = startChecks({ signal: controller.signal })
    const waiting = check.eventually(
      'interrupted',
      async () => controller.abort(),
      () => false
    )
    await assert.rejects(waiting, { name: 'AbortError' })
  })
})
