import assert from 'node:assert/strict'
import { eventually } from '../testing.ts'
import { watchInterfaces } from './interfaces.ts'

describe("this machine's own addresses", () => {
  it('are told when they change, with those that went, and not otherwise', async () => {
    let addresses = ['11.0.0.1', '11.0.0.2']
    let reads = 0
    const changes: Array<[now: string[], gone: string[]]> = []
    const end = watchInterfaces({
      read: () => {
        reads++
        return addresses
      },
      pollMs: 5,
      onChange: (now, gone) => changes.push([now, gone])
    })
    try {
      await eventually(() => reads > 5, 'looked at')
      assert.deepEqual(changes, [])
      addresses = ['11.0.0.2', '11.0.0.3']
      await eventually(() => changes.length > 0, 'told')
      assert.deepEqual(changes, [[['11.0.0.2', '11.0.0.3'], ['11.0.0.1']]])
    } finally {
      end()
    }
  })
})
