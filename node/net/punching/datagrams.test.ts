import assert from 'node:assert/strict'
import fc from 'fast-check'
import { destinationId, isFirstInitial, isLongHeader, punchDatagram, sourceId } from './datagrams.ts'

describe('a datagram in front of QUIC', () => {
  it('is read whatever bytes it has, and none', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.nat(20), (bytes, length) => {
        // As the kernel hands it over: a buffer that ends where the datagram ends.
        const datagram = Uint8Array.from(bytes)
        assert.equal(typeof sourceId(datagram), 'string')
        assert.equal(typeof destinationId(datagram, length), 'string')
        assert.equal(isFirstInitial(datagram), false)
      })
    )
    for (let length = 0; length <= 6; length++) {
      const long = new Uint8Array(length).fill(0x80)
      assert.equal(destinationId(long, 8) + sourceId(long), '')
    }
  })

  it('has ids where its header says', () => {
    const long = Buffer.concat([Buffer.of(0xc0, 0, 0, 0, 1, 3), Buffer.from('you'), Buffer.of(2), Buffer.from('me')])
    assert.deepEqual([destinationId(long, 8), sourceId(long)], ['you', 'me'])
    assert.equal(destinationId(Buffer.from('\x40yours and more'), 5), 'yours')
  })

  it('of a punch is nothing that QUIC would begin with', () => {
    assert.equal(isLongHeader(punchDatagram()), false)
  })
})
