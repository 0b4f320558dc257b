import assert from 'node:assert/strict'
import { multiaddr } from '@multiformats/multiaddr'
import { DEFAULT_LIMITS } from '../limits.ts'
import { createAllowance, createHostAllowance, createSlots } from './allowance.ts'
import { DcutrBusyError, DcutrRateLimitedError } from './dcutr-errors.ts'

describe('the allowance of punches', () => {
  it('is used up by a peer that asks without end, and is back after a minute', () => {
    let nowMs = 0
    const allowance = createAllowance({ perPeerPerMinute: 3, perMinute: 100, nowMs: () => nowMs })
    const granted = (peer: string, asks: number) => {
      let given = 0
      for (let ask = 0; ask < asks; ask++) {
        try {
          allowance.take(peer)
          given++
        } catch (error) {
          assert.ok(error instanceof DcutrRateLimitedError && error.whose === 'peer')
        }
      }
      return given
    }
    assert.equal(granted('a', 1000), 3)
    assert.equal(granted('b', 1), 1)
    nowMs += 20_000
    assert.equal(granted('a', 1000), 1)
    nowMs += 600_000
    assert.equal(granted('a', 1000), 3)
  })

  it('holds for all together, however many names a peer takes', () => {
    const allowance = createAllowance({ perPeerPerMinute: 3, perMinute: 10, nowMs: () => 0 })
    let given = 0
    for (let peer = 0; peer < 5000; peer++) {
      try {
        allowance.take(`peer-${peer}`)
        given++
      } catch (error) {
        assert.ok(error instanceof DcutrRateLimitedError && error.whose === 'all')
      }
    }
    assert.equal(given, 10)
  })
})

describe('the allowance of hosts that are punched at', () => {
  const at = (...addresses: string[]) => addresses.map(address => ({ address: multiaddr(address) }))

  it('costs a host once an attempt, and its minute is over for every port and transport of it', () => {
    let nowMs = 0
    const hosts = createHostAllowance({ perHostPerMinute: 2, nowMs: () => nowMs })
    const victim = at('/ip4/11.0.0.1/tcp/4001', '/ip4/11.0.0.1/udp/4002/quic-v1', '/ip4/11.0.0.1/tcp/4003')
    const other = at('/ip4/11.0.0.2/tcp/4001')
    assert.deepEqual(hosts.take(victim), victim)
    assert.deepEqual(hosts.take(victim), victim)
    assert.deepEqual(hosts.take([...victim, ...other]), other)
    nowMs += 30_000
    assert.equal(hosts.take(victim).length, 3)
    assert.equal(hosts.take(victim).length, 0)
  })

  it('takes a /64 for one host', () => {
    const hosts = createHostAllowance({ perHostPerMinute: 1, nowMs: () => 0 })
    assert.equal(hosts.take(at('/ip6/2600:0:0:1::1/tcp/4001')).length, 1)
    assert.equal(hosts.take(at('/ip6/2600:0:0:1:ffff::2/tcp/4001')).length, 0)
    assert.equal(hosts.take(at('/ip6/2600:0:0:2::1/tcp/4001')).length, 1)
  })

  it('is not forgotten for as many other hosts as all peers can name in a minute', () => {
    const hosts = createHostAllowance({ perHostPerMinute: 1, nowMs: () => 0 })
    const victim = at('/ip4/11.0.0.1/tcp/4001')
    assert.equal(hosts.take(victim).length, 1)
    // Two hosts of each family an attempt.
    for (let host = 0; host < DEFAULT_LIMITS.punchesPerMinute * 4; host++)
      hosts.take(at(`/ip4/12.0.${host >> 8}.${host & 255}/tcp/4001`))
    assert.equal(hosts.take(victim).length, 0)
  })
})

describe('the slots of punches', () => {
  it('are never more than there are, given in turn, and refused when too many wait', async () => {
    const { signal } = new AbortController()
    const slots = createSlots(1)
    const free = slots.take()
    assert.throws(() => slots.take(), DcutrBusyError)
    const order: number[] = []
    const waiting = [1, 2, 3, 4, 5, 6, 7, 8].map(async number => {
      const release = await slots.wait(signal)
      order.push(number)
      assert.equal(slots.used(), 1)
      release()
      release()
    })
    await assert.rejects(slots.wait(signal), DcutrBusyError)
    free()
    await Promise.all(waiting)
    assert.deepEqual(order, [1, 2, 3, 4, 5, 6, 7, 8])
    assert.equal(slots.used(), 0)
  })

  it('pass by who gave up', async () => {
    const slots = createSlots(1)
    const free = slots.take()
    const end = new AbortController()
    const gaveUp = slots.wait(end.signal)
    const stays = slots.wait(new AbortController().signal)
    end.abort(new Error('enough'))
    await assert.rejects(gaveUp, /enough/)
    free()
    const release = await stays
    release()
    assert.equal(slots.used(), 0)
  })
})
