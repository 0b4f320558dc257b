import assert from 'node:assert/strict'
import fc from 'fast-check'
import { createBudget, paced } from './budget.ts'
import { decide } from './decide.ts'
import { CEILINGS, DEFAULT_HARD_PUNCH_LIMITS, readHardPunch, withinCeilings } from './hard-limits.ts'
import type { NatKindSeen } from './kinds.ts'
import { createLedger, type LedgerPlace, type LedgerRefusal } from './ledger.ts'
import { parseMessage } from './messages.ts'
import { decodePunch, encodePunch, PUNCH_BYTES, PUNCH_KINDS, type PunchKind } from './packets.ts'
import {
  between,
  FIRST_PORT,
  LAST_PORT,
  likelyRange,
  MAX_WINDOW_PORTS,
  missChance,
  nextPorts,
  planBirthday,
  portCount,
  randomPorts
} from './ports.ts'
import { RESERVED_PACKETS } from './symmetric-side.ts'

const port = fc.integer({ min: FIRST_PORT, max: LAST_PORT })
const token = fc.uint8Array({ minLength: 16, maxLength: 16 })
const ALL_PORTS = LAST_PORT - FIRST_PORT + 1
const HOUR_MS = 3_600_000

const cone: NatKindSeen = { mapping: 'endpoint-independent', allocation: 'preserving', filtering: 'unknown' }
const symmetric = (allocation: NatKindSeen['allocation']): NatKindSeen => ({
  mapping: 'address-and-port-dependent',
  allocation,
  filtering: 'address-and-port-dependent'
})
const nothing: NatKindSeen = { mapping: 'unknown', allocation: 'unknown', filtering: 'unknown' }

describe('the table of hard pairs', () => {
  it('gives each pair its method and every pair without one a reason', () => {
    const rows: Array<[NatKindSeen, NatKindSeen, object]> = [
      [cone, cone, { method: 'dcutr', reason: 'both-cone' }],
      [cone, symmetric('sequential'), { method: 'sandwich', symmetric: 'other' }],
      [symmetric('sequential'), cone, { method: 'sandwich', symmetric: 'own' }],
      [cone, symmetric('random'), { method: 'birthday', symmetric: 'other' }],
      [symmetric('block'), cone, { method: 'birthday', symmetric: 'own' }],
      [cone, symmetric('hash'), { method: 'relay', reason: 'hash-allocation' }],
      [symmetric('unknown'), cone, { method: 'relay', reason: 'allocation-unknown' }],
      [symmetric('random'), symmetric('sequential'), { method: 'relay', reason: 'both-symmetric' }],
      [{ ...cone, filtering: 'address-dependent' }, symmetric('random'), { method: 'dcutr', reason: 'cone-lets-in' }],
      [symmetric('hash'), { ...cone, filtering: 'endpoint-independent' }, { method: 'dcutr', reason: 'cone-lets-in' }],
      [cone, nothing, { method: 'relay', reason: 'kind-unknown' }],
      [nothing, symmetric('random'), { method: 'relay', reason: 'kind-unknown' }],
      [{ ...cone, mapping: 'unknown' }, symmetric('random'), { method: 'birthday', symmetric: 'other' }],
      [{ ...symmetric('random'), mapping: 'address-dependent' }, cone, { method: 'birthday', symmetric: 'own' }]
    ]
    for (const [own, other, decision] of rows) assert.deepEqual(decide(own, other), decision)
  })

  it('both ends decide the same, with the sides exchanged', () => {
    const kinds = [cone, nothing, ...(['sequential', 'random', 'block', 'hash', 'unknown'] as const).map(symmetric)]
    for (const own of kinds) {
      for (const other of kinds) {
        const [here, there] = [decide(own, other), decide(other, own)]
        const swapped =
          'symmetric' in here ? { ...here, symmetric: here.symmetric === 'own' ? 'other' : 'own' } : { ...here }
        assert.deepEqual(there, swapped)
      }
    }
  })
})

