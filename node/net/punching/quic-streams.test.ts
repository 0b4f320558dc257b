import assert from 'node:assert/strict'
import type { StreamMuxerFactory } from '@libp2p/interface'
import { defaultLogger } from '@libp2p/logger'
import { eventually } from '../testing.ts'
import { type NativeStream, ownStreams } from './quic-streams.ts'

/** A connection of the native side whose peer lets a stream be opened when the test says so. */
function withoutCredit() {
  const asked: PromiseWithResolvers<NativeStream>[] = []
  const resets: string[] = []
  const connection = {
    id: () => 'connection',
    inboundStream: () => new Promise<NativeStream>(() => undefined),
    outboundStream() {
      const opening = Promise.withResolvers<NativeStream>()
      asked.push(opening)
      return opening.promise
    }
  }
  const late: NativeStream = {
    id: () => 'late',
    read: () => new Promise(() => undefined),
    write: async () => undefined,
    finishWrite: async () => undefined,
    resetWrite: async () => void resets.push('write'),
    stopRead: async () => void resets.push('read')
  }
  const factory = { protocol: 'quic', init: { connection, logger: defaultLogger() } } as unknown as StreamMuxerFactory
  const muxer = ownStreams(factory, {}).createStreamMuxer(new EventTarget() as never)
  return { muxer, asked, late, resets }
}

describe('streams over QUIC', () => {
  it('are waited for until the signal aborts, and reset when they come later', async () => {
    const { muxer, asked, late, resets } = withoutCredit()
    const leaving = new AbortController()
    const opening = muxer.createStream({ signal: leaving.signal })
    leaving.abort(new Error('no longer wanted'))
    await assert.rejects(async () => opening, /no longer wanted/)
    asked[0]!.resolve(late)
    await eventually(() => resets.length === 2, 'reset')
    assert.deepEqual(resets.sort(), ['read', 'write'])
    assert.equal(muxer.streams.length, 0)
  })

  it('are refused while too many wait for the peer, and opened again afterwards', async () => {
    const { muxer, asked, late } = withoutCredit()
    const signal = AbortSignal.abort(new Error('left'))
    for (let i = 0; i < 1024; i++) await assert.rejects(async () => muxer.createStream({ signal }), /left/)
    await assert.rejects(async () => muxer.createStream({ signal }), /1024 wait/)
    assert.equal(asked.length, 1024)
    for (const opening of asked) opening.reject(new Error('lost'))
    await eventually(async () => {
      const opened = Promise.resolve(muxer.createStream()).catch(() => null)
      asked.at(-1)!.resolve(late)
      return await opened
    }, 'opened')
    assert.equal(muxer.streams.length, 1)
  })
})
