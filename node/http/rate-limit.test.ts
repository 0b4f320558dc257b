import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { countedAddress } from './client-address.ts'
import { HTTP_LIMITS, type HttpLimits } from './http-limits.ts'
import { createRateCounter, type RateClass, rateClassOf } from './rate-limit.ts'

const limits = Object.fromEntries(Object.entries(HTTP_LIMITS).map(([key, spec]) => [key, spec.default])) as HttpLimits
const request = (remoteAddress: string, headers: Record<string, string> = {}) =>
  ({ socket: { remoteAddress }, headers: { host: '127.0.0.1:5001', ...headers } }) as unknown as IncomingMessage

describe('rates', () => {
  it('have the documented limits, each class of routes its own', () => {
    const expected: Array<[string, RateClass, number]> = [
      ['/', 'general', 200],
      ['/replication/x', 'general', 200],
      ['/health', 'monitoring', 1000],
      ['/metrics', 'monitoring', 1000],
      ['/store', 'store', 60],
      ['/proofs/generate', 'proofs', 100],
      ['/replicate', 'replicate', 120],
      ['/admin/gc', 'admin', 10],
      ['/pin/x', 'admin', 10],
      ['/peers/connect', 'admin', 10],
      ['/retrieve/x', 'read', 300],
      ['/blob/x', 'read', 300],
      ['/blobs', 'read', 300],
      // The router takes these for the same routes.
      ['/STORE', 'store', 60],
      ['/store/', 'store', 60],
      ['/Admin/gc', 'admin', 10],
      ['/peers/connect/', 'admin', 10]
    ]
    for (const [path, rateClass, limit] of expected) {
      assert.equal(rateClassOf(path), rateClass, path)
      const counter = createRateCounter(limits, () => 0)
      const allowed = Array.from({ length: limit + 5 }, () => counter.count('a', rateClass).allowed)
      assert.equal(allowed.lastIndexOf(true), limit - 1, path)
    }
  })

  it('are of one address, and begin anew after a minute', () => {
    let now = 0
    const counter = createRateCounter({ ...limits, rateStore: 2 }, () => now)
    assert.deepEqual(counter.count('a', 'store'), { allowed: true, limit: 2, remaining: 1, resetS: 60 })
    now = 30_000
    assert.deepEqual(counter.count('a', 'store'), { allowed: true, limit: 2, remaining: 0, resetS: 30 })
    assert.equal(counter.count('a', 'store').allowed, false)
    assert.equal(counter.count('b', 'store').allowed, true)
    assert.equal(counter.count('a', 'read').allowed, true)
    now = 60_000
    assert.equal(counter.count('a', 'store').allowed, true)
  })

  it('are kept of a bounded number of addresses', () => {
    const counter = createRateCounter({ ...limits, rateAddresses: 100, rateStore: 1 }, () => 0)
    for (let i = 0; i < 10_000; i += 1) counter.count(`10.0.${i >> 8}.${i & 255}`, 'store')
    assert.equal(counter.size, 100)
    assert.equal(counter.count('10.0.39.15', 'store').allowed, false)
  })

  it('count by connection, by the /64 of IPv6, and by what trusted proxies wrote', () => {
    const forwarded = { 'x-forwarded-for': '6.6.6.6, 1.2.3.4, 5.6.7.8' }
    assert.equal(countedAddress(request('::ffff:11.0.0.1', forwarded), 0), '11.0.0.1')
    assert.equal(countedAddress(request('127.0.0.1', forwarded), 1), '5.6.7.8')
    assert.equal(countedAddress(request('127.0.0.1', forwarded), 2), '1.2.3.4')
    assert.equal(countedAddress(request('127.0.0.1'), 2), '127.0.0.1')
    assert.equal(countedAddress(request('127.0.0.1', { 'x-forwarded-for': 'nonsense' }), 1), '127.0.0.1')
    // An entry of ours that is no address is none of those a client wrote before it.
    const unnamed = { 'x-forwarded-for': '6.6.6.6, unknown' }
    assert.equal(countedAddress(request('127.0.0.1', unnamed), 1), '127.0.0.1')
    const one = countedAddress(request('2001:db8:0:1::1'), 0)
    assert.equal(countedAddress(request('2001:db8:0:1:ffff::2'), 0), one)
    assert.notEqual(countedAddress(request('2001:db8:0:2::1'), 0), one)
  })
})