describe('ports to probe', () => {
  it('a plan stays within sockets and packets', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: ALL_PORTS }),
        fc.integer({ min: 1, max: 512 }),
        fc.integer({ min: 2, max: 4096 }),
        (ports, maxSockets, maxPackets) => {
          const { sockets, probes } = planBirthday({ ports, maxSockets, maxPackets })
          assert.ok(sockets >= 1 && sockets <= maxSockets)
          assert.ok(probes >= 1 && probes <= ports)
          assert.ok(sockets + probes <= maxPackets)
        }
      )
    )
  })

  it('the shipped limits miss a random NAT in three of a thousand cases without loss, a block practically never', () => {
    const { maxSockets } = DEFAULT_HARD_PUNCH_LIMITS
    const maxPackets = DEFAULT_HARD_PUNCH_LIMITS.maxPackets - RESERVED_PACKETS
    const random = planBirthday({ ports: ALL_PORTS, maxSockets, maxPackets })
    assert.ok(missChance(random, ALL_PORTS) < 0.004, `${missChance(random, ALL_PORTS)}`)
    const block = planBirthday({ ports: 1024, maxSockets, maxPackets })
    assert.ok(missChance(block, 1024) < 0.002)
    assert.ok(block.sockets + block.probes < 300)
  })

  it('random ports are distinct, of the range, and all of it when as many are asked', () => {
    fc.assert(
      fc.property(port, port, fc.nat(2000), (one, other, count) => {
        const range = { lowest: Math.min(one, other), highest: Math.max(one, other) }
        const ports = randomPorts(range, count)
        assert.equal(ports.length, Math.min(count, portCount(range)))
        assert.equal(new Set(ports).size, ports.length)
        assert.ok(ports.every(each => each >= range.lowest && each <= range.highest))
      })
    )
  })

  it('every port is as likely as another', () => {
    let state = 7
    const random = () => {
      state = (state * 48_271) % 2_147_483_647
      return state / 2_147_483_647
    }
    const counts = new Array<number>(10).fill(0)
    for (let n = 0; n < 5000; n++)
      for (const each of randomPorts({ lowest: 2000, highest: 2009 }, 3, random)) counts[each - 2000]!++
    for (const count of counts) assert.ok(Math.abs(count - 1500) < 200, `${counts}`)
  })

  it('the slice of a sandwich is what is between, and nothing when that cannot be right', () => {
    assert.deepEqual(between(100, 102, 1), { lowest: 101, highest: 101 })
    assert.deepEqual(between(102, 100, -1), { lowest: 101, highest: 101 })
    assert.equal(between(100, 101, 1), null)
    assert.equal(between(102, 100, 1), null)
    assert.equal(between(65_000, 1100, 1), null)
    assert.equal(between(100, 102 + MAX_WINDOW_PORTS, 1), null)
    assert.deepEqual(nextPorts(100_0, 2, 4), { lowest: 1024, highest: 1008 })
    assert.deepEqual(nextPorts(30_000, 2, 4), { lowest: 30_001, highest: 30_008 })
    assert.deepEqual(nextPorts(30_000, -1, 4), { lowest: 29_996, highest: 29_999 })
  })

  it('the likely range holds what was seen and never a well-known port', () => {
    fc.assert(
      fc.property(port, port, fc.integer({ min: 1, max: 16 }), (one, other, seen) => {
        const range = { lowest: Math.min(one, other), highest: Math.max(one, other) }
        const likely = likelyRange(range, seen)
        assert.ok(likely.lowest >= FIRST_PORT && likely.lowest <= range.lowest)
        assert.ok(likely.highest <= LAST_PORT && likely.highest >= range.highest)
      })
    )
  })
})

