import { deepEqual, equal, match } from 'node:assert/strict'
import type { Endpoint, NatObservation, ProtocolObservation } from './nat-prober.ts'
import { classify } from './nat-words.ts'

const OUTER = '11.0.1.1'
const INNER = '10.40.1.10'

/** Like plain masquerade; `changes` make it another. */
function seen(changes: Partial<ProtocolObservation> = {}, twins: NatObservation['twins'] = []): NatObservation {
  const usual: ProtocolObservation = {
    mapping: { localPort: 5000, seen: endpoints(5000, 5000, 5000, 5000) },
    fresh: [5001, 5002, 5003].map(port => ({ localPort: port, port })),
    again: null,
    fromOtherPort: 'dropped',
    fromOtherAddress: 'dropped',
    unasked: 'dropped',
    hairpin: { forth: 'dropped', back: 'dropped', source: null, expected: [OUTER, 5004] }
  }
  const observed = { ...usual, ...changes }
  return { udp: observed, tcp: observed, twins }
}

function endpoints(...ports: number[]): Endpoint[] {
  return ports.map(port => [OUTER, port])
}

const fresh = (...ports: number[]) => ports.map((port, index) => ({ localPort: 6000 + index * 7, port }))
const word = <K extends 'translation' | 'mapping' | 'filtering' | 'allocation' | 'hairpin'>(
  observation: NatObservation,
  name: K
) => classify(observation, INNER).udp?.[name]

describe('what a prober saw', () => {
  it('is a mapping by which endpoints it depends on', () => {
    const mapping = (...ports: number[]) =>
      word(seen({ mapping: { localPort: 1, seen: endpoints(...ports) } }), 'mapping')
    equal(mapping(7, 7, 7, 7), 'endpoint-independent')
    equal(mapping(7, 7, 8, 8), 'address-dependent')
    equal(mapping(7, 8, 9, 10), 'address-and-port-dependent')
    match(String(mapping(7, 8, 7, 8)), /^unclear/)
    match(String(mapping(7, 7)), /^unclear \(it needs a reflector at a second address/)
    match(
      String(word(seen({ mapping: { localPort: 1, seen: [[OUTER, 7], null, null, null] } }), 'mapping')),
      /^unclear/
    )
  })

  it('is a filter by who gets in', () => {
    const filtering = (
      fromOtherPort: 'passed' | 'dropped' | 'refused',
      fromOtherAddress: 'passed' | 'dropped' | null
    ) => word(seen({ fromOtherPort, fromOtherAddress }), 'filtering')
    equal(filtering('passed', 'passed'), 'endpoint-independent')
    equal(filtering('passed', 'dropped'), 'address-dependent')
    equal(filtering('dropped', 'dropped'), 'address-and-port-dependent')
    match(String(filtering('dropped', 'passed')), /^unclear/)
    match(String(filtering('refused', 'dropped')), /refused, not dropped/)
    match(String(filtering('passed', null)), /second address/)
  })

  it('is a way to give out ports', () => {
    equal(word(seen(), 'allocation'), 'preserving')
    equal(word(seen({ fresh: fresh(20_000, 20_001, 20_003) }), 'allocation'), 'sequential')
    equal(word(seen({ fresh: fresh(20_003, 20_001, 20_000) }), 'allocation'), 'block')
    equal(word(seen({ fresh: fresh(2000, 61_000, 33_000) }), 'allocation'), 'random')
    const twins = [{ localPort: 9, udp: 777, tcp: 777 }]
    equal(word(seen({ fresh: fresh(2000, 61_000, 33_000), again: [5, 5] }, twins), 'allocation'), 'deterministic')
    equal(word(seen({ fresh: fresh(2000, 61_000, 33_000), again: [5, 6] }, twins), 'allocation'), 'random')
    const moved = [...twins, { localPort: 10, udp: 778, tcp: 778 }, { localPort: 11, udp: 779, tcp: 5000 }]
    const computed = { fresh: fresh(2000, 61_000, 33_000), again: [5, 5] as [number, number] }
    equal(word(seen(computed, moved), 'allocation'), 'deterministic', 'one computed port was taken')
    const drawn = moved.map((each, n) => ({ ...each, tcp: n + 6000 }))
    equal(word(seen(computed, drawn), 'allocation'), 'random')
    match(String(word(seen({ fresh: [{ localPort: 1, port: null }] }), 'allocation')), /^unclear/)
  })

  it('is a hairpin only both ways and as the outer address', () => {
    const hairpin = (changes: Partial<ProtocolObservation['hairpin']>) =>
      word(
        seen({ hairpin: { forth: 'passed', back: 'passed', source: [OUTER, 1], expected: [OUTER, 1], ...changes } }),
        'hairpin'
      )
    equal(hairpin({}), true)
    equal(hairpin({ forth: 'dropped' }), false)
    match(String(hairpin({ back: 'dropped' })), /one way only/)
    match(String(hairpin({ source: [INNER, 1] })), /turned round as 10\.40/)
  })

  it('is a translation, or none', () => {
    const own = (unasked: 'passed' | 'dropped' | 'refused') =>
      classify(seen({ unasked, mapping: { localPort: 1, seen: [[INNER, 1]] } }), INNER).udp
    equal(own('passed')?.translation, 'none')
    equal(own('dropped')?.translation, 'firewall')
    equal(own('dropped')?.hairpin, null)
    match(String(own('refused')?.translation), /refused, not dropped/)
    equal(word(seen({ unasked: 'passed' }), 'translation'), 'one-to-one')
    equal(word(seen(), 'translation'), 'napt')
  })

  it('is nothing where nothing came back', () => {
    deepEqual(classify({ udp: null, tcp: null, twins: [] }, INNER), { udp: null, tcp: null })
  })
})
