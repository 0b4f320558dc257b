import assert from 'node:assert/strict'
import fc from 'fast-check'
import { allocationOf, filteringOf, mappingOf, natFacts, type Observation } from './kinds.ts'

const FIRST = '11.0.0.1'
const SECOND = '11.0.0.2'
const BY = [FIRST, SECOND].flatMap(host => [4003, 4004].map(port => ({ host, port })))

/** Four sockets seen by every endpoint; `outer` gives the port, null no answer. */
function observe(outer: (socket: number, endpoint: number, nth: number) => number | null, by = BY): Observation[] {
  return [0, 1, 2, 3].flatMap(socket =>
    by.map((place, endpoint): Observation => {
      const port = outer(socket, endpoint, socket * by.length + endpoint)
      return { socket, localPort: 40_000 + socket, by: place, seen: port === null ? null : { host: '11.0.0.9', port } }
    })
  )
}
const anyPort = fc.integer({ min: 1024, max: 65_535 })
const distinct = (count: number, from = anyPort) => fc.uniqueArray(from, { minLength: count, maxLength: count })

describe('kinds of NATs', () => {
  it('a port that every endpoint sees is endpoint-independent and, when it is ours, preserved', () => {
    const seen = observe(socket => 40_000 + socket)
    assert.equal(mappingOf(seen), 'endpoint-independent')
    assert.equal(allocationOf(seen), 'preserving')
  })

  it('reflectors on one address do not tell address-dependent from endpoint-independent', () => {
    assert.equal(mappingOf(observe(socket => 40_000 + socket, BY.slice(0, 2))), 'unknown')
    assert.equal(mappingOf(observe((socket, endpoint) => 1000 + socket * 10 + (endpoint >> 1))), 'address-dependent')
  })

  it('other ports at one address are address-and-port-dependent, whatever is lost', () => {
    fc.assert(
      fc.property(distinct(16), fc.array(fc.nat(15), { maxLength: 4 }), (ports, lost) => {
        const seen = observe((_, __, nth) => (lost.includes(nth) ? null : ports[nth]!))
        assert.equal(mappingOf(seen), 'address-and-port-dependent')
      })
    )
  })

  it('ports one after another are sequential, with others’ flows between and answers lost', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1024, max: 60_000 }),
        fc.constantFrom(1, 2, -1),
        fc.array(fc.nat(6), { minLength: 16, maxLength: 16 }),
        fc.array(fc.nat(15), { maxLength: 2 }),
        (first, step, gaps, lost) => {
          let port = first
          const ports = gaps.map(gap => (port += step * (1 + gap)))
          const seen = observe((_, __, nth) => (lost.includes(nth) ? null : ports[nth]!))
          assert.equal(allocationOf(seen), 'sequential')
        }
      )
    )
    assert.equal(natFacts(observe((_, __, nth) => 30_000 + 2 * nth)).step, 2)
    assert.equal(allocationOf(observe((_, __, nth) => (nth < 7 ? 24_089 + nth : 20_000 + nth))), 'sequential')
  })

  it('ports within 4,096 are a block, others random', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 60 }), distinct(16, fc.nat(1023)), (block, ports) => {
        fc.pre(allocationOf(observe((_, __, nth) => ports[nth]!)) !== 'sequential')
        assert.equal(allocationOf(observe((_, __, nth) => block * 1024 + ports[nth]!)), 'block')
      })
    )
    const spread = observe((_, __, nth) => 1024 + ((nth * 40_503) % 64_000))
    assert.equal(allocationOf(spread), 'random')
    const { ports, step } = natFacts(spread)
    assert.equal(step, 0)
    assert.ok(ports!.lowest < ports!.highest)
  })

  it('random ports are hardly ever taken for a sequence or a block', () => {
    // A generator of its own: fast-check favours small numbers, which are close together, and the kernel does not.
    let state = 1
    const draw = () => {
      state = (state * 48_271) % 2_147_483_647
      return 1024 + (state % 64_512)
    }
    const mistaken = Array.from({ length: 2000 }, () => {
      const ports = Array.from({ length: 16 }, draw)
      return allocationOf(observe((_, __, nth) => ports[nth]!))
    }).filter(allocation => allocation !== 'random')
    assert.deepEqual(mistaken, [])
  })

  it('a second socket that gets no answer where the first got one means a hash of the destination', () => {
    assert.equal(allocationOf(observe((socket, endpoint) => (socket === 0 ? 2000 + 700 * endpoint : null))), 'hash')
    assert.equal(allocationOf(observe((_, endpoint) => 2000 + 700 * endpoint)), 'hash')
    assert.equal(allocationOf(observe((socket, _, nth) => (socket === 3 ? null : 2000 + 3111 * nth))), 'random')
  })

  it('nothing seen is unknown', () => {
    const nothing = observe(() => null)
    assert.equal(mappingOf(nothing), 'unknown')
    assert.equal(allocationOf(nothing), 'unknown')
    assert.equal(natFacts(nothing).ports, null)
    assert.equal(allocationOf([]), 'unknown')
  })

  it('filtering is the strictest that fits what came through', () => {
    assert.equal(filteringOf({ otherPort: null, otherAddress: null }), 'unknown')
    assert.equal(filteringOf({ otherPort: false, otherAddress: false }), 'address-and-port-dependent')
    assert.equal(filteringOf({ otherPort: true, otherAddress: null }), 'address-dependent')
    assert.equal(filteringOf({ otherPort: true, otherAddress: false }), 'address-dependent')
    assert.equal(filteringOf({ otherPort: true, otherAddress: true }), 'endpoint-independent')
  })
})
