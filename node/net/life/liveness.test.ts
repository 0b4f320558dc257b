import assert from 'node:assert/strict'
import type { Stream } from '@libp2p/interface'
import { noise } from '@libp2p/noise'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { createLibp2p } from 'libp2p'
import { silentLog } from '../../log.ts'
import { eventually } from '../testing.ts'
import { createLiveness, LIVENESS } from './liveness.ts'

const PING_PROTOCOL = '/ipfs/ping/1.0.0'

/** Without the monitor of js-libp2p, which asks with the same protocol. */
const startQuiet = (listen: string[]) =>
  createLibp2p({
    addresses: { listen },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionGater: { denyDialMultiaddr: () => false },
    connectionMonitor: { enabled: false }
  })

describe('a sign of life', function () {
  this.timeout(30_000)

  it('leaves no stream open on a peer that takes the question and echoes nothing', async () => {
    const [libp2p, mute] = await Promise.all([startQuiet([]), startQuiet(['/ip4/127.0.0.1/tcp/0'])])
    try {
      const taken: Stream[] = []
      await mute.handle(PING_PROTOCOL, stream => void taken.push(stream))
      const connection = await libp2p.dial(mute.getMultiaddrs())
      const liveness = createLiveness({ libp2p, log: silentLog() })
      await eventually(async () => {
        // The bytes that open the stream are a sign of life; others that come before them end the question sooner.
        assert.equal(await liveness.probe(connection), true)
        return taken.length > 0
      }, 'asked')
      await eventually(() => connection.streams.length === 0, 'the question was taken back', 5000)
      await eventually(() => taken.every(({ status }) => status !== 'open'), 'the peer was told')
      assert.equal(connection.status, 'open')
    } finally {
      await Promise.all([libp2p.stop(), mute.stop()])
    }
  })

  it('is asked for at once, and once more however often others give a reason', async () => {
    const [libp2p, peer] = await Promise.all([startQuiet([]), startQuiet(['/ip4/127.0.0.1/tcp/0'])])
    let asked = 0
    await peer.handle(PING_PROTOCOL, stream => {
      asked++
      stream.addEventListener('message', ({ data }) => stream.send(data))
    })
    try {
      const connection = await libp2p.dial(peer.getMultiaddrs())
      const often = createLiveness({ libp2p, limits: { ...LIVENESS, glanceMs: 50 }, log: silentLog() })
      for (let nth = 0; nth < 100; nth++) often.glance(connection)
      await eventually(() => asked === 2, 'asked once more')
      const seldom = createLiveness({ libp2p, limits: { ...LIVENESS, glanceMs: 600_000 }, log: silentLog() })
      for (let nth = 0; nth < 20; nth++) {
        seldom.glance(connection)
        await often.probe(connection)
      }
      assert.ok(asked <= 2 + 20 + 1, `asked ${asked} times`)
      seldom.stop()
    } finally {
      await Promise.all([libp2p.stop(), peer.stop()])
    }
  })
})
