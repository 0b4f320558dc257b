import { deepEqual, equal } from 'node:assert/strict'
import { bothWays, receivedBytes, type TransferRow, transferFaults } from './moved-transfer.ts'
import type { PeerFacts } from './peer.types.ts'

const MIB = 1024 * 1024

const good: TransferRow = {
  transfer: 'test',
  bytes: 64 * MIB,
  tookMs: 5000,
  sha256: 'x',
  isIntact: true,
  beganRelayed: true,
  circuits: 1,
  fullestCircuit: 4 * MIB,
  circuitLimit: 10 * MIB,
  byRelay: 4 * MIB,
  byDirect: 62 * MIB,
  intoRelays: 5 * MIB,
  relayedInLast: 0,
  moves: 1,
  resumes: 1
}

describe('a transfer that moves from a relay', () => {
  it('is without fault when it begins there, ends directly, and keeps its bytes and the limit', () => {
    deepEqual(transferFaults(good, false), [])
    deepEqual(transferFaults({ ...good, circuits: 2 }, true), [])
  })

  for (const [what, change] of Object.entries({
    'other bytes': { isIntact: false },
    'a direct beginning': { beganRelayed: false },
    'nothing by the relay': { byRelay: 0, byDirect: 66 * MIB },
    'no move': { moves: 0 },
    'a relayed end': { relayedInLast: MIB },
    'bytes that nobody carried': { byDirect: 59 * MIB },
    'a circuit beyond its limit': { fullestCircuit: 10 * MIB + 1 }
  })) {
    it(`is at fault with ${what}`, () => equal(transferFaults({ ...good, ...change }, false).length, 1))
  }

  it('is at fault when it was to outlive a cut and none came', () => equal(transferFaults(good, true).length, 1))

  it('is measured at interfaces, loopback apart', () => {
    const text =
      'Inter-|   Receive\n face |bytes packets\n    lo: 1000 2 0 0 0 0 0 0 1000 2\n  eth0: 234 2 0\nveth1:1 2 0 0 0 0 0 0 9 9\n'
    equal(receivedBytes(text), 235)
  })

  it('has circuits of what came in at both ends', () => {
    const facts = (...bytes: number[]): PeerFacts => ({
      attempts: null,
      failures: [],
      connections: bytes.map(bytesSinceMark => ({
        address: '',
        isDirect: bytesSinceMark === 0,
        openAtMs: 0,
        closedAtMs: null,
        bytesSinceMark
      }))
    })
    deepEqual(bothWays(facts(5, 0, 7), facts(1, 2, 3)), [6, 9, 3])
  })
})
