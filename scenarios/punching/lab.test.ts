import { deepEqual, equal } from 'node:assert/strict'
import { plan } from '../../netem/index.ts'
import { punchingTopology, relaysFor } from './lab.ts'
import { readSettings } from './settings.ts'

describe('the punching lab', () => {
  it('is a valid topology, short and full, with every pair’s hosts', () => {
    for (const depth of ['short', 'full'] as const) {
      const settings = readSettings({}, { depth })
      const names = plan(punchingTopology(settings), 'seed').hosts.map(({ name }) => name)
      for (const { a, b } of settings.pairs)
        deepEqual([names.includes(`a-${a}`), names.includes(`b-${b}`)], [true, true])
    }
  })

  it('has no link where none is asked for', () => {
    const { networks } = punchingTopology(readSettings({ LINK: '0', PAIRS: 'full-cone:symmetric' }, { depth: 'short' }))
    equal(networks['p-full-cone']?.link, undefined)
  })

  it('reaches relays by the transport that is punched, and by a WebSocket where UDP is blocked', () => {
    const planned = plan(punchingTopology(readSettings({}, { depth: 'short' })), 'seed')
    const tcp = relaysFor(planned, ['tcp'])
    equal(tcp.length, 2)
    equal(
      tcp.some(address => /\/ws\/|quic/.test(address)),
      false
    )
    equal(
      relaysFor(planned, ['quic'], { isUdpBlocked: true }).every(address => address.includes('/ws/')),
      true
    )
    deepEqual(relaysFor(planned, ['tcp', 'quic'], { isUdpBlocked: true }), tcp)
  })
})
