import { equal, match } from 'node:assert/strict'
import { NAT_KINDS } from '../../netem/index.ts'
import { expected, expectedControl, judge, type Place, type PunchTransport } from './expected.ts'

const how = (a: Place, b: Place, transport: PunchTransport = 'quic'): string =>
  expected(a, b, transport).method ?? 'relayed'

describe('what peers are expected to come to', () => {
  it('is a direct path between all that map independently, by both transports, whatever they filter', () => {
    const cones: Place[] = ['full-cone', 'address-restricted', 'port-restricted', 'port-preserving', 'carrier-strict']
    for (const a of cones) {
      for (const b of cones) {
        equal(how(a, b, 'quic'), 'ordinary', `${a} × ${b}`)
        equal(how(a, b, 'tcp'), 'ordinary', `${a} × ${b}`)
      }
    }
  })

  it('is one from a symmetric NAT to whoever is open to any port, whoever dials', () => {
    for (const transport of ['tcp', 'quic'] as const) {
      equal(how('symmetric', 'full-cone', transport), 'ordinary')
      equal(how('full-cone', 'symmetric', transport), 'ordinary')
      equal(how('symmetric', 'address-restricted', transport), 'ordinary')
    }
  })

  it('is a sandwich or a birthday where one side keeps its port and the other draws it, by QUIC alone', () => {
    equal(how('port-restricted', 'symmetric-sequential'), 'sandwich')
    equal(how('symmetric-sequential', 'port-restricted'), 'sandwich')
    equal(how('symmetric', 'port-preserving'), 'birthday')
    equal(how('symmetric-block', 'carrier-strict'), 'birthday')
    equal(how('port-restricted', 'address-dependent'), 'birthday')
    equal(how('symmetric', 'port-restricted', 'tcp'), 'relayed')
  })

  it('is a second port by TCP where the mapping differs by address and the filter does too', () => {
    equal(how('port-restricted', 'address-dependent', 'tcp'), 'second-port')
    equal(how('address-dependent', 'carrier-strict', 'tcp'), 'second-port')
    equal(how('address-dependent', 'symmetric', 'tcp'), 'ordinary')
  })

  it('is a birthday where the flow is hashed, for each socket is another flow', () =>
    equal(how('symmetric-hash', 'port-restricted'), 'birthday'))

  it('is the relay where both sides draw ports', () => {
    equal(how('symmetric', 'symmetric'), 'relayed')
    equal(how('symmetric-sequential', 'symmetric'), 'relayed')
  })

  it('is the relay by QUIC where UDP is blocked, and what the mapping allows by TCP', () => {
    equal(how('udp-blocked', 'full-cone'), 'relayed')
    equal(how('udp-blocked', 'full-cone', 'tcp'), 'ordinary')
    equal(how('public', 'udp-blocked'), 'relayed')
  })

  it('is a dial from the far end where the dialler is public', () => {
    equal(how('public', 'symmetric', 'tcp'), 'unilateral')
    equal(how('public', 'symmetric', 'quic'), 'unilateral')
  })

  it('is nothing of stock js-libp2p but the unilateral upgrade, with the upstream issue as the reason', () => {
    for (const transport of ['tcp', 'quic'] as const) {
      match(expected('full-cone', 'full-cone', transport, 'stock').knownFailure ?? '', /js-libp2p/)
      equal(expected('public', 'port-restricted', transport, 'stock').path, 'direct')
    }
  })

  it('is never less than the control puncher, and more only by a method beyond it', () => {
    for (const a of NAT_KINDS) {
      for (const b of NAT_KINDS) {
        for (const transport of ['tcp', 'quic'] as const) {
          const control = expectedControl(a, b, transport)
          const { path, method } = expected(a, b, transport)
          const name = `${a} × ${b} by ${transport}`
          if (control === 'direct') equal(path, 'direct', name)
          if (control === 'none' && path === 'direct')
            equal(['second-port', 'sandwich', 'birthday'].includes(method!), true, name)
        }
      }
    }
  })
})

describe('the verdict of a cell', () => {
  const direct = expected('full-cone', 'full-cone', 'quic')
  const none = expected('symmetric', 'symmetric', 'quic')
  const known = expected('full-cone', 'full-cone', 'tcp', 'stock')

  it('takes a direct path of every run where nothing is left to chance', () => {
    equal(judge(direct, 3, 3), null)
    match(judge(direct, 2, 3) ?? '', /direct in 2 of 3 only/)
  })

  it('takes 95 % of many runs of a hard pair, and half of few', () => {
    const hard = expected('symmetric', 'port-restricted', 'quic')
    equal(judge(hard, 48, 50), null)
    match(judge(hard, 47, 50) ?? '', /47 of 50/)
    equal(judge(hard, 1, 2), null)
    match(judge(hard, 1, 3) ?? '', /1 of 3/)
  })

  it('wonders at any run that should not have opened', () => {
    equal(judge(none, 0, 3), null)
    match(judge(none, 1, 3) ?? '', /1 of 3/)
  })

  it('fails a known failure that succeeds in more than half of its runs', () => {
    equal(judge(known, 1, 3), null)
    equal(judge(known, 1, 2), null)
    match(judge(known, 2, 3) ?? '', /known to fail/)
  })

  it('is none of no runs', () => match(judge(direct, 0, 0) ?? '', /nothing/))
})
