import assert from 'node:assert/strict'
import { silentLog } from '../../node/index.ts'
import type { GatewayContext, Identity } from '../http.ts'
import { eventually } from '../testing/fixtures.ts'
import { RECHECK_TURN_MAX } from './limits.ts'
import { createRecheck } from './recheck.ts'

const identity: Identity = { namespace: 'alice', apiKeyId: 1, kind: 'api_key', subject: '1', owner: true, token: null }
const contextWith = (key: string) =>
  ({ get: (name: string) => (name === 'x-api-key' ? key : '') }) as unknown as GatewayContext

describe('credentials of open sockets', () => {
  it('are looked at so many a turn of the event loop, each once, and end those of whom they are no more', async () => {
    const ended: number[] = []
    const seen: string[] = []
    let inTurn = 0
    let most = 0
    const recheck = createRecheck<number>({
      async identify({ text }) {
        seen.push(text)
        inTurn += 1
        most = Math.max(most, inTurn)
        return text === 'key 7' ? { ...identity, owner: false } : identity
      },
      everyMs: 5,
      ended: socket => ended.push(socket),
      log: silentLog()
    })
    const turn = () => {
      inTurn = 0
      if (!done) setImmediate(turn)
    }
    let done = false
    setImmediate(turn)
    const count = 3 * RECHECK_TURN_MAX + 1
    // Two sockets of each credential.
    for (let index = 0; index < 2 * count; index += 1) {
      recheck.watch(index, contextWith(`key ${index % count}`), identity)
    }
    await eventually(async () => seen.length >= count)
    recheck.close()
    done = true
    assert.equal(new Set(seen.slice(0, count)).size, count)
    assert.ok(most <= RECHECK_TURN_MAX, `${most} in one turn`)
    assert.deepEqual(ended.slice(0, 2), [7, 7 + count])
  })
})
