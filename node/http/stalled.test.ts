import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { eventually } from '../net/testing.ts'
import type { Answer } from './request.ts'
import { endStalled, SYSTEM_BUFFER_BYTES } from './stalled.ts'

const MIB = 1024 * 1024
const STALL_TIMEOUT_MS = 20
const BODY_MS_PER_MIB = 60_000

describe('an end to clients that take nothing', () => {
  it('comes only after the time for what waits here and what the system may still have', async () => {
    let nowMs = 0
    let looks = 0
    let answer: Answer | undefined
    const server = createServer((req, res) => {
      answer = { req, res }
      endStalled(answer, {
        stallTimeoutMs: STALL_TIMEOUT_MS,
        bodyMsPerMib: BODY_MS_PER_MIB,
        nowMs() {
          looks += 1
          return nowMs
        }
      })
      res.write(Buffer.alloc(32 * MIB))
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
    try {
      client.pause()
      client.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
      const { res } = (await eventually(() => answer, 'it was asked'))!
      const looked = async (times: number) => {
        const until = looks + times
        await eventually(() => looks >= until || res.destroyed, 'it looked again')
      }
      let lastBytes = -1
      await eventually(async () => {
        const before = lastBytes
        await looked(4)
        lastBytes = res.socket!.writableLength
        return lastBytes > 0 && lastBytes === before
      }, 'the system takes no more')
      const hereMs = (lastBytes / MIB) * BODY_MS_PER_MIB
      const systemMs = (SYSTEM_BUFFER_BYTES / MIB) * BODY_MS_PER_MIB
      nowMs = STALL_TIMEOUT_MS + hereMs + systemMs - 1
      await looked(3)
      assert.equal(res.destroyed, false)
      // More for it to take is not taken.
      res.write('more')
      nowMs += 2
      await eventually(() => res.destroyed, 'it is ended')
    } finally {
      client.destroy()
      server.close()
    }
  })

  it('does not come while the blob itself is waited for: what there was of it was taken', async () => {
    let nowMs = 0
    let looks = 0
    const server = createServer((req, res) => {
      endStalled(
        { req, res },
        {
          stallTimeoutMs: STALL_TIMEOUT_MS,
          bodyMsPerMib: BODY_MS_PER_MIB,
          // An hour goes by between two looks.
          nowMs() {
            looks += 1
            nowMs += 3_600_000
            return nowMs
          }
        }
      )
      res.write('the beginning')
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
    let isEnded = false
    client.once('close', () => {
      isEnded = true
    })
    try {
      client.resume()
      client.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
      await eventually(() => looks >= 10 || isEnded, 'it looked')
      assert.equal(isEnded, false)
    } finally {
      client.destroy()
      server.close()
    }
  })
})