describe('caps of hard punches', () => {
  const CAPS = { perPairPerHour: 2, perHostPerHour: 100, perHour: 100 }
  const placeOf = (begun: LedgerPlace | LedgerRefusal): LedgerPlace => {
    assert.ok(typeof begun !== 'string', String(begun))
    return begun
  }

  it('one at a time, two an hour with one peer, others as before', () => {
    let nowMs = 0
    const ledger = createLedger({ ...CAPS, nowMs: () => nowMs })
    const place = placeOf(ledger.begin('a'))
    assert.equal(ledger.begin('b'), 'busy')
    assert.equal(place.count('x y', 'y'), null)
    assert.equal(place.count('x y', 'y'), null)
    assert.equal(place.count('x y', 'y'), 'too-often')
    place.end()
    const other = placeOf(ledger.begin('b'))
    place.end()
    assert.equal(ledger.begin('c'), 'busy')
    assert.equal(other.count('x z', 'y'), null)
    other.end()
    nowMs = HOUR_MS - 1
    const early = placeOf(ledger.begin('a'))
    assert.equal(early.count('x y', 'y'), 'too-often')
    nowMs = HOUR_MS + 1
    assert.equal(early.count('x y', 'y'), null)
  })

  it('the first after a network change is free of the hourly cap, but not without end', () => {
    const ledger = createLedger({ ...CAPS, nowMs: () => 0 })
    const place = placeOf(ledger.begin('a'))
    assert.equal(place.count('home y', 'y'), null)
    assert.equal(place.count('home y', 'y'), null)
    assert.equal(place.count('home y', 'y'), 'too-often')
    assert.equal(place.count('office y', 'y'), null)
    assert.equal(place.count('office y', 'y'), 'too-often')
    let allowed = 3
    while (place.count(`network ${allowed}`, 'y') === null) allowed++
    assert.ok(allowed < 20, `${allowed}`)
  })

  it('holds against the address of an asker only what was not refused here', () => {
    const ledger = createLedger({ perPairPerHour: 1, perHostPerHour: 2, perHour: 50, nowMs: () => 0 })
    const first = placeOf(ledger.begin('a', 'host'))
    assert.equal(first.count('own host', 'host'), null)
    first.end()
    for (let tries = 0; tries < 5; tries++) {
      const place = placeOf(ledger.begin('a', 'host'))
      assert.equal(place.refusal('own host', 'host'), 'too-often')
      place.end()
    }
    for (let tries = 0; tries < 2; tries++) placeOf(ledger.begin('b', 'host')).end()
    assert.equal(ledger.begin('b', 'host'), 'too-often')
  })

  it('peers that come in numbers do not get more than one address and the hour are allowed', () => {
    let nowMs = 0
    const ledger = createLedger({ perPairPerHour: 2, perHostPerHour: 3, perHour: 5, nowMs: () => nowMs })
    const counted = (peerId: string, host: string) => {
      const place = placeOf(ledger.begin(peerId))
      const foreseen = place.refusal(`own ${host}`, host)
      const refused = place.count(`own ${host}`, host)
      place.end()
      assert.equal(foreseen, refused)
      return refused === null
    }
    const allowed = Array.from({ length: 20 }, (_, nth) => counted(`peer ${nth}`, 'target'))
    assert.equal(allowed.filter(Boolean).length, 3)
    const others = Array.from({ length: 20 }, (_, nth) => counted(`peer ${nth}`, `other ${nth}`))
    assert.equal(others.filter(Boolean).length, 2)
    nowMs = HOUR_MS + 1
    assert.ok(counted('peer 30', 'target'))
  })

  it('an address that takes the place again and again for nothing does not get it, whatever its peers are called', () => {
    let nowMs = 0
    const ledger = createLedger({ ...CAPS, perHostPerHour: 3, nowMs: () => nowMs })
    for (let nth = 0; nth < 3; nth++) placeOf(ledger.begin(`peer ${nth}`, 'idler')).end()
    assert.equal(ledger.begin('peer 4', 'idler'), 'too-often')
    for (let nth = 0; nth < 3; nth++) {
      const place = placeOf(ledger.begin('honest', 'elsewhere'))
      place.count(`network ${nth}`, 'elsewhere')
      place.end()
    }
    placeOf(ledger.begin('honest', 'elsewhere')).end()
    // Whom we ask ourselves is another matter.
    placeOf(ledger.begin('peer 5')).end()
    nowMs = HOUR_MS + 1
    placeOf(ledger.begin('peer 6', 'idler')).end()
  })

  it('peers that ask without end are refused, whatever number of them is remembered', () => {
    let nowMs = 0
    const ledger = createLedger({ ...CAPS, nowMs: () => nowMs })
    let asks = 0
    while (ledger.asked('a') === null) asks++
    assert.ok(asks > 2 && asks < 100)
    assert.equal(ledger.asked('b'), null)
    nowMs = HOUR_MS + 1
    assert.equal(ledger.asked('a'), null)
  })

  it('a budget is never overdrawn', () => {
    fc.assert(
      fc.property(fc.nat(50), fc.nat(100), (packets, takes) => {
        const budget = createBudget(packets)
        const given = Array.from({ length: takes }, budget.take).filter(Boolean).length
        assert.equal(given, Math.min(packets, takes))
        assert.equal(budget.spent() + budget.left(), packets)
      })
    )
  })

  it('sending at a pace ends with the signal or when it is over', async () => {
    const aborting = new AbortController()
    const sent: number[] = []
    const each = Array.from({ length: 1000 }, (_, nth) => nth)
    const options = { perSecond: 1000, signal: aborting.signal, isOver: () => sent.length >= 20 }
    assert.equal(await paced(each, one => sent.push(one), options), 20)
    assert.deepEqual(sent, each.slice(0, 20))
    aborting.abort()
    assert.equal(await paced(each, () => assert.fail('sent'), { ...options, isOver: () => false }), 0)
  })

  it('no configuration passes the ceilings', () => {
    const high = { ...DEFAULT_HARD_PUNCH_LIMITS, maxSockets: 9999, maxPackets: 99_999, packetsPerSecond: 99_999 }
    const { maxSockets, maxPackets, packetsPerSecond } = withinCeilings(high)
    assert.deepEqual({ maxSockets, maxPackets, packetsPerSecond }, { ...CEILINGS })
    const problems: string[] = []
    readHardPunch(
      { P2P_HARD_PUNCH_MAX_PACKETS: '5000', P2P_HARD_PUNCH: 'maybe', P2P_HARD_PUNCH_DEADLINE_MS: 'x' },
      problems
    )
    for (const name of ['P2P_HARD_PUNCH_MAX_PACKETS', 'P2P_HARD_PUNCH is', 'P2P_HARD_PUNCH_DEADLINE_MS']) {
      assert.ok(
        problems.some(problem => problem.startsWith(name)),
        name
      )
    }
    assert.equal(problems.length, 3)
    assert.deepEqual(readHardPunch({}, problems), { enabled: true, limits: DEFAULT_HARD_PUNCH_LIMITS })
    assert.equal(readHardPunch({ P2P_HARD_PUNCH: 'false' }, problems).enabled, false)
    assert.equal(problems.length, 3)
  })
})

