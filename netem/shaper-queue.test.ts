import { deepEqual, equal, ok } from 'node:assert/strict'
import fc from 'fast-check'
import { bindRequests, readPacket, readReply, VERDICT_BYTES, writeVerdict } from './nfqueue.ts'
import { LinkShaper, PacketHeap } from './shaper-queue.ts'

describe('PacketHeap', () => {
  it('gives packets by time, and in the order they came where the time is the same', () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 20 })), times => {
        const heap = new PacketHeap()
        times.forEach((leavesMs, packetId) => {
          heap.push(leavesMs, 0, packetId, true)
        })
        equal(heap.size, times.length)
        const order = times.map((_, packetId) => packetId).sort((a, b) => times[a]! - times[b]! || a - b)
        deepEqual(
          order.map(() => heap.pop()?.packetId),
          order
        )
        equal(heap.pop(), undefined)
        equal(heap.nextMs, null)
      })
    )
  })
})

describe('LinkShaper', () => {
  it('delays by delay ± jitter', () => {
    const link = new LinkShaper({ delayMs: 50, jitterMs: 10 })
    equal(
      link.admit(1000, 100, () => 0),
      1040
    )
    equal(
      link.admit(1000, 100, () => 0.5),
      1050
    )
    equal(new LinkShaper({}).admit(1000, 100, Math.random), 1000)
  })

  it('sends one packet after the other at its rate, frames counted whole, like netem', () => {
    const link = new LinkShaper({ delayMs: 10, rateKbit: 800 })
    const frameMs = ((1000 + 14) * 8) / 800
    equal(link.admit(0, 1000, Math.random), 10 + frameMs)
    equal(link.admit(0, 1000, Math.random), 10 + 2 * frameMs)
    equal(link.admit(500, 1000, Math.random), 510 + frameMs)
  })

  it('loses by chance and when its buffer is full, and counts both', () => {
    const link = new LinkShaper({ lossPct: 30, rateKbit: 8 })
    equal(
      link.admit(0, 1000, () => 0.299),
      null
    )
    for (let n = 0; n < 32; n++) ok(link.admit(0, 1000, () => 0.3) !== null)
    equal(
      link.admit(0, 1000, () => 0.3),
      null
    )
    deepEqual(link.stats, { packets: 34, lost: 1, overflowed: 1, held: 32 })
    link.release()
    ok(link.admit(0, 1000, () => 0.3) !== null)
  })

  it('changes with the next packet', () => {
    const link = new LinkShaper({ delayMs: 50 })
    link.set({ delayMs: 5 })
    equal(link.admit(0, 100, Math.random), 5)
    link.set({ lossPct: 100 })
    equal(link.admit(0, 100, Math.random), null)
  })
})

describe('NFQUEUE messages', () => {
  it('binds a queue in three requests of whole words', () => {
    const requests = bindRequests(258)
    equal(requests.length, 3)
    for (const request of requests) {
      equal(request.readUInt32LE(0), request.length)
      equal(request.length % 4, 0)
      equal(request.readUInt16BE(18), 258)
    }
  })

  it('reads what it wrote: the id of a verdict, the error of a reply', () => {
    const bytes = new DataView(new ArrayBuffer(VERDICT_BYTES))
    writeVerdict(bytes, 0, 7, 0xfffffffe, true)
    equal(bytes.getUint32(0, true), VERDICT_BYTES)
    equal(bytes.getUint16(18), 7)
    equal(bytes.getUint32(24), 1)
    equal(bytes.getUint32(28), 0xfffffffe)
    const reply = Buffer.alloc(36)
    reply.writeUInt16LE(2, 4)
    reply.writeInt32LE(-1, 16)
    equal(readReply(reply), 1)
  })

  it('reads a packet, and throws at no bytes at all', () => {
    const message = Buffer.alloc(20 + 12 + 8)
    message.writeUInt32LE(message.length, 0)
    message.writeUInt16LE(0x300, 4)
    message.writeUInt16BE(5, 18)
    message.writeUInt16LE(11, 20)
    message.writeUInt16LE(1, 22)
    message.writeUInt32BE(99, 24)
    message.writeUInt16LE(8, 32)
    message.writeUInt16LE(13, 34)
    message.writeUInt32BE(1500, 36)
    const view = new DataView(message.buffer, message.byteOffset, message.length)
    deepEqual(readPacket(view, 0, message.length), { queue: 5, packetId: 99, sizeBytes: 1500 })
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 8, maxLength: 80 }), bytes => {
        bytes[4] = 0
        bytes[5] = 3
        readPacket(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 0, bytes.length)
      })
    )
  })
})
