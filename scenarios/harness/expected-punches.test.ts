import { deepEqual, equal } from 'node:assert/strict'
import { behaviourOf, NAT_KINDS, type NatKind } from '../../netem/index.ts'
import { expectedPunch } from './expected-punches.ts'

const path = (a: NatKind, b: NatKind, protocol: 'udp' | 'tcp' = 'udp'): string =>
  expectedPunch(behaviourOf(a), behaviourOf(b), protocol).path

describe('the pairs that can be punched', () => {
  it('are all with endpoint-independent mappings, whatever they filter', () => {
    const cones: NatKind[] = ['full-cone', 'address-restricted', 'port-restricted', 'port-preserving', 'carrier']
    for (const a of cones) for (const b of cones) equal(path(a, b), 'direct', `${a} × ${b}`)
  })

  it('are those of a symmetric NAT with one that is open to any port of an address', () => {
    equal(path('symmetric', 'full-cone'), 'direct')
    equal(path('symmetric', 'address-restricted'), 'direct')
    equal(path('symmetric', 'address-dependent'), 'direct')
    equal(path('symmetric', 'one-to-one'), 'direct')
    equal(path('symmetric', 'port-restricted'), 'none')
    equal(path('symmetric', 'firewall'), 'none')
  })

  it('are none of two symmetric ones, however guessable their ports', () => {
    for (const a of ['symmetric', 'symmetric-sequential', 'symmetric-hash', 'symmetric-block'] as const) {
      for (const b of ['symmetric', 'symmetric-sequential', 'port-restricted'] as const) equal(path(a, b), 'none')
    }
  })

  it('are none by UDP where it is blocked, and by TCP those of its mapping and filter', () => {
    equal(path('udp-blocked', 'full-cone'), 'none')
    equal(path('udp-blocked', 'full-cone', 'tcp'), 'direct')
    equal(path('udp-blocked', 'symmetric', 'tcp'), 'none')
  })

  it('are the same both ways', () => {
    for (const a of NAT_KINDS) {
      for (const b of NAT_KINDS) {
        for (const protocol of ['udp', 'tcp'] as const) deepEqual(path(a, b, protocol), path(b, a, protocol))
      }
    }
  })
})