describe('words of a hard punch', () => {
  it('a datagram of 17 bytes is of one attempt and never looks like QUIC', () => {
    fc.assert(
      fc.property(fc.constantFrom(...(Object.keys(PUNCH_KINDS) as PunchKind[])), token, token, (kind, own, other) => {
        const bytes = encodePunch(kind, own)
        assert.equal(bytes.byteLength, PUNCH_BYTES)
        assert.ok(bytes[0]! < 0x40)
        assert.equal(decodePunch(bytes, own), kind)
        if (Buffer.compare(own, other) !== 0) assert.equal(decodePunch(bytes, other), null)
      })
    )
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), token, (noise, own) => assert.equal(decodePunch(noise, own), null))
    )
  })

  it('messages that are none are not taken for one', () => {
    const hex = '00'.repeat(16)
    const hello = { type: 'hello', token: hex, role: 'initiator' }
    assert.deepEqual(parseMessage(hello), hello)
    const probe = { type: 'probe', lowest: 2000, highest: 2001, probes: 2, coneFirst: false }
    assert.deepEqual(parseMessage(probe), probe)
    for (const hostile of [
      {},
      { ...hello, role: 'both' },
      { ...hello, token: 'zz'.repeat(16) },
      { ...hello, token: `${hex}00` },
      { ...probe, lowest: 22 },
      { ...probe, highest: 65_536 },
      { ...probe, probes: 0 },
      { ...probe, probes: 1e9 },
      { type: 'ready', port: 53 },
      { type: 'ready', port: '4001' },
      { type: 'kind', kind: { ...cone, allocation: 'all' }, host: null },
      { type: 'kind', kind: cone, host: 'localhost' },
      { type: 'failed', reason: 'x'.repeat(100) },
      { type: '__proto__' }
    ]) {
      assert.equal(parseMessage(hostile), null, JSON.stringify(hostile))
    }
    fc.assert(
      fc.property(fc.anything(), anything => {
        parseMessage(anything)
      })
    )
  })
})
