import assert from 'node:assert/strict'
import { DEFAULT_LIMITS, generousEnvironment, NETWORK_LIMITS, RELAY_LIMITS, readLimits } from './limits.ts'

describe('the limits', () => {
  it('have their defaults when nothing is set, and what is set otherwise', () => {
    const problems: string[] = []
    assert.deepEqual(readLimits(NETWORK_LIMITS, {}, problems), DEFAULT_LIMITS)
    const opened = readLimits(NETWORK_LIMITS, generousEnvironment('node'), problems)
    for (const [key, spec] of Object.entries(NETWORK_LIMITS))
      assert.equal(opened[key as keyof typeof opened], spec.generous)
    assert.equal(generousEnvironment('node').RELAY_MAX_RESERVATIONS, undefined)
    assert.equal(generousEnvironment('relay').RELAY_MAX_RESERVATIONS, String(RELAY_LIMITS.maxReservations.generous))
    assert.deepEqual(problems, [])
  })

  it('name every wrong value at once', () => {
    const problems: string[] = []
    for (const wrong of ['0', '-1', '1.5', 'many', '1e3', ' 7']) {
      readLimits(NETWORK_LIMITS, { P2P_MAX_CONNECTIONS: wrong, P2P_DHT_K: wrong }, problems)
    }
    assert.equal(problems.length, 12)
    assert.match(problems[0] ?? '', /^P2P_MAX_CONNECTIONS is "0": a whole number above 0/)
  })

  it('keep a window below the read buffer, or a paused stream would be reset', () => {
    const { maxWindowBytes, readBufferBytes } = NETWORK_LIMITS
    assert.ok(maxWindowBytes.default < readBufferBytes.default && maxWindowBytes.generous < readBufferBytes.generous)
  })

  it('have a name each', () => {
    const names = [...Object.values(NETWORK_LIMITS), ...Object.values(RELAY_LIMITS)].map(({ env }) => env)
    assert.equal(new Set(names).size, names.length)
  })
})
