import { equal } from 'node:assert/strict'
import { customerOf } from './customer.ts'

describe('one customer', () => {
  it('is an IPv4 address, or an IPv6 /64 however it is written', () => {
    equal(customerOf('11.0.0.1'), '11.0.0.1')
    for (const same of [
      '2a11:10:0:2::1',
      '2a11:10:0:2:ffff:1:2:3',
      '2a11:0010:0:0002::9%eth0',
      '2a11:10:0:2:0:0:0:0'
    ]) {
      equal(customerOf(same), '2a11:10:0:2')
    }
    // As a socket of both kinds names its IPv4 callers: they are not one.
    for (const mapped of ['::ffff:11.0.0.1', '::FFFF:11.0.0.1', '::ffff:b00:1']) equal(customerOf(mapped), '11.0.0.1')
    equal(customerOf('::1'), '0:0:0:0')
    equal(customerOf('fe80::1'), 'fe80:0:0:0')
  })
})
