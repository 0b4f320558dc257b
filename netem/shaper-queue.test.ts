import { deepEqual, equal, ok } from 'node:assert/strict'
import fc from 'fast-check'
import { bindRequests, readPacket, readReply, replacingVerdict, VERDICT_BYTES, writeVerdict } from './nfqueue.ts'
import { corrupted, LinkShaper, PacketHeap } from './shaper-queue.ts'

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
    deepEqual(link.stats, { packets: 34, lost: 1, overflowed: 1, corrupted: 0, held: 32 })
    link.release()
    ok(link.admit(0, 1000, () => 0.3) !== null)
  })

  it('lets those overtake that are reordered', () => {
    const link = new LinkShaper({ delayMs: 20, reorderPct: 25 })
    equal(
      link.admit(0, 100, () => 0.2),
      0
    )
    equal(
      link.admit(0, 100, () => 0.3),
      20
    )
  })

  it('spreads delays as their distribution says, and never lets a packet go before it came', () => {
    const link = new LinkShaper({ delayMs: 5, jitterMs: 5, distribution: 'normal' })
    equal(
      link.admit(100, 100, () => 0),
      100
    )
    ok(Math.abs(link.admit(100, 100, () => 0.5)! - 105) < 0.05)
    ok(link.admit(100, 100, () => 0.999)! > 115)
  })

  it('loses in bursts of the mean length asked for, and as much as asked', () => {
    // A fixed sequence, so that this says the same every time.
    let state = 1
    const random = () => {
      state = (state * 48_271) % 2_147_483_647
      return state / 2_147_483_647
    }
    const link = new LinkShaper({ lossPct: 5, lossBurst: 4 })
    let runs = 0
    let wasLost = false
    for (let n = 0; n < 200_000; n++) {
      const isLost = link.admit(n, 100, random) === null
      if (!isLost) link.release()
      if (isLost && !wasLost) runs++
      wasLost = isLost
    }
    ok(Math.abs(link.stats.lost / 200_000 - 0.05) < 0.004, `${link.stats.lost} lost`)
    ok(Math.abs(link.stats.lost / runs - 4) < 0.2, `${link.stats.lost / runs} at a time`)
  })

  it('corrupts by chance, one bit, and not where the receiver would not look', () => {
    const link = new LinkShaper({ corruptPct: 10 })
    equal(link.corrupts, true)
    equal(
      link.corruptsNow(() => 0.09),
      true
    )
    equal(
      link.corruptsNow(() => 0.1),
      false
    )
    equal(link.stats.corrupted, 1)
    const packet = Uint8Array.from({ length: 40 }, (_, index) => (index === 0 ? 0x45 : 0))
    equal(corrupted(packet, 159), null)
    equal(corrupted(packet, 163)![20], 8)
    equal(packet[20], 0)
    packet[0] = 0x60
    equal(corrupted(packet, 8)![1], 1)
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
    const reply = new DataView(new ArrayBuffer(36))
    reply.setUint16(4, 2, true)
    reply.setInt32(16, -1, true)
    deepEqual(readReply(reply, 0, 36), { errno: 1 })
    equal(readReply(bytes, 0, VERDICT_BYTES), null)
    reply.setInt32(16, 0, true)
    equal(readReply(reply, 0, 36), 'done')
  })

  it('tells a verdict that came too late from a request that was refused', () => {
    const answerTo = (message: Buffer): DataView => {
      const reply = Buffer.alloc(20 + message.length)
      reply.writeUInt16LE(2, 4)
      reply.writeInt32LE(-2, 16)
      message.copy(reply, 20)
      return new DataView(reply.buffer, reply.byteOffset, reply.length)
    }
    const late = answerTo(replacingVerdict(7, 9, Uint8Array.of(1)))
    equal(readReply(late, 0, late.byteLength), 'gone')
    const refused = answerTo(bindRequests(7)[0]!)
    deepEqual(readReply(refused, 0, refused.byteLength), { errno: 2 })
  })

  it('lets other bytes pass in a whole word, the true length said', () => {
    const verdict = replacingVerdict(7, 9, Uint8Array.of(1, 2, 3, 4, 5))
    equal(verdict.length, VERDICT_BYTES + 12)
    equal(verdict.readUInt32LE(0), verdict.length)
    equal(verdict.readUInt16LE(VERDICT_BYTES), 9)
    deepEqual([...verdict.subarray(VERDICT_BYTES + 4)], [1, 2, 3, 4, 5, 0, 0, 0])
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
    deepEqual(readPacket(view, 0, message.length), {
      queue: 5,
      packetId: 99,
      sizeBytes: 1500,
      payloadAt: message.length,
      payloadBytes: 0
    })
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 8, maxLength: 80 }), bytes => {
        bytes[4] = 0
        bytes[5] = 3
        readPacket(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 0, bytes.length)
      })
    )
  })
})
