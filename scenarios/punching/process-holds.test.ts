import { deepEqual, equal, ok } from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { ownSockets, settledMemory, socketsOf } from './process-holds.ts'

describe('what a process holds', () => {
  it('is its sockets by kind, and those of other networks apart', () => {
    const tcp = 'head\n   0: 0100007F:1 0:0 0A 0:0 00:0 0 0 0 71 1 x\n'
    const unix = 'head\nx: 00000002 00000000 00010000 0001 01 72 /run/a\n'
    const links = ['socket:[71]', 'socket:[72]', 'socket:[73]', 'pipe:[71]', '/dev/null', '']
    const counts = socketsOf(links, [
      ['tcp', tcp],
      ['unix', unix]
    ])
    deepEqual(counts, { tcp: 1, udp: 0, unix: 1, elsewhere: 1 })
  })

  it('counts a socket for as long as it is open', async () => {
    const before = await ownSockets()
    const socket = createSocket('udp4').bind(0, '127.0.0.1')
    await once(socket, 'listening')
    equal((await ownSockets()).udp, before.udp + 1)
    socket.close()
    await once(socket, 'close')
    equal((await ownSockets()).udp, before.udp)
  })

  it('is memory that somebody still refers to', async () => {
    const before = await settledMemory()
    const kept = Array.from({ length: 1_000_000 }, (_, n) => ({ n }))
    const during = await settledMemory()
    ok(during.heapBytes > before.heapBytes + kept.length * 10)
    kept.length = 0
    ok((await settledMemory()).heapBytes < during.heapBytes - 10_000_000)
  })
})
