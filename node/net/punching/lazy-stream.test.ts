import assert from 'node:assert/strict'
import type { Connection } from '@libp2p/interface'
import { openLazily, selection } from './lazy-stream.ts'

const { signal } = new AbortController()

describe('a stream that is opened lazily', () => {
  it('begins with the lines of multistream-select, each with its length', () => {
    assert.equal(
      Buffer.from(selection('/libp2p/dcutr')).toString('latin1'),
      '\x13/multistream/1.0.0\n\x0e/libp2p/dcutr\n'
    )
  })

  it('is of the connection’s muxer, and known by its protocol', async () => {
    const stream = { protocol: '' }
    const connection = { muxer: { createStream: async () => stream } } as unknown as Connection
    assert.deepEqual(await openLazily(connection, '/a/1', signal), { stream: { protocol: '/a/1' }, isLazy: true })
  })

  it('is chosen for by libp2p where the connection hides its muxer', async () => {
    const asked: unknown[] = []
    const newStream = async (...all: unknown[]) => {
      asked.push(...all)
      return 'chosen'
    }
    const opened = await openLazily({ newStream } as unknown as Connection, '/a/1', signal)
    assert.deepEqual(opened, { stream: 'chosen', isLazy: false })
    assert.deepEqual(asked, ['/a/1', { signal, runOnLimitedConnection: true }])
  })
})
