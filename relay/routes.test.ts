import assert from 'node:assert/strict'
import { silentLog } from '../node/index.ts'
import { createAccounting } from './accounting.ts'
import { createRoutes } from './routes.ts'

describe('the relay’s long answers', () => {
  it('are built once a second, however many ask', async () => {
    let nowMs = 0
    let built = 0
    const accounting = createAccounting({ file: null, maxPeers: 10, log: silentLog() })
    const routes = createRoutes({
      accounting: {
        ...accounting,
        peers() {
          built++
          return accounting.peers()
        }
      },
      nowMs: () => nowMs
    } as Parameters<typeof createRoutes>[0])
    accounting.open('alice', 'bob')
    const [first] = await Promise.all(Array.from({ length: 100 }, () => routes['/accounting']!()))
    assert.equal(built, 1)
    assert.ok(first !== undefined && 'text' in first)
    const { peers } = JSON.parse(Buffer.from(first.text).toString('utf8')) as { peers: Array<{ peerId: string }> }
    assert.deepEqual(
      peers.map(({ peerId }) => peerId),
      ['alice', 'bob']
    )
    nowMs += 1000
    await routes['/accounting']!()
    assert.equal(built, 2)
  })
})
